"""The OpenAI Agents SDK, whose runner has its own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import (
    Agent,
    FunctionTool,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from talk import PARAMETERS, Ask, serve

_MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    set_tracing_disabled(True)
    async with AsyncOpenAI(base_url=ask.url, api_key="-", max_retries=0, timeout=15) as client:
        model = _MODELS[ask.api](model="m", openai_client=client)
        agent = Agent(
            name="tested",
            model=model,
            tools=[_tool(ask, name) for name in ask.tools],
            model_settings=ModelSettings(include_usage=True),
        )
        history: list[Any] = []
        for prompt in ask.prompts:
            history.append({"role": "user", "content": prompt})
            if ask.stream:
                result = Runner.run_streamed(agent, history)
                async for event in result.stream_events():
                    if ask.leaves and (words := _words(event)):
                        result.cancel()
                        yield {"text": words}
                        return
            else:
                result = await Runner.run(agent, history)
            history = result.to_input_list()
            usage = result.context_wrapper.usage
            yield {
                "text": result.final_output,
                "usage": [usage.input_tokens, usage.output_tokens],
            }


def _words(event: Any) -> str:
    data = getattr(event, "data", None)
    is_text = getattr(data, "type", None) == "response.output_text.delta"  # of both APIs
    return data.delta if is_text else ""


def _tool(ask: Ask, name: str) -> FunctionTool:
    async def invoke(context: Any, arguments: str) -> str:
        return ask.run(name, arguments)

    return FunctionTool(
        name=name,
        description=name,
        params_json_schema=PARAMETERS[name],
        on_invoke_tool=invoke,
        strict_json_schema=False,
    )


serve(talk)
