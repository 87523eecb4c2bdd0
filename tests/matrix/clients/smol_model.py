"""smolagents' model, with the loop of its agents: it tells the results as the user's words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from smolagents import OpenAIModel, Tool
from smolagents.models import ChatMessage, MessageRole, agglomerate_stream_deltas
from talk import PARAMETERS, Ask, serve


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    client = {"max_retries": 0, "timeout": 15}
    model = OpenAIModel("m", api_base=ask.url, api_key="-", client_kwargs=client, retry=False)
    tools = [_tool(name) for name in ask.tools]
    history: list[ChatMessage] = []
    for prompt in ask.prompts:
        history.append(_said(MessageRole.USER, prompt))
        while True:
            message = _answer(model, history, tools or None, ask)
            history.append(message)
            calls = message.tool_calls or []
            for call in calls:
                output = ask.run(call.function.name, call.function.arguments)
                history.append(_said(MessageRole.TOOL_RESPONSE, f"Observation: {output}"))
            if ask.leaves or not calls:
                break
        usage = message.token_usage
        yield {
            "text": message.content or "",
            "usage": usage and [usage.input_tokens, usage.output_tokens],
        }


def _answer(model: Any, history: list[Any], tools: Any, ask: Ask) -> Any:
    if not ask.stream:
        return model.generate(history, tools_to_call_from=tools)
    deltas = []
    stream = model.generate_stream(history, tools_to_call_from=tools)
    for delta in stream:
        deltas.append(delta)
        if ask.leaves and delta.content:
            stream.close()
            break
    return agglomerate_stream_deltas(deltas)


def _said(role: MessageRole, text: str) -> ChatMessage:
    return ChatMessage(role=role, content=[{"type": "text", "text": text}])


def _tool(name: str) -> Tool:
    kinds = PARAMETERS[name]["properties"]
    inputs = {key: {"type": kind["type"], "description": key} for key, kind in kinds.items()}
    attributes = {
        "name": name,
        "description": name,
        "inputs": inputs,
        "output_type": "string",
        "skip_forward_signature_validation": True,
        "forward": lambda self, **arguments: json.dumps(arguments),
    }
    return type(name, (Tool,), attributes)()


serve(talk)
