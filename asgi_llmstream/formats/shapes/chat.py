"""OpenAI chat's words, which every protocol's request is told in."""

from __future__ import annotations

from typing import Any

from ...chunks import ToolResult
from ...request import DENIED, google
from ..wire import dumps

__all__ = [
    "as_text",
    "call",
    "custom_call",
    "file_part",
    "json_schema",
    "just_text",
    "told_of",
]

Content = str | list[dict[str, Any]]


def call(id: str | None, name: str, arguments: str, signature: str | None = None) -> dict[str, Any]:
    """A tool call of an assistant's message; `arguments` is JSON text, and the signature
    Gemini's, see `chunks.ToolCallDelta`."""
    function = {"name": name, "arguments": arguments}
    return {"id": id, "type": "function", "function": function, **google.sealed(signature)}


def custom_call(id: str | None, name: str, input: str) -> dict[str, Any]:
    """A call of a custom tool, whose `input` is any text."""
    return {"id": id, "type": "custom", "custom": {"name": name, "input": input}}


def json_schema(name: str = "answer", **fields: Any) -> dict[str, Any]:
    """A `response_format`; chat wants its schema to have a name."""
    return {"type": "json_schema", "json_schema": {"name": name, **fields}}


def just_text(parts: list[dict[str, Any]]) -> Content:
    """Content parts; of a text alone only the text, since some servers know no other content."""
    match parts:
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
    return parts


def file_part(url: str, media_type: str, filename: str | None = None) -> dict[str, Any]:
    """A file as one of OpenAI's content parts. Those take other files than pictures as `data:`
    URLs only; compatible servers take any URL in the same place."""
    if media_type.split("/")[0] == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    file = {"file_data": url} if filename is None else {"filename": filename, "file_data": url}
    return {"type": "file", "file": file}


def as_text(value: Any) -> str:
    """A tool's output where a protocol wants text: itself, or its JSON."""
    return value if isinstance(value, str) else dumps(value).decode()


def told_of(result: ToolResult) -> str:
    """A tool's answer as text; of a call that was denied, that it was."""
    return DENIED if result.denied and result.output is None else as_text(result.output)
