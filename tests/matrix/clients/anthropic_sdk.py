"""The official Anthropic client: messages, and its tool runner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from anthropic import AsyncAnthropic, beta_async_tool
from talk import PARAMETERS, Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    async with AsyncAnthropic(base_url=ask.url, api_key="-", max_retries=0, timeout=15) as client:
        history: list[Any] = []
        answering = {"messages": _messages, "tool_runner": _tool_runner}[ask.api]
        for prompt in ask.prompts:
            history.append({"role": "user", "content": prompt})
            yield await answering(client, history, ask)


async def _messages(client: AsyncAnthropic, history: list[Any], ask: Ask) -> dict[str, Any]:
    offered = [{"name": name, "input_schema": PARAMETERS[name]} for name in ask.tools]
    call: dict[str, Any] = {"model": "m", "max_tokens": 100, "tools": offered}
    while True:
        if ask.stream:
            async with client.messages.stream(**call, messages=history) as stream:
                if ask.leaves:
                    return {"text": await anext(stream.text_stream)}
                message = await stream.get_final_message()
        else:
            message = await client.messages.create(**call, messages=history)
        history.append({"role": "assistant", "content": message.content})
        if message.stop_reason != "tool_use":
            return _told(message)
        results = [
            {"type": "tool_result", "tool_use_id": b.id, "content": ask.run(b.name, b.input)}
            for b in message.content
            if b.type == "tool_use"
        ]
        history.append({"role": "user", "content": results})


async def _tool_runner(client: AsyncAnthropic, history: list[Any], ask: Ask) -> dict[str, Any]:
    runner = client.beta.messages.tool_runner(
        model="m",
        max_tokens=100,
        messages=history,
        tools=[_tool(ask, name) for name in ask.tools],
        stream=ask.stream,
    )
    message = None
    async for answered in runner:
        if ask.leaves:
            text = await anext(answered.text_stream)
            await answered.close()
            return {"text": text}
        message = await answered.get_final_message() if ask.stream else answered
        # The runner answers a call of a tool that was not offered with an error, and goes on.
        for block in message.content:
            if block.type == "tool_use" and block.name not in ask.tools:
                ask.run(block.name, block.input)
    assert message is not None
    history.append({"role": "assistant", "content": message.content})
    return _told(message)


def _tool(ask: Ask, name: str) -> Any:
    async def run(**arguments: Any) -> str:
        return ask.run(name, arguments)

    return beta_async_tool(run, name=name, description=name, input_schema=PARAMETERS[name])


def _told(message: Any) -> dict[str, Any]:
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "reasoning": "".join(b.thinking for b in message.content if b.type == "thinking"),
        "finish": message.stop_reason,
        "usage": [
            message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0),
            message.usage.output_tokens,
        ],
    }


serve(talk)
