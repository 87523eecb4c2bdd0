"""LangChain's chat models, with the loop that its docs show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from talk import Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    model = _model(ask)
    if ask.tools:
        model = model.bind_tools(ask.callables())
    history: list[Any] = []
    for prompt in ask.prompts:
        history.append(HumanMessage(prompt))
        while True:
            message = await _answer(model, history, ask)
            history.append(message)
            if ask.leaves or not message.tool_calls:
                break
            for call in message.tool_calls:
                output = ask.run(call["name"], call["args"])
                history.append(ToolMessage(output, tool_call_id=call["id"]))
            if message.invalid_tool_calls:
                raise ValueError(f"bad calls: {message.invalid_tool_calls}")
        yield _told(message)


def _model(ask: Ask) -> Any:
    common = {"model": "m", "base_url": ask.url, "api_key": "-", "max_retries": 0, "timeout": 15}
    if ask.api == "messages":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(**common, max_tokens=100)
    from langchain_openai import ChatOpenAI

    responses = ask.api == "responses"
    return ChatOpenAI(**common, use_responses_api=responses, stream_usage=True)


async def _answer(model: Any, history: list[Any], ask: Ask) -> Any:
    if not ask.stream:
        return await model.ainvoke(history)
    message = None
    async with aclosing(model.astream(history)) as stream:
        async for chunk in stream:
            message = chunk if message is None else message + chunk
            if ask.leaves and message.text:
                break
    return message


def _told(message: Any) -> dict[str, Any]:
    metadata, usage = message.response_metadata, message.usage_metadata
    incomplete = metadata.get("incomplete_details") or {}
    refusals = [b["refusal"] for b in message.content if isinstance(b, dict) and "refusal" in b]
    thoughts = [b["reasoning"] for b in message.content_blocks if b["type"] == "reasoning"]
    return {
        "text": str(message.text),
        "refusal": message.additional_kwargs.get("refusal") or "".join(refusals),
        "reasoning": "".join(thoughts) or None,
        "finish": incomplete.get("reason")
        or metadata.get("finish_reason")
        or metadata.get("stop_reason"),
        "usage": usage and [usage["input_tokens"], usage["output_tokens"]],
    }


serve(talk)
