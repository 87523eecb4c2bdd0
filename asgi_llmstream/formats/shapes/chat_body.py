"""A conversation in OpenAI chat's words, the body of `POST /chat/completions`, as a `ChatRequest`.

The legacy words (`functions`, `function_call`, messages of role "function") become those that
took their place: tools, calls and results. A call, which had no id, gets one of ours.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from ...errors import BadRequest
from ...request import ChatMessage, ChatRequest
from . import chat
from .fields import ModelName, Name, bad_field, convert, given

__all__ = ["body_schema", "decode_body"]


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Function(Struct):
    name: Name
    arguments: str = ""


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: Name | None = None
    name: Name | None = None
    function_call: _Function | None = None


class _Body(Struct):
    """The fields that are checked here; all others pass in `ChatRequest.body` as they are."""

    messages: list[_Message]
    model: ModelName | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Name | None = None


_SETTINGS = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "verbosity",
)
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def body_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of such a body, without references."""
    generated = msgspec.json.schema(_Body)
    schema: dict[str, Any] = _inlined(generated, generated["$defs"])
    schema["description"] = "An OpenAI chat completion request. Further fields are passed on."
    fields = schema["properties"]
    # What `_check` asks for beyond the types.
    fields["messages"]["minItems"] = 1
    fields["messages"]["items"]["properties"]["role"]["enum"] = [*_ROLES]
    fields["n"]["enum"] = [1, None]
    return schema


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        struct = _inlined(definitions[reference.rpartition("/")[2]], definitions)
        return {key: value for key, value in struct.items() if key != "title"}
    return {k: _inlined(v, definitions) for k, v in schema.items()}


def decode_body(raw: dict[str, Any]) -> ChatRequest:
    """Such a body, checked.

    Raises:
        BadRequest: if a field is missing or of the wrong type, or asks for what this server does
            not do; `param` names the field.
    """
    parsed = convert(raw, _Body)
    _check(parsed)
    return ChatRequest(
        messages=_messages(parsed.messages, raw["messages"]),
        model=parsed.model or "",
        stream=bool(parsed.stream),
        include_usage=bool(parsed.stream_options and parsed.stream_options.include_usage),
        tools=[*(parsed.tools or ()), *map(_tool, parsed.functions or ())],
        tool_choice=_tool_choice(parsed),
        settings=_settings(raw),
        body=raw,
    )


def _check(body: _Body) -> None:
    if not body.messages:
        raise bad_field("messages", "must not be empty")
    for i, message in enumerate(body.messages):
        if message.role not in _ROLES:
            raise bad_field(f"messages[{i}].role", f"must be one of {', '.join(_ROLES)}")
    if body.n is not None and body.n != 1:
        raise bad_field("n", "must be 1: one answer per request")
    if body.stream_options is not None and not body.stream:
        raise BadRequest(
            "stream_options goes with stream: true.", param="stream_options", code="invalid_field"
        )


def _messages(messages: list[_Message], raw: list[dict[str, Any]]) -> list[ChatMessage]:
    legacy = ""  # the id of the last function's call
    read = []
    for i, message in enumerate(messages):
        if message.function_call is not None:
            legacy = f"call_{i}"
        read.append(_message(message, raw[i], legacy))
    return read


def _message(message: _Message, raw: dict[str, Any], legacy: str) -> ChatMessage:
    role, calls, answers = message.role, message.tool_calls or [], message.tool_call_id
    if called := message.function_call:
        calls = [*calls, chat.call(legacy, called.name, called.arguments)]
    if role == "function":
        role, answers = "tool", answers or legacy
    return ChatMessage(
        role=role,
        content=message.content,
        tool_calls=calls,
        tool_call_id=answers,
        name=message.name,
        extra={key: value for key, value in raw.items() if key not in _Message.__struct_fields__},
    )


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}


def _tool_choice(body: _Body) -> str | dict[str, Any] | None:
    if body.tool_choice is None and isinstance(body.function_call, dict):
        return _tool(body.function_call)
    return body.tool_choice or body.function_call


def _settings(raw: dict[str, Any]) -> dict[str, Any]:
    settings = given(raw, _SETTINGS)
    if limit := raw.get("max_completion_tokens") or raw.get("max_tokens"):
        settings["max_tokens"] = limit
    return settings
