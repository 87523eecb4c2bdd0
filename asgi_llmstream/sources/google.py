"""google-genai's `GenerateContentResponse` chunks.

Only candidate 0 is read; its `finish_reason` is the end. Usage is cumulative. Code that Google
runs itself is not read. Of the thought signatures those of calls are kept, without which the API
refuses them; texts go back without theirs.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from ..chunks import Chunk, File, Finish, Reasoning, Source, Text, ToolCall, Upstream, Usage
from .base import call_name, finish, get, string, under_way

__all__ = ["is_response", "read_response"]


def is_response(item: object) -> bool:
    """Return whether it looks like `google.genai.types.GenerateContentResponse`."""
    return hasattr(item, "candidates") and hasattr(item, "usage_metadata")


def read_response(item: Any) -> Iterable[Chunk]:
    chunks = list(_read_response(item))
    call = call_name(get(item, "response_id")) or "google"
    ends = any(type(chunk) is Finish for chunk in chunks)
    return [*under_way(chunks, call), *([Upstream("over", call)] if ends else ())]


def _read_response(item: Any) -> Iterator[Chunk]:
    for candidate in get(item, "candidates") or ():
        if not get(candidate, "index"):
            yield from _read_candidate(candidate)
    usage = get(item, "usage_metadata")
    if usage is not None:
        yield _read_usage(usage)
    feedback = get(item, "prompt_feedback")
    if blocked := feedback and get(feedback, "block_reason"):
        yield Finish("content_filter", string(blocked.value))


def _read_candidate(candidate: Any) -> Iterator[Chunk]:
    content = get(candidate, "content")
    for part in (content and get(content, "parts")) or ():
        yield from _read_part(part)
    grounding = get(candidate, "grounding_metadata")
    for chunk in (grounding and get(grounding, "grounding_chunks")) or ():
        web = get(chunk, "web")
        if web and (uri := get(web, "uri")):
            yield Source(uri, get(web, "title"))
    if reason := get(candidate, "finish_reason"):
        yield finish(reason)


def _read_part(part: Any) -> Iterator[Chunk]:
    if text := get(part, "text"):
        yield Reasoning(string(text)) if get(part, "thought") else Text(string(text))
    if call := get(part, "function_call"):
        yield _read_call(call, get(part, "thought_signature"))
    blob = get(part, "inline_data")
    if blob and get(blob, "data"):
        media_type = get(blob, "mime_type") or "application/octet-stream"
        yield File(f"data:{media_type};base64,{b64encode(blob.data).decode()}", media_type)


def _read_call(call: Any, signature: bytes | None) -> ToolCall:
    if get(call, "partial_args") or get(call, "will_continue"):
        raise TypeError(
            "cannot stream a FunctionCall in pieces: leave `stream_function_call_arguments` off"
        )
    # Without an id, which only Vertex leaves out, it gets one of ours.
    id, name, given = get(call, "id") or "", string(get(call, "name")), get(call, "args") or {}
    return ToolCall(id, name, given, signature=b64encode(signature).decode() if signature else None)


def _read_usage(usage: Any) -> Usage:
    thoughts = get(usage, "thoughts_token_count") or 0
    given = get(usage, "prompt_token_count") or 0
    return Usage(
        input_tokens=given + (get(usage, "tool_use_prompt_token_count") or 0),
        output_tokens=(get(usage, "candidates_token_count") or 0) + thoughts,
        cached_tokens=get(usage, "cached_content_token_count") or 0,
        reasoning_tokens=thoughts,
    )
