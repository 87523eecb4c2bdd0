"""The official OpenAI client: chat completions, and Responses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
from openai import AsyncOpenAI
from talk import PARAMETERS, Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    async with AsyncOpenAI(base_url=ask.url, api_key="-", max_retries=0, timeout=15) as client:
        history: list[Any] = []
        answering = {"chat": _chat, "responses": _responses}[ask.api]
        for prompt in ask.prompts:
            history.append({"role": "user", "content": prompt})
            told = None
            while told is None:
                told = await answering(client, history, ask)
            yield told


async def _chat(client: AsyncOpenAI, history: list[Any], ask: Ask) -> dict[str, Any] | None:
    """One answer, noted in the history; None if it asks for tools, whose results are noted too."""
    call: dict[str, Any] = {"model": "m", "messages": history}
    if ask.tools:
        call["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": PARAMETERS[name]}}
            for name in ask.tools
        ]
    try:
        if ask.stream:
            completion = await _streamed_chat(client, call, ask)
            if isinstance(completion, str):
                return {"text": completion}
        else:
            completion = await client.chat.completions.create(**call)
    except openai.LengthFinishReasonError as cut:  # the client's word for it
        completion = cut.completion
    choice, usage = completion.choices[0], completion.usage
    message = choice.message
    history.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
    for asked in message.tool_calls or ():
        output = ask.run(asked.function.name, asked.function.arguments)
        history.append({"role": "tool", "tool_call_id": asked.id, "content": output})
    if message.tool_calls:
        return None
    return {
        "text": message.content or "",
        "refusal": message.refusal,
        "reasoning": (message.model_extra or {}).get("reasoning_content"),
        "finish": choice.finish_reason,
        "usage": usage and [usage.prompt_tokens, usage.completion_tokens],
    }


async def _streamed_chat(client: AsyncOpenAI, call: dict[str, Any], ask: Ask) -> Any:
    options = {"include_usage": True}
    async with client.chat.completions.stream(**call, stream_options=options) as stream:
        async for event in stream:
            if event.type == "content.delta" and event.delta and ask.leaves:
                return event.delta
        return await stream.get_final_completion()


async def _responses(client: AsyncOpenAI, history: list[Any], ask: Ask) -> dict[str, Any] | None:
    call: dict[str, Any] = {"model": "m", "input": history, "store": False}
    if ask.tools:
        call["tools"] = [
            {"type": "function", "name": name, "parameters": PARAMETERS[name], "strict": False}
            for name in ask.tools
        ]
    if ask.stream:
        response = await _streamed_response(client, call, ask)
        if isinstance(response, str):
            return {"text": response}
    else:
        response = await client.responses.create(**call)
    history += [item.model_dump(exclude_none=True) for item in response.output]
    asked = [item for item in response.output if item.type == "function_call"]
    for item in asked:
        output = ask.run(item.name, item.arguments)
        history.append({"type": "function_call_output", "call_id": item.call_id, "output": output})
    if asked:
        return None
    output, usage = response.output, response.usage
    parts = [part for item in output if item.type == "message" for part in item.content]
    thoughts = [part for item in output if item.type == "reasoning" for part in item.summary]
    return {
        "text": response.output_text,
        "refusal": "".join(part.refusal for part in parts if part.type == "refusal"),
        "reasoning": "".join(part.text for part in thoughts),
        "finish": response.incomplete_details and response.incomplete_details.reason,
        "usage": usage and [usage.input_tokens, usage.output_tokens],
    }


async def _streamed_response(client: AsyncOpenAI, call: dict[str, Any], ask: Ask) -> Any:
    async with await client.responses.create(**call, stream=True) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta" and ask.leaves:
                return event.delta
            if event.type in ("response.completed", "response.incomplete"):
                return event.response
    raise RuntimeError("the stream ended without an answer")


serve(talk)
