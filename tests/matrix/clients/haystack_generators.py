"""Haystack's chat generators, with the loop that its docs show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import Tool
from haystack.utils import Secret
from talk import PARAMETERS, TOOLS, Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    generator = _generator(ask)
    tools = [
        Tool(name=name, description=name, parameters=PARAMETERS[name], function=TOOLS[name])
        for name in ask.tools
    ]
    history: list[ChatMessage] = []
    first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def on_chunk(chunk: StreamingChunk) -> None:
        if chunk.content and not first.done():
            first.set_result(chunk.content)

    streaming = {"streaming_callback": on_chunk} if ask.stream else {}
    for prompt in ask.prompts:
        history.append(ChatMessage.from_user(prompt))
        calls: Any = True
        while calls:
            answering = asyncio.ensure_future(
                generator.run_async(messages=history, tools=tools, **streaming)
            )
            if ask.leaves:
                yield {"text": await first}
                answering.cancel()
                return
            answered = await answering
            message = answered["replies"][0]
            history.append(message)
            calls = message.tool_calls
            for call in calls:
                output = ask.run(call.tool_name, call.arguments)
                history.append(ChatMessage.from_tool(output, origin=call))
        yield _told(message)


def _generator(ask: Ask) -> Any:
    common: dict[str, Any] = {"model": "m", "api_key": Secret.from_token("-"), "max_retries": 0}
    if ask.api == "messages":
        import os

        from haystack_integrations.components.generators.anthropic import AnthropicChatGenerator

        os.environ["ANTHROPIC_BASE_URL"] = ask.url  # the only way to tell it
        return AnthropicChatGenerator(**common, timeout=15)
    from haystack.components.generators.chat import (
        OpenAIChatGenerator,
        OpenAIResponsesChatGenerator,
    )

    kind = OpenAIChatGenerator if ask.api == "chat" else OpenAIResponsesChatGenerator
    return kind(**common, api_base_url=ask.url, timeout=15)


def _told(message: ChatMessage) -> dict[str, Any]:
    usage = message.meta.get("usage") or {}
    tokens = [
        usage.get("prompt_tokens", usage.get("input_tokens")),
        usage.get("completion_tokens", usage.get("output_tokens")),
    ]
    incomplete = message.meta.get("incomplete_details") or {}
    return {
        "text": message.text or "",
        "reasoning": message.reasoning and message.reasoning.reasoning_text,
        "finish": incomplete.get("reason") or message.meta.get("finish_reason"),
        "usage": tokens if None not in tokens else None,
    }


serve(talk)
