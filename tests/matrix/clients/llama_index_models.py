"""llama-index's models, with the loop that its docs show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from talk import Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    model = _model(ask)
    tools = [FunctionTool.from_defaults(tool) for tool in ask.callables()]
    history: list[ChatMessage] = []
    for prompt in ask.prompts:
        history.append(ChatMessage(role="user", content=prompt))
        while True:
            response, text = await _answer(model, tools, history, ask)
            history.append(response.message)
            calls = model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            for call in calls:
                output = ask.run(call.tool_name, call.tool_kwargs)
                said = {"tool_call_id": call.tool_id}
                history.append(
                    ChatMessage(role=MessageRole.TOOL, content=output, additional_kwargs=said)
                )
            if ask.leaves or not calls:
                break
        yield _told(response, text)


def _model(ask: Ask) -> Any:
    common: dict[str, Any] = {"api_key": "-", "max_retries": 0, "timeout": 15}
    if ask.api == "messages":
        from llama_index.llms.anthropic import Anthropic

        return Anthropic(model="claude-sonnet-4-5", base_url=ask.url, max_tokens=100, **common)
    if ask.api == "responses":
        from llama_index.llms.openai import OpenAIResponses

        return OpenAIResponses(model="gpt-4.1", api_base=ask.url, **common)
    from llama_index.llms.openai_like import OpenAILike

    able = {"is_chat_model": True, "is_function_calling_model": True}
    return OpenAILike(model="m", api_base=ask.url, context_window=8000, **able, **common)


async def _answer(model: Any, tools: list[Any], history: list[Any], ask: Ask) -> tuple[Any, str]:
    offering: dict[str, Any] = {"chat_history": history, "allow_parallel_tool_calls": True}
    if not ask.stream:
        whole = model.achat_with_tools(tools, **offering) if tools else model.achat(history)
        response = await whole
        return response, response.message.content or ""
    if tools:
        stream = await model.astream_chat_with_tools(tools, **offering)
    else:
        stream = await model.astream_chat(history)
    response, text = None, ""
    async for response in stream:
        text += response.delta or ""
        if ask.leaves and text:
            await stream.aclose()
            break
    if response is None:
        raise RuntimeError("the stream had no answer")
    return response, text


def _told(response: Any, text: str) -> dict[str, Any]:
    thoughts = [b.content for b in response.message.blocks if b.block_type == "thinking"]
    return {
        "text": text,
        "refusal": (response.additional_kwargs | response.message.additional_kwargs).get("refusal"),
        "reasoning": "".join(filter(None, thoughts)) or None,
    }


serve(talk)
