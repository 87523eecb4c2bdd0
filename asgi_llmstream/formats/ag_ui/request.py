"""Requests of AG-UI clients: `RunAgentInput` in, OpenAI's messages out.

Source: `RunAgentInput` of `ag-ui-protocol` 1.0, and the `binary` part of clients before 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Struct

from ...request import ChatMessage, ChatRequest, Decision, decided, denial, undecided
from ..shapes import chat, sealed
from ..shapes.chat import file_part
from ..shapes.fields import Name, bad_field, convert, missing

__all__ = ["decode_request"]


class _Function(Struct):
    name: Name
    arguments: str


class _ToolCall(Struct, rename="camel"):
    id: Name
    function: _Function
    encrypted_value: str | None = None


class _Message(Struct, rename="camel"):
    role: str
    id: Name = ""
    content: str | list[dict[str, Any]] | dict[str, Any] | None = None
    name: Name | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: Name | None = None
    error: str | None = None
    encrypted_value: str | None = None


class _Tool(Struct):
    name: Name
    description: str = ""
    parameters: dict[str, Any] | None = None


class _Resumed(Struct, rename="camel"):
    interrupt_id: Name
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class _Answer(Struct, rename="camel"):
    approved: bool
    edited_args: dict[str, Any] | None = None
    reason: str | None = None


class _Input(Struct, rename="camel"):
    """The fields that are checked here; all others pass in `ChatRequest.body` as they are."""

    thread_id: Name
    run_id: Name
    messages: list[_Message]
    tools: list[_Tool] | None = None
    resume: list[_Resumed] | None = None


def decode_request(raw: dict[str, Any]) -> ChatRequest:
    """A `RunAgentInput`. Its `context`, `state` and `forwardedProps` are read from
    `ChatRequest.body`, and so is what `resume` answers of interrupts that are no approvals.

    Reasoning goes back with the assistant's message that follows it, if it is signed. Activities
    are the client's own display, and not for the model.

    Raises:
        BadRequest: if a field is missing or of the wrong type; `param` names the field.
    """
    input = convert(raw, _Input)
    messages = _messages(input.messages)
    decisions = _decisions(input.resume or (), messages)
    messages += [denial(decision) for decision in decisions if not decision.approved]
    return ChatRequest(
        messages=messages,
        stream=True,
        tools=[_tool(tool) for tool in input.tools or ()],
        thread_id=input.thread_id,
        run_id=input.run_id,
        approvals=decisions,
        body=raw,
    )


def _decisions(resumed: Iterable[_Resumed], messages: list[ChatMessage]) -> list[Decision]:
    """Read what was decided of calls, which are interrupts by their own ids, see `AGUI`."""
    calls = {call.get("id") for message in messages for call in message.tool_calls}
    given = [
        _decision(entry, f"resume[{i}].payload")
        for i, entry in enumerate(resumed)
        if entry.interrupt_id in calls
    ]
    return decided(undecided(given, messages), messages)


def _decision(entry: _Resumed, path: str) -> Decision:
    if entry.status == "cancelled":
        return Decision(entry.interrupt_id, approved=False)
    answer = convert(entry.payload, _Answer, path)
    edited = "" if answer.edited_args is None else chat.as_text(answer.edited_args)
    return Decision(entry.interrupt_id, answer.approved, answer.reason, arguments=edited)


def _tool(tool: _Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def _messages(inputs: list[_Message]) -> list[ChatMessage]:
    messages: list[ChatMessage] = []
    thinking: list[dict[str, Any]] = []
    for i, message in enumerate(inputs):
        path = f"messages[{i}]"
        match message.role:
            case "assistant":
                messages.append(_assistant(message, path, thinking))
                thinking = []
            case "system" | "developer" | "user":
                content = _content(message, path)
                messages.append(ChatMessage(role=message.role, content=content, name=message.name))
            case "tool":
                messages.append(_result(message, path))
            case "reasoning":
                thinking += _thinking(message)
            case "activity":
                pass
            case _:
                raise bad_field(f"{path}.role", "is not a role of AG-UI")
    return messages


def _assistant(message: _Message, path: str, thinking: list[dict[str, Any]]) -> ChatMessage:
    calls = [
        chat.call(
            call.id,
            call.function.name,
            call.function.arguments,
            sealed.call_signature(call.encrypted_value),
        )
        for call in message.tool_calls or ()
    ]
    content = None if message.content is None else _content(message, path)
    return ChatMessage(
        role="assistant",
        content=content or None,
        tool_calls=calls,
        name=message.name,
        thinking=thinking,
    )


def _result(message: _Message, path: str) -> ChatMessage:
    if message.tool_call_id is None:
        raise missing(f"{path}.toolCallId")
    return ChatMessage(
        role="tool",
        content=_content(message, path) or message.error or "",
        tool_call_id=message.tool_call_id,
        failed=message.error is not None,
    )


def _thinking(message: _Message) -> list[dict[str, Any]]:
    """Reasoning as Anthropic wants it back; without its signature it does not."""
    if not isinstance(message.content, str) or not message.encrypted_value:
        return []
    return [sealed.thinking(message.content, message.encrypted_value)]


def _content(message: _Message, path: str) -> str | list[dict[str, Any]]:
    content = message.content
    if content is None:
        raise missing(f"{path}.content")
    if isinstance(content, dict):
        raise bad_field(f"{path}.content", "must be text or a list of parts")
    if isinstance(content, str):
        return content
    parts = (_part(part, f"{path}.content[{i}]") for i, part in enumerate(content))
    return [part for part in parts if part is not None]


class _Source(Struct, rename="camel"):
    type: str
    value: str
    mime_type: str = ""


class _Binary(Struct, rename="camel"):
    mime_type: str
    id: str | None = None
    url: str | None = None
    data: str | None = None
    filename: str | None = None


class _TextPart(Struct):
    text: str


class _MediaPart(Struct):
    source: _Source


def _part(part: dict[str, Any], path: str) -> dict[str, Any] | None:
    """A part as OpenAI has it; None of a type that we do not know, as the protocol wants it."""
    match part.get("type"):
        case "text":
            return {"type": "text", "text": convert(part, _TextPart, path).text}
        case "image" | "audio" | "video" | "document" as kind:
            return _media(kind, convert(part, _MediaPart, path).source)
        case "binary":
            return _binary(convert(part, _Binary, path))
        case _:
            return None


# How OpenAI calls the sounds that it hears.
_SOUNDS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}


def _media(kind: str, source: _Source) -> dict[str, Any]:
    if source.type == "file":
        return {"type": "file", "file": {"file_id": source.value}}
    if source.type == "url":
        return file_part(source.value, "image" if kind == "image" else source.mime_type)
    if sound := _SOUNDS.get(source.mime_type):
        return {"type": "input_audio", "input_audio": {"data": source.value, "format": sound}}
    return file_part(f"data:{source.mime_type};base64,{source.value}", source.mime_type)


def _binary(binary: _Binary) -> dict[str, Any] | None:
    if binary.url is not None:
        return file_part(binary.url, binary.mime_type, binary.filename)
    if binary.data is not None:
        url = f"data:{binary.mime_type};base64,{binary.data}"
        return file_part(url, binary.mime_type, binary.filename)
    return None if binary.id is None else {"type": "file", "file": {"file_id": binary.id}}
