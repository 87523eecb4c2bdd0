"""LangChain's messages and chunks of them, LangGraph's `(chunk, metadata)`, `astream_events`.

Their usage is additive: each chunk tells what it adds. The tools' messages are results, the
users' and the system's are not part of the answer.

A model's answer ends with its provider's reason for it, or else, of a provider that is not known
to give one, with the chunk or event that LangChain itself ends it with.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from ..chunks import (
    Chunk,
    Finish,
    Reasoning,
    Refusal,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Upstream,
    Usage,
)
from .base import SAY_THEIR_END, arguments, call_name, finish, get, is_named, string, under_way
from .blocks import read_content

__all__ = ["is_event", "is_message", "is_pair", "read_event", "read_message", "read_pair"]

_CALL = "langchain"  # names the call of a bare model, whose chunks have no name of their own


def is_message(item: object) -> bool:
    """Return whether it looks like a `langchain_core.messages.BaseMessage`."""
    return is_named(item, "BaseMessage") and hasattr(item, "response_metadata")


def is_pair(item: tuple[Any, ...]) -> bool:
    """Return whether it is what LangGraph's `stream_mode="messages"` yields."""
    return len(item) == 2 and is_message(item[0]) and isinstance(item[1], dict)


def read_pair(item: tuple[Any, ...]) -> Iterable[Chunk]:
    return read_message(item[0], call_name(item[1].get("langgraph_checkpoint_ns")) or _CALL)


def is_event(item: dict[str, Any]) -> bool:
    """Return whether it is one of `astream_events`."""
    return "run_id" in item and isinstance(item.get("event"), str)


def read_event(item: dict[str, Any]) -> Iterable[Chunk]:
    """A model's chunks and the tools' results; every other event repeats or surrounds these."""
    data, run = item.get("data") or {}, call_name(item["run_id"])
    is_outermost = item.get("parent_ids") == []
    match item["event"]:
        case "on_chain_start" | "on_chat_model_start" if is_outermost:
            return (Upstream("speaking", run),)
        case "on_chain_end" | "on_chat_model_end":
            return (Upstream("stopped", run),)
        case "on_chat_model_stream":
            said = data.get("chunk")
        case "on_tool_end":
            said = data.get("output")
        case "on_tool_error" if data.get("tool_call_id"):
            # What it raised is for the log, as everywhere; the model may be told more.
            return (ToolResult(data["tool_call_id"], "The tool failed.", error=True),)
        case _:
            return ()
    return read_message(said, run) if is_message(said) else ()


def read_message(message: Any, call: str | None = _CALL) -> Iterable[Chunk]:
    if is_named(message, "ToolMessage"):
        failed = get(message, "status") == "error"
        return (ToolResult(message.tool_call_id, message.content, failed),)
    if is_named(message, "AIMessageChunk"):
        return _read_chunk(message, call)
    return _read_answer(message) if is_named(message, "AIMessage") else ()


def _read_chunk(message: Any, call: str | None) -> list[Chunk]:
    chunks = list(_read_answer(message))
    provider = (get(message, "response_metadata") or {}).get("model_provider")
    said = under_way(chunks, call, promised=provider in SAY_THEIR_END)
    if any(type(chunk) is Finish for chunk in chunks):
        said.append(Upstream("over", call))
    elif get(message, "chunk_position") == "last":
        said.append(Upstream("stopped", call))
    return said


def _read_answer(message: Any) -> Iterator[Chunk]:
    more = get(message, "additional_kwargs") or {}
    content = list(read_content(get(message, "content")))
    # Some integrations have it in both places.
    if not any(isinstance(chunk, Reasoning) for chunk in content):
        if reasoning := string(more.get("reasoning_content")):
            yield Reasoning(reasoning)
    yield from content
    if refusal := string(more.get("refusal")):
        yield Refusal(refusal)
    # A chunk has its calls twice, as pieces and as far as they can be parsed.
    pieces = get(message, "tool_call_chunks")
    if pieces is None:
        pieces = get(message, "tool_calls") or ()
    for call in pieces:
        yield _read_call(call)
    if usage := get(message, "usage_metadata"):
        yield _read_usage(usage)
    yield from _read_finish(get(message, "response_metadata") or {})


def _read_call(call: dict[str, Any]) -> Chunk:
    index, id, given = call.get("index"), call.get("id"), arguments(call.get("args"))
    if index is None:  # pieces without an index never belong together
        return ToolCall(id or "", string(call["name"]), given or "{}")
    if not isinstance(index, int):
        index = zlib.crc32(str(index).encode())
    return ToolCallDelta(index, id, call.get("name") or None, given)


# langchain-anthropic counts them by how long they are kept, where it can, and then not as all.
_CACHE_WRITES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def _read_usage(usage: dict[str, Any]) -> Usage:
    given, made = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return Usage(
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        cached_tokens=given.get("cache_read") or 0,
        reasoning_tokens=made.get("reasoning") or 0,
        cache_write_tokens=sum(given.get(name) or 0 for name in _CACHE_WRITES),
        additive=True,
    )


def _read_finish(metadata: dict[str, Any]) -> Iterator[Chunk]:
    """The provider's own word, which stands where its own API has it."""
    if reason := metadata.get("finish_reason") or metadata.get("stop_reason"):
        yield finish(reason)
    elif metadata.get("stopReason"):  # Bedrock
        yield finish(metadata["stopReason"])
    elif reason := metadata.get("done_reason"):
        # Ollama says "stop" after tool calls too.
        yield Finish(None, reason) if reason == "stop" else finish(reason)
    elif status := metadata.get("status"):  # OpenAI Responses
        details = metadata.get("incomplete_details") or {}
        yield finish(details["reason"]) if details.get("reason") else Finish(None, status)
