"""OpenAI's chat completions, streamed and whole, and text completions: the SDK's objects, their
plain dicts, and those of whoever speaks like it (litellm, llama-cpp-python, many servers).

Only choice 0 is read: the others are other answers to the same question, and merging them would
make nonsense. Its `finish_reason` is the end; the usage that follows is not needed for a whole
answer. Both `reasoning_content` and `reasoning` are read, since compatible servers differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from ..chunks import (
    Chunk,
    Finish,
    Native,
    Reasoning,
    Refusal,
    Text,
    ToolCallDelta,
    Upstream,
    Usage,
)
from .base import arguments, call_name, comes_from, finish, get, string, unknown
from .blocks import read_content, read_sources
from .failures import read_error

__all__ = ["is_chat", "is_helper_event", "read_chat", "read_helper_event", "read_usage"]


def is_chat(item: object) -> bool:
    """Return whether it looks like `openai.types.chat.ChatCompletionChunk` or its whole sibling."""
    # Not by its `object` field: Azure's first chunk has an empty one.
    return hasattr(item, "choices")


def is_helper_event(item: object) -> bool:
    """Return whether it comes from `client.chat.completions.stream(...)`."""
    return comes_from(item, "openai") and isinstance(get(item, "type"), str)


def read_helper_event(item: Any) -> Iterable[Chunk]:
    # Every chunk comes as it is, and then again in events that derive from it.
    return read_chat(get(item, "chunk")) if get(item, "type") == "chunk" else ()


def read_chat(item: Any) -> Iterable[Chunk]:
    if get(item, "error"):
        return read_error(item)  # compatible servers send it in mid-stream, as a chunk
    said: list[Chunk] = []
    native = unknown(item, _KNOWN_IN_CHUNK)
    fields = {"chunk": native} if native else {}
    choices = get(item, "choices") or ()
    for choice in choices:
        if not get(choice, "index"):
            fields |= _unknown_in_choice(choice)
            said += _read_choice(choice)
    usage = get(item, "usage")
    chunks: list[Chunk] = []
    # Usage alone follows the end, and whole answers need none.
    if (choices or usage is None) and not any(map(_is_whole, choices)):
        chunks.append(_progress(item, said))
    if fields:
        chunks.append(Native("openai", fields))
    chunks += said
    if usage is not None:
        chunks.append(read_usage(usage))
    return chunks


def _progress(item: Any, said: list[Chunk]) -> Upstream:
    # An empty id is Azure's, of what it says about the prompt.
    call = call_name(get(item, "id"))
    if not said:
        return Upstream("silent", call)
    return Upstream("over" if type(said[-1]) is Finish else "speaking", call)


def _is_whole(choice: Any) -> bool:
    return get(choice, "delta") is None and get(choice, "message") is not None


_KNOWN_IN_CHUNK = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "error", "obfuscation"}
)
_KNOWN_IN_CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason"})
_KNOWN_IN_DELTA = frozenset(
    {
        "role",
        "content",
        "reasoning_content",
        "reasoning",
        "refusal",
        "tool_calls",
        "function_call",
        "annotations",
        "thinking_blocks",
    }
)


def _unknown_in_choice(choice: Any) -> dict[str, Any]:
    """Of a stream's choice; a whole answer's has no chunk that it could go out with."""
    delta = get(choice, "delta")
    if delta is None:
        return {}
    found = {
        "choice": unknown(choice, _KNOWN_IN_CHOICE),
        "delta": unknown(delta, _KNOWN_IN_DELTA),
    }
    return {level: fields for level, fields in found.items() if fields}


def _read_choice(choice: Any) -> Iterator[Chunk]:
    said = get(choice, "delta") or get(choice, "message")
    if said is not None:
        yield from _read_said(said)
    elif text := get(choice, "text"):  # a text completion
        yield Text(string(text))
    if reason := get(choice, "finish_reason"):
        yield finish(reason)


def _read_said(said: Any) -> Iterator[Chunk]:
    reasoning = get(said, "reasoning_content") or get(said, "reasoning")
    if reasoning and isinstance(reasoning, str):
        yield Reasoning(reasoning)
    # litellm: the same reasoning again, but also its signature.
    for block in get(said, "thinking_blocks") or ():
        if signature := get(block, "signature"):
            yield Reasoning("", string(signature))
        elif data := get(block, "data"):
            yield Reasoning("", string(data), redacted=True)
    content = get(said, "content")
    if type(content) is str:  # the hot path
        if content:
            yield Text(content)
    elif content is not None:
        yield from read_content(content)
    if refusal := get(said, "refusal"):
        yield Refusal(string(refusal))
    if annotations := get(said, "annotations"):
        yield from read_sources(annotations)
    for position, call in enumerate(get(said, "tool_calls") or ()):
        yield _read_call(call, position)
    if function := get(said, "function_call"):
        yield _call_delta(0, None, function)


def _read_call(call: Any, position: int) -> ToolCallDelta:
    index = get(call, "index")
    function = get(call, "function") or get(call, "custom")
    delta = _call_delta(position if index is None else index, get(call, "id"), function)
    # Gemini's own endpoint of this protocol.
    google = get(get(call, "extra_content"), "google")
    signature = string(get(google, "thought_signature")) or None
    return delta if signature is None else replace(delta, signature=signature)


def _call_delta(index: int, id: str | None, function: Any) -> ToolCallDelta:
    if function is None:
        return ToolCallDelta(index, id)
    # A custom tool's `input` is any text; a function's `arguments` are JSON.
    given = get(function, "arguments") or get(function, "input")
    return ToolCallDelta(index, id, string(get(function, "name")) or None, arguments(given))


def read_usage(usage: Any) -> Usage:
    """The final count, of chat completions (`prompt_tokens`) or responses (`input_tokens`)."""
    given = get(usage, "prompt_tokens_details") or get(usage, "input_tokens_details")
    made = get(usage, "completion_tokens_details") or get(usage, "output_tokens_details")
    return Usage(
        input_tokens=get(usage, "prompt_tokens") or get(usage, "input_tokens") or 0,
        output_tokens=get(usage, "completion_tokens") or get(usage, "output_tokens") or 0,
        cached_tokens=(given and get(given, "cached_tokens")) or 0,
        reasoning_tokens=(made and get(made, "reasoning_tokens")) or 0,
        cache_write_tokens=_cache_writes(given),
    )


def _cache_writes(given: Any) -> int:
    if given is None:
        return 0
    # litellm's name for it, until it took OpenAI's.
    return get(given, "cache_write_tokens") or get(given, "cache_creation_tokens") or 0
