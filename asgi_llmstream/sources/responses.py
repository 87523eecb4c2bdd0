"""OpenAI's Responses: stream events, as the SDK's objects (its helper stream's too) and dicts, and
whole responses.

Deltas are read, and not the `.done` events that repeat them. The tools that OpenAI runs itself say
at their item's end what they found, and all but MCP's what they were asked.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..chunks import (
    Approval,
    Chunk,
    Finish,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Upstream,
)
from .base import arguments, call_name, finish, get, string, under_way
from .blocks import read_content, read_sources
from .failures import read_error
from .openai import read_usage

__all__ = ["is_event", "is_whole", "read_event", "read_whole"]


def is_event(item: object) -> bool:
    """Return whether it looks like one of `openai.types.responses.ResponseStreamEvent`."""
    kind = get(item, "type")
    return isinstance(kind, str) and (kind.startswith("response.") or kind == "error")


def read_event(item: Any) -> Iterable[Chunk]:
    kind = get(item, "type")
    if (reader := _ENDS.get(kind)) is not None:
        return reader(item)
    reader = _MIDDLE.get(kind)
    # Only the events that hold the response name it.
    call = call_name(get(get(item, "response"), "id"))
    return under_way(() if reader is None else reader(item), call)


def is_whole(item: object) -> bool:
    """Return whether it looks like `openai.types.responses.Response`."""
    return get(item, "object") == "response" and get(item, "output") is not None


def read_whole(response: Any) -> Iterable[Chunk]:
    if get(response, "error"):
        return read_error(response)
    chunks = [
        chunk
        for index, item in enumerate(get(response, "output"))
        for chunk in _read_output(item, index)
    ]
    # One that runs in the background is not there yet.
    if get(response, "status") not in (None, "completed", "incomplete"):
        return under_way(chunks)
    return [*chunks, *_read_end({"response": response})]


def _read_output(item: Any, index: int) -> Iterator[Chunk]:
    match get(item, "type"):
        case "message":
            yield from read_content(get(item, "content"))
        case "reasoning":
            texts = [*(get(item, "summary") or ()), *(get(item, "content") or ())]
            yield Reasoning("\n\n".join(string(get(text, "text")) for text in texts))
        case _:
            for kind in ("response.output_item.added", "response.output_item.done"):
                if reader := _MIDDLE.get(kind):
                    yield from reader({"item": item, "output_index": index})


def _read_text(event: Any) -> Iterator[Chunk]:
    yield Text(string(get(event, "delta")))


def _read_refusal(event: Any) -> Iterator[Chunk]:
    yield Refusal(string(get(event, "delta")))


def _read_reasoning(event: Any) -> Iterator[Chunk]:
    yield Reasoning(string(get(event, "delta")))


def _read_summary_part(event: Any) -> Iterator[Chunk]:
    # Each part is a paragraph of its own.
    if get(event, "summary_index"):
        yield Reasoning("\n\n")


def _read_annotation(event: Any) -> Iterator[Chunk]:
    return read_sources([get(event, "annotation")])


def _read_item(event: Any) -> Iterator[Chunk]:
    item = get(event, "item")
    kind = get(item, "type")
    if kind in ("function_call", "custom_tool_call"):
        # The call's id is what its result must name; the item's own is another.
        given = arguments(get(item, "arguments") or get(item, "input"))
        yield ToolCallDelta(
            _index(event, get(item, "id")), get(item, "call_id"), get(item, "name"), given
        )
    elif kind == "mcp_call":
        index, given = _index(event, get(item, "id")), arguments(get(item, "arguments"))
        yield ToolCallDelta(index, get(item, "id"), get(item, "name"), given, by="provider")


def _read_item_end(event: Any) -> Iterator[Chunk]:
    """Read what a tool of OpenAI's was asked, unless that came before, and what it found."""
    item = get(event, "item")
    kind, id = get(item, "type"), string(get(item, "id"))
    if kind == "mcp_call":
        error = get(item, "error")
        found = get(item, "output") if error is None else error
        yield ToolResult(id, found, error is not None)
        if asked := get(item, "approval_request_id"):
            yield ToolResult(asked, found, error is not None)  # of the call that waited for it
    elif kind == "mcp_approval_request":
        given = arguments(get(item, "arguments"))
        yield ToolCall(id, string(get(item, "name")), given, by="provider")
        yield Approval(id)
    elif kind in _ASKED:
        question, answer = _ASKED[kind]
        name = kind.removesuffix("_call")
        yield ToolCall(id, name, {question: get(item, question)}, by="provider")
        failed = get(item, "status") == "failed"
        yield ToolResult(id, get(item, answer) if answer else None, failed)


# Where an item has what the tool was asked, and what it found if that is told.
_ASKED: dict[Any, tuple[str, str | None]] = {
    "web_search_call": ("action", None),
    "file_search_call": ("queries", "results"),
    "code_interpreter_call": ("code", "outputs"),
}


def _read_arguments(event: Any) -> Iterator[Chunk]:
    index = _index(event, get(event, "item_id"))
    yield ToolCallDelta(index, arguments=string(get(event, "delta")))


def _index(event: Any, item_id: Any) -> int:
    """Return where the call stands; compatible servers leave the index out and give the item's
    id."""
    index = get(event, "output_index")
    return zlib.crc32(string(item_id).encode()) if index is None else int(index)


def _read_end(event: Any) -> Iterator[Chunk]:
    response = get(event, "response")
    yield Upstream("over", call_name(get(response, "id")))
    usage = get(response, "usage")
    if usage is not None:
        yield read_usage(usage)
    details = get(response, "incomplete_details")
    if reason := details and get(details, "reason"):
        yield finish(reason)
    else:
        # The response does not say that it ended because of calls. Whoever saw them knows.
        yield Finish(None, get(response, "status") or "completed")


def _read_failed(event: Any) -> Iterator[Chunk]:
    return iter(read_error(get(event, "response")))


_MIDDLE: dict[Any, Callable[[Any], Iterable[Chunk]]] = {
    "response.output_text.delta": _read_text,
    "response.refusal.delta": _read_refusal,
    "response.reasoning_summary_part.added": _read_summary_part,
    "response.reasoning_summary_text.delta": _read_reasoning,
    "response.reasoning_text.delta": _read_reasoning,
    "response.output_text.annotation.added": _read_annotation,
    "response.output_item.added": _read_item,
    "response.output_item.done": _read_item_end,
    "response.function_call_arguments.delta": _read_arguments,
    "response.mcp_call_arguments.delta": _read_arguments,
    "response.custom_tool_call_input.delta": _read_arguments,
}
_ENDS: dict[Any, Callable[[Any], Iterable[Chunk]]] = {
    "response.completed": _read_end,
    "response.incomplete": _read_end,
    "response.failed": _read_failed,
    "error": read_error,
}
