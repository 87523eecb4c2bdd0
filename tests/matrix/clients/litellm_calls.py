"""litellm, which speaks every provider's protocol in OpenAI's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import litellm
from talk import PARAMETERS, Ask, serve

# Its names of who speaks what, and of the way to the API.
_MODELS = {
    "chat": "openai/m",
    "responses": "openai/responses/gpt-4.1",
    "messages": "anthropic/claude-sonnet-4-5",
}


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    litellm.suppress_debug_info = True
    history: list[Any] = []
    for prompt in ask.prompts:
        history.append({"role": "user", "content": prompt})
        told = None
        while told is None:
            told = await _answer(history, ask)
        yield told


async def _answer(history: list[Any], ask: Ask) -> dict[str, Any] | None:
    call: dict[str, Any] = {
        "model": _MODELS[ask.api],
        "api_base": ask.url,
        "api_key": "-",
        "messages": history,
        "max_retries": 0,
        "num_retries": 0,
        "timeout": 15,
    }
    if ask.tools:
        call["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": PARAMETERS[name]}}
            for name in ask.tools
        ]
    answer = await _streamed(call, ask) if ask.stream else await litellm.acompletion(**call)
    if isinstance(answer, str):
        return {"text": answer}
    choice, usage = answer.choices[0], answer.usage
    message = choice.message
    history.append(message.model_dump(exclude_none=True))
    for asked in message.tool_calls or ():
        output = ask.run(asked.function.name, asked.function.arguments)
        history.append({"role": "tool", "tool_call_id": asked.id, "content": output})
    if message.tool_calls:
        return None
    return {
        "text": message.content or "",
        "refusal": getattr(message, "refusal", None),
        "reasoning": getattr(message, "reasoning_content", None),
        "finish": choice.finish_reason,
        "usage": usage and [usage.prompt_tokens, usage.completion_tokens],
    }


async def _streamed(call: dict[str, Any], ask: Ask) -> Any:
    stream = await litellm.acompletion(**call, stream=True, stream_options={"include_usage": True})
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        if ask.leaves and chunk.choices and (words := chunk.choices[0].delta.content):
            await stream.aclose()
            return words
    return litellm.stream_chunk_builder(chunks, messages=call["messages"])


serve(talk)
