"""Pydantic AI's agent, which has its own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent, AgentRunResultEvent, PartDeltaEvent, PartStartEvent
from pydantic_ai.messages import TextPart, ThinkingPart
from talk import Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    agent = Agent(_model(ask), tools=ask.callables(), retries=0)
    history: list[Any] = []
    for prompt in ask.prompts:
        if ask.stream:
            result = await _streamed(agent, prompt, history, ask)
            if isinstance(result, str):
                yield {"text": result}
                return
        else:
            result = await agent.run(prompt, message_history=history)
        history = result.all_messages()
        answer = result.response
        yield {
            "text": result.output,
            "reasoning": "".join(p.content for p in answer.parts if isinstance(p, ThinkingPart)),
            "finish": answer.finish_reason,
            "usage": [result.usage.input_tokens, result.usage.output_tokens],
        }


def _model(ask: Ask) -> Any:
    settings: Any = {"api_key": "-", "base_url": ask.url, "max_retries": 0, "timeout": 15}
    if ask.api == "messages":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        anthropic = AnthropicProvider(anthropic_client=AsyncAnthropic(**settings))
        anthropic = AnthropicProvider(anthropic_client=AsyncAnthropic(**settings))
        return AnthropicModel("m", provider=anthropic)
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    kind = OpenAIChatModel if ask.api == "chat" else OpenAIResponsesModel
    return kind("m", provider=OpenAIProvider(openai_client=AsyncOpenAI(**settings)))


async def _streamed(agent: Any, prompt: str, history: list[Any], ask: Ask) -> Any:
    """The result; or the first words, where it leaves then."""
    async with agent.run_stream_events(prompt, message_history=history) as events:
        async for event in events:
            if isinstance(event, AgentRunResultEvent):
                return event.result
            if ask.leaves and (words := _words(event)):
                return words
    raise RuntimeError("the agent ended without a result")


def _words(event: Any) -> str:
    match event:
        case PartStartEvent(part=TextPart(content=text)):
            return text
        case PartDeltaEvent(delta=delta):
            return getattr(delta, "content_delta", None) or ""
    return ""


serve(talk)
