"""Anthropic's messages: raw stream events, those of the SDK's helper stream, and whole messages,
as the SDK's objects and as dicts.

The helper stream gives each raw event and then others that derive from it (`text`,
`input_json`, ...); only the raw ones are read. The tools that Anthropic runs itself are told apart
by their blocks, and have their results among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..chunks import (
    Chunk,
    Native,
    Reasoning,
    RunBy,
    Text,
    ToolCallDelta,
    ToolResult,
    Upstream,
    Usage,
)
from .base import arguments, call_name, comes_from, finish, get, string, under_way, unknown
from .blocks import read_block, read_sources
from .failures import read_error

__all__ = ["is_event", "read_event"]


def is_event(item: object) -> bool:
    """Return whether it looks like an event of a message stream.

    Every event of the SDK's own does, since new types may come at any time (Anthropic's
    versioning policy) and mean nothing to us; a dict must have a type that we know.
    """
    kind = get(item, "type")
    return isinstance(kind, str) and (kind in _KNOWN or comes_from(item, "anthropic"))


def read_event(item: Any) -> Iterable[Chunk]:
    kind = get(item, "type")
    if (reader := _EVENTS.get(kind)) is not None:
        return reader(item)
    if (reader := _MIDDLE.get(kind)) is not None:
        return under_way(reader(item))
    if kind == "ping" or kind in _DERIVED:
        return ()
    return under_way([Native("anthropic", {"event": unknown(item, frozenset())})])


def _read_start(event: Any) -> Iterator[Chunk]:
    message = get(event, "message")
    # Only this event names the message; others belong to it until the next one starts.
    yield Upstream("speaking", call_name(get(message, "id")))
    yield from _read_usage(message)


def _read_stop(event: Any) -> Iterable[Chunk]:
    return (Upstream("over"),)


def _read_block_start(event: Any) -> Iterator[Chunk]:
    return _read_block(get(event, "content_block"), get(event, "index"))


def _read_block(block: Any, index: int) -> Iterator[Chunk]:
    kind = get(block, "type")
    if kind in _CALLS:
        # It begins with `{}`, and the arguments follow; only a whole message has them here.
        given = arguments(get(block, "input") or None)
        yield ToolCallDelta(index, get(block, "id"), get(block, "name"), given, _CALLS[kind])
    elif isinstance(kind, str) and kind.endswith("_tool_result"):
        found = get(block, "content")
        # Each tool has its own type of error; of MCP's it is a field of the block.
        failed = string(get(found, "type")).endswith("_error") or bool(get(block, "is_error"))
        yield ToolResult(string(get(block, "tool_use_id")), found, failed)
    else:
        yield from read_block(block)


_CALLS: dict[Any, RunBy | None] = {
    "tool_use": None,
    "server_tool_use": "provider",
    "mcp_tool_use": "provider",
}


def _read_block_delta(event: Any) -> Iterator[Chunk]:
    delta = get(event, "delta")
    match get(delta, "type"):
        case "text_delta":
            yield Text(string(get(delta, "text")))
        case "thinking_delta":
            yield Reasoning(string(get(delta, "thinking")))
        case "signature_delta":
            yield Reasoning("", string(get(delta, "signature")))
        case "input_json_delta":
            text = string(get(delta, "partial_json"))
            yield ToolCallDelta(get(event, "index"), arguments=text)
        case "citations_delta":
            yield from read_sources([get(delta, "citation")])


def _read_message_delta(event: Any) -> Iterator[Chunk]:
    delta = get(event, "delta")
    fields = {
        "message_delta": unknown(event, _KNOWN_IN_MESSAGE_DELTA),
        "delta": unknown(delta, _KNOWN_IN_DELTA),
        "usage": unknown(get(event, "usage"), _KNOWN_IN_USAGE),
    }
    if found := {level: given for level, given in fields.items() if given}:
        yield Native("anthropic", found)
    yield from _read_usage(event)
    yield from _read_end(delta)


def _read_whole(message: Any) -> Iterator[Chunk]:
    for index, block in enumerate(get(message, "content") or ()):
        yield from _read_block(block, index)
    yield from _read_usage(message)
    yield from _read_end(message)


def _read_end(holder: Any) -> Iterator[Chunk]:
    if reason := get(holder, "stop_reason"):
        details = get(holder, "stop_details")
        if sequence := get(holder, "stop_sequence"):
            details = {"stop_sequence": sequence}
        yield finish(reason, details)


def _read_usage(holder: Any) -> Iterator[Chunk]:
    """The count so far. A field that is left out stays as it was, which is what 0 means to us."""
    usage = get(holder, "usage")
    if usage is None:
        return
    cached = get(usage, "cache_read_input_tokens") or 0
    written = get(usage, "cache_creation_input_tokens") or 0
    details = get(usage, "output_tokens_details")
    yield Usage(
        # Anthropic's own are those that no cache had a part in.
        input_tokens=(get(usage, "input_tokens") or 0) + cached + written,
        output_tokens=get(usage, "output_tokens") or 0,
        cached_tokens=cached,
        reasoning_tokens=(details and get(details, "thinking_tokens")) or 0,
        cache_write_tokens=written,
    )


_EVENTS: dict[Any, Callable[[Any], Iterable[Chunk]]] = {
    "message_start": _read_start,
    "message_stop": _read_stop,
    "message": _read_whole,
    "error": read_error,
}
# After these a message goes on.
_MIDDLE: dict[Any, Callable[[Any], Iterable[Chunk]]] = {
    "content_block_start": _read_block_start,
    "content_block_delta": _read_block_delta,
    "content_block_stop": lambda event: (),
    "message_delta": _read_message_delta,
}

_KNOWN_IN_MESSAGE_DELTA = frozenset({"type", "delta", "usage"})
_KNOWN_IN_DELTA = frozenset({"stop_reason", "stop_sequence", "stop_details"})
_KNOWN_IN_USAGE = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "output_tokens_details",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    }
)

# What the SDK's helper stream derives from the raw events.
_DERIVED = {"text", "input_json", "citation", "thinking", "signature", "compaction"}
_KNOWN = {*_EVENTS, *_MIDDLE, "ping"}
