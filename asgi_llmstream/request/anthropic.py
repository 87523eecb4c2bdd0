"""Anthropic's messages, written: turns, content blocks, tools. The one place that does.

Source: the Anthropic API reference, messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from .conversation import Block, ChatMessage

__all__ = [
    "marked",
    "redacted_thinking",
    "system",
    "text",
    "thinking",
    "tool",
    "tool_choice",
    "tool_result",
    "tool_use",
    "turns",
]


def turns(messages: Iterable[ChatMessage]) -> list[dict[str, Any]]:
    """Anthropic's messages: all results of an assistant's calls stand in one message, and the
    user's words behind them."""
    written: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if not (blocks := list(_blocks_of(message))):
            continue  # the API refuses messages without content
        if written and written[-1]["role"] == role:
            written[-1]["content"] += blocks
        else:
            written.append({"role": role, "content": blocks})
    for turn in written:
        match turn["content"]:
            case [{"type": "text", "text": text, **rest}] if not rest:
                turn["content"] = text
    return written


def _blocks_of(message: ChatMessage) -> Iterator[Block]:
    # Without its signature the API refuses reasoning.
    yield from (block for block in message.thinking if block.get("signature") or "data" in block)
    content = list(_content(message.content))
    if message.role == "tool":
        mark = {"cache_control": message.cache_control} if message.cache_control else {}
        yield tool_result(message.tool_call_id, content, message.failed) | mark
        return
    yield from content
    for call in message.tool_calls:
        yield _called(call) | marked(call)


def _content(content: str | list[Block] | None) -> Iterator[Block]:
    parts = [text(content)] if isinstance(content, str) else content or []
    for part in parts:
        convert = _PARTS.get(str(part.get("type")))
        block = part if convert is None else convert(part) | marked(part)
        if block.get("type") != "text" or block["text"].strip():  # blank ones are refused
            yield block


def _text(part: Block) -> Block:
    return text(str(part.get("text") or part.get("refusal") or ""))


def _image(part: Block) -> Block:
    image = part.get("image_url")
    url = str(image.get("url", "") if isinstance(image, dict) else image or "")
    return {"type": "image", "source": _source(url)}


def _document(part: Block) -> Block:
    file = part.get("file")
    file = file if isinstance(file, dict) else {}
    if data := file.get("file_data"):
        document: Block = {"type": "document", "source": _source(str(data))}
    else:
        source = {"type": "file", "file_id": str(file.get("file_id", ""))}
        document = {"type": "document", "source": source}
    return document | ({"title": file["filename"]} if file.get("filename") else {})


def _source(url: str) -> Block:
    """The content of a `data:` URL (RFC 2397), or where another one leads."""
    head, _, data = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64"):
        media_type = head.removeprefix("data:").split(";")[0]
        return {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "url", "url": url}


# Parts of other types are as the client sent them: Anthropic's own, or nothing we know.
_PARTS: dict[str, Callable[[Block], Block]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "file": _document,
}


def marked(part: Block) -> Block:
    """The part's `cache_control`, if it has one."""
    mark = part.get("cache_control")
    return {"cache_control": mark} if mark else {}


def system(messages: Iterable[ChatMessage]) -> str | list[Block] | None:
    """The one system prompt of all these: text, or where a part is marked for the cache, blocks."""
    told = list(messages)
    blocks = [block for message in told for block in _content(message.content)]
    if any("cache_control" in block for block in blocks):
        return blocks
    return "\n\n".join(message.text for message in told if message.text) or None


def text(text: str) -> Block:
    """A text as a block."""
    return {"type": "text", "text": text}


def thinking(text: str, signature: str) -> Block:
    """Reasoning as a block, with the seal that the API wants it back with."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted_thinking(data: str) -> Block:
    """Reasoning that the API does not show, as the block that it wants back."""
    return {"type": "redacted_thinking", "data": data}


def tool_result(id: str | None, content: str | list[Block], failed: bool) -> Block:
    """A tool's answer to the call with this id, as a block."""
    result: Block = {"type": "tool_result", "tool_use_id": id, "content": content}
    return result | ({"is_error": True} if failed else {})


def tool_use(id: str, name: str, arguments: str) -> Block:
    """A call as a block. Arguments that are no JSON object, as models now and then write them,
    become `{"invalid_json": text}`."""
    try:
        given = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        given = {"invalid_json": arguments}
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def _called(call: dict[str, Any]) -> Block:
    match call:
        case {"custom": {"name": str(name), "input": str(input)}}:
            block = {"type": "tool_use", "id": str(call.get("id") or ""), "name": name}
            return block | {"input": {"input": input}}
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    id, name = str(call.get("id") or ""), str(function.get("name") or "")
    return tool_use(id, name, str(function.get("arguments") or ""))


_ANY_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


def tool(offered: dict[str, Any]) -> dict[str, Any]:
    """A tool that is offered, from OpenAI chat's words; another kind is as it was.

    A custom tool takes any text, and here one argument, `input`.
    """
    function = offered.get("function")
    if isinstance(custom := offered.get("custom"), dict):
        function = {**custom, "parameters": _ANY_TEXT}
    if not isinstance(function, dict):
        return offered
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    out = {"name": function.get("name", ""), "input_schema": schema}
    if description := function.get("description"):
        out["description"] = description
    return out | marked(offered)


def tool_choice(choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """The choice among the tools, from OpenAI chat's words; None if there is no word for it."""
    match choice:
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case _:
            return None
