"""OpenAI's chat completion chunks: the SDK's objects and their plain dicts.

Only choice 0 is read: the others are other answers to the same question, and merging them would
make nonsense. Both `reasoning_content` and `reasoning` are read, since compatible servers differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..chunks import (
    Chunk,
    Error,
    Finish,
    FinishReason,
    Reasoning,
    Refusal,
    Text,
    ToolCallDelta,
    Usage,
)

__all__ = ["is_chat_chunk", "read_chat_chunk", "read_chat_mapping"]

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def is_chat_chunk(item: object) -> bool:
    """Whether it looks like `openai.types.chat.ChatCompletionChunk`."""
    return getattr(item, "object", None) == "chat.completion.chunk" and hasattr(item, "choices")


def read_chat_chunk(item: Any) -> Iterable[Chunk]:
    return _read(item, getattr)


def read_chat_mapping(item: Mapping[str, Any]) -> Iterable[Chunk]:
    if item.get("error"):
        # Compatible servers send errors in mid-stream as a chunk; its text is not ours to show.
        return (Error("The model provider could not answer.", "upstream_error", 502),)
    return _read(item, _get)


def _get(item: Any, name: str, default: None) -> Any:
    return item.get(name, default)


def _read(item: Any, get: Any) -> list[Chunk]:
    chunks: list[Chunk] = []
    for choice in get(item, "choices", None) or ():
        if not get(choice, "index", None):
            _read_choice(choice, get, chunks)
    usage = get(item, "usage", None)
    if usage is not None:
        chunks.append(_read_usage(usage, get))
    return chunks


def _read_choice(choice: Any, get: Any, chunks: list[Chunk]) -> None:
    delta = get(choice, "delta", None)
    if delta is not None:
        reasoning = get(delta, "reasoning_content", None) or get(delta, "reasoning", None)
        if isinstance(reasoning, str) and reasoning:
            chunks.append(Reasoning(reasoning))
        if text := get(delta, "content", None):
            chunks.append(Text(text))
        if refusal := get(delta, "refusal", None):
            chunks.append(Refusal(refusal))
        for call in get(delta, "tool_calls", None) or ():
            function = get(call, "function", None)
            chunks.append(
                _tool_call(function, get, get(call, "index", None), get(call, "id", None))
            )
        if function := get(delta, "function_call", None):
            chunks.append(_tool_call(function, get, 0, None))
    if reason := get(choice, "finish_reason", None):
        chunks.append(Finish(FINISH_REASONS.get(reason, "other"), reason))


def _tool_call(function: Any, get: Any, index: int | None, id: str | None) -> ToolCallDelta:
    if function is None:
        return ToolCallDelta(index or 0, id)
    name, arguments = get(function, "name", None), get(function, "arguments", None)
    return ToolCallDelta(index or 0, id, name, arguments or "")


def _read_usage(usage: Any, get: Any) -> Usage:
    prompt = get(usage, "prompt_tokens_details", None)
    completion = get(usage, "completion_tokens_details", None)
    return Usage(
        input_tokens=get(usage, "prompt_tokens", None) or 0,
        output_tokens=get(usage, "completion_tokens", None) or 0,
        cached_tokens=(prompt is not None and get(prompt, "cached_tokens", None)) or 0,
        reasoning_tokens=(completion is not None and get(completion, "reasoning_tokens", None))
        or 0,
    )
