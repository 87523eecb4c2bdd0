"""Pydantic AI's stream events, of `agent.run_stream_events()` and event stream handlers, and the
result of `agent.run()`.

A model's words come in parts, which start, grow and end; each thing is read where it comes
first. The run's end tells its usage, of all model calls together, and nothing else is its end:
an event stream handler is not told it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from ..chunks import (
    Approval,
    Chunk,
    Finish,
    Reasoning,
    Step,
    Text,
    ToolCallDelta,
    ToolResult,
    Upstream,
    Usage,
)
from .base import SAY_THEIR_END, arguments, finish, get, is_named, string, under_way

__all__ = ["is_event", "is_result", "read_event", "read_result"]


def is_event(item: object) -> bool:
    """Return whether it looks like a `pydantic_ai.messages.AgentStreamEvent`."""
    return isinstance(get(item, "event_kind"), str)


def read_event(item: Any) -> Iterable[Chunk]:
    kind = get(item, "event_kind")
    if kind == "agent_run_result":
        return _read_run_result(item)
    reader = _EVENTS.get(kind)
    return under_way(() if reader is None else reader(item), _RUN)


def is_result(item: object) -> bool:
    """Return whether it looks like a `pydantic_ai.run.AgentRunResult`."""
    return is_named(item, "AgentRunResult") and hasattr(item, "new_messages")


def read_result(result: Any) -> Iterable[Chunk]:
    """The run's messages as the events that they would have been."""
    chunks: list[Chunk] = []
    for message in result.new_messages():
        for index, part in enumerate(message.parts):
            event = SimpleNamespace(index=index, part=part)
            if get(message, "kind") == "response":
                chunks += _read_part(event)
            elif get(part, "tool_call_id") and get(part, "part_kind") in _ANSWERS:
                chunks += _read_result(event)
    return [*under_way(chunks, _RUN), *_read_run_result(SimpleNamespace(result=result))]


_ANSWERS = ("tool-return", "retry-prompt")


def _read_part(event: Any) -> Iterator[Chunk]:
    if event.index == 0:
        yield Step()  # the first part of every model response has this index
    part = event.part
    match get(part, "part_kind"):
        case "text":
            yield Text(string(part.content))
        case "thinking":
            hidden = get(part, "id") == "redacted_thinking"
            yield Reasoning(string(part.content), _signature(part, part.signature), hidden)
        case "tool-call":
            # `{}` is how some models say that the arguments follow.
            given = arguments(part.args or None)
            yield ToolCallDelta(event.index, part.tool_call_id, part.tool_name, given)
        case "builtin-tool-call" | "native-tool-call":
            given = arguments(part.args or None)
            id, name = part.tool_call_id, part.tool_name
            yield ToolCallDelta(event.index, id, name, given, by="provider")
        case "builtin-tool-return" | "native-tool-return":
            yield ToolResult(part.tool_call_id, part.content, _has_failed(part))


def _read_delta(event: Any) -> Iterator[Chunk]:
    delta = event.delta
    match get(delta, "part_delta_kind"):
        case "text":
            yield Text(string(delta.content_delta))
        case "thinking":
            signature = _signature(delta, delta.signature_delta)
            yield Reasoning(string(delta.content_delta), signature)
        case "tool_call":
            # Whose call it is says the index: the id may be news, and is never another's.
            given = arguments(delta.args_delta)
            yield ToolCallDelta(event.index, None, delta.tool_name_delta, given)


def _signature(part: Any, signature: Any) -> str | None:
    # Other providers' signatures mean something else, and Anthropic would refuse them.
    return signature if get(part, "provider_name") == "anthropic" else None


def _read_result(event: Any) -> Iterator[Chunk]:
    part = get(event, "part") or get(event, "result")
    # Until version 2 a retry was a part of its own; denied and interrupted calls have results.
    failed = get(part, "part_kind") == "retry-prompt" or _has_failed(part)
    denied = get(part, "outcome") == "denied"
    yield ToolResult(part.tool_call_id, part.content, failed, denied)


def _has_failed(part: Any) -> bool:
    return get(part, "outcome") in ("failed", "retried")


def _read_run_result(event: Any) -> Iterator[Chunk]:
    result = event.result
    if is_named(result.output, "DeferredToolRequests"):
        for call in result.output.approvals:
            yield Approval(call.tool_call_id)
    usage = result.usage
    if not hasattr(usage, "input_tokens"):
        usage = usage()  # a method until version 2
    # The calls before were not counted one by one, so this is no news about the last one only.
    yield Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_tokens,
        reasoning_tokens=get(usage, "output_reasoning_tokens") or 0,
        cache_write_tokens=usage.cache_write_tokens,
    )
    if _is_cut_off(result.response):
        return
    yield Upstream("over", _RUN)
    reason = get(result.response, "finish_reason")
    # Calls of output tools are answered by the run's end.
    yield Finish("stop", reason) if reason in (None, "tool_call") else finish(reason)


def _is_cut_off(response: Any) -> bool:
    if get(response, "state") not in (None, "complete"):
        return True
    if get(response, "provider_name") not in SAY_THEIR_END:
        return False
    # The provider's own reason stands here. Where there is none, `finish_reason` is made up.
    return not (get(response, "provider_details") or {}).get("finish_reason")


_RUN = "pydantic-ai"

_EVENTS: dict[Any, Callable[[Any], Iterable[Chunk]]] = {
    "part_start": _read_part,
    "part_delta": _read_delta,
    "function_tool_result": _read_result,
    "output_tool_result": _read_result,
}
