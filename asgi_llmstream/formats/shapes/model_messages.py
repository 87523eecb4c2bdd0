"""Messages with `content`, as the AI SDK gives them to models and assistant-ui's data stream
runtime sends them: OpenAI's messages out.

Source: `toLanguageModelMessages.ts` of `@assistant-ui/react-data-stream` 0.12, and
`LanguageModelV2Message` of `@ai-sdk/provider`, with the words of AI SDK 4 (`args`, `result`).
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct

from ...request import DENIED, ChatMessage, anthropic
from . import chat
from .chat import as_text, file_part
from .fields import Name, bad_field, convert, missing

__all__ = ["ModelMessage", "read_message"]


class ModelMessage(Struct):
    role: str
    content: str | list[dict[str, Any]]


class _Part(Struct, rename="camel"):
    """The fields of all kinds of parts that are read here."""

    type: str
    text: str = ""
    data: str = ""
    image: str = ""
    media_type: str = ""
    filename: str | None = None
    tool_call_id: Name | None = None
    tool_name: Name = ""
    input: Any = UNSET
    args: Any = UNSET
    output: Any = UNSET
    result: Any = None
    is_error: bool = False
    provider_options: dict[str, Any] | None = None


_ROLES = ("system", "user", "assistant", "tool")


def read_message(message: ModelMessage, path: str) -> list[ChatMessage]:
    """One message becomes several where it holds results: in chat each is one of its own.

    Args:
        path: where in the body it stands, as "messages[0]".

    Raises:
        BadRequest: if a field is missing or of the wrong type; `param` names the field.
    """
    if message.role not in _ROLES:
        raise bad_field(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
    if isinstance(message.content, str):
        return [ChatMessage(role=message.role, content=message.content)]
    parts = [_read(part, f"{path}.content[{j}]") for j, part in enumerate(message.content)]
    results = [_result(part) for part in parts if part.type == "tool-result"]
    match message.role:
        case "tool":
            return results
        case "assistant":
            return [*_said(parts), *results]
        case role:
            content = chat.just_text([c for part in parts if (c := _content(part)) is not None])
            return [ChatMessage(role=role, content=content)]


def _read(raw: dict[str, Any], path: str) -> _Part:
    part = convert(raw, _Part, path)
    if part.type in ("tool-call", "tool-result") and not part.tool_call_id:
        raise missing(f"{path}.toolCallId")
    return part


def _said(parts: list[_Part]) -> list[ChatMessage]:
    text = "".join(part.text for part in parts if part.type == "text")
    calls = [_call(part) for part in parts if part.type == "tool-call"]
    if not text and not calls:
        return []
    thinking = [block for part in parts if (block := _thinking(part))]
    return [
        ChatMessage(role="assistant", content=text or None, tool_calls=calls, thinking=thinking)
    ]


def _call(part: _Part) -> dict[str, Any]:
    input = part.args if part.input is UNSET else part.input
    return chat.call(part.tool_call_id, part.tool_name, "{}" if input is UNSET else as_text(input))


def _thinking(part: _Part) -> dict[str, Any] | None:
    match part.provider_options:
        case {"anthropic": {"signature": str(signature)}} if part.type == "reasoning":
            return anthropic.thinking(part.text, signature)
        case _:
            return None


def _result(part: _Part) -> ChatMessage:
    content, failed = part.result, part.is_error
    match part.output:
        case {"type": str(kind), "value": value}:
            content, failed = value, kind.startswith("error")
        case {"type": "execution-denied", **more}:
            content, failed = more.get("reason") or DENIED, True
    return ChatMessage(
        role="tool", content=as_text(content), tool_call_id=part.tool_call_id, failed=failed
    )


def _content(part: _Part) -> dict[str, Any] | None:
    match part.type:
        case "text":
            return {"type": "text", "text": part.text}
        case "image":
            return file_part(_url(part.image, part.media_type or "image/png"), "image")
        case "file":
            return file_part(_url(part.data, part.media_type), part.media_type, part.filename)
        case _:
            return None


def _url(data: str, media_type: str) -> str:
    is_url = data.startswith(("data:", "http:", "https:"))
    return data if is_url else f"data:{media_type};base64,{data}"
