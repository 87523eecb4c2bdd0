"""A check that a body is framed so that every known client reads it, and has one end."""

from __future__ import annotations

import re
from json import loads
from typing import Any, Literal

from ..sse import ServerSentEvent, parse_sse

__all__ = ["check_stream"]

_LINE_CUTTERS = re.compile("[\u0085\u2028\u2029]")
_TERMINALS = ("run-finished", "run-failed", "run-aborted")


def check_stream(
    body: bytes, format: Literal["openai", "events"] | None = None
) -> list[ServerSentEvent]:
    """Check that a whole body is framed so that every known client reads it, and has one end.

    Args:
        body: of the response.
        format: whose ending is wanted: OpenAI chat completions or plain events; None checks
            only the framing.

    Returns:
        The events.

    Raises:
        AssertionError: says what is wrong.
    """
    try:
        text = body.decode()
        events = parse_sse(body)
    except ValueError as error:
        raise AssertionError(f"not readable: {error}") from error
    _check_framing(text)
    for event in events:
        cut = _LINE_CUTTERS.search(event.data or "") and _decoded(event) is not None
        _expect(not cut, f"U+0085, U+2028 or U+2029 stands raw in JSON: {event.data!r}")
    if format == "openai":
        _check_openai(events)
    elif format == "events":
        ends = [i for i, event in enumerate(events) if event.event in _TERMINALS]
        _expect(
            ends == [len(events) - 1],
            f"one of {', '.join(_TERMINALS)} must be last and the only one: "
            f"found at {ends} of {len(events)} events",
        )
    return events


def _expect(condition: object, text: str) -> None:
    # Not an `assert`, which `python -O` removes and pytest does not rewrite here.
    if not condition:
        raise AssertionError(text)


def _check_framing(text: str) -> None:
    _expect(not text.startswith("\ufeff"), "there is a byte-order mark")
    _expect("\r" not in text, "there is a CR: lines must end in LF only")
    *lines, rest = text.split("\n")
    block: list[str] = []
    for line in lines:
        if line:
            block.append(line)
        else:
            _check_block(block)
            block = []
    unfinished = rest or any(not line.startswith(":") for line in block)
    _expect(not unfinished, f"the last event does not end in a blank line: {[*block, rest]}")


def _check_block(block: list[str]) -> None:
    names = [line.partition(":")[0] for line in block]
    _expect(block, "there is a blank line that ends no event")
    _expect(any(names), f"a comment has a blank line of its own: {block}")
    _expect("data" in names, f"a block has no data: {block}")
    unknown = set(names) - {"", "data", "event", "id", "retry"}
    _expect(not unknown, f"there is an unknown field: {block}")
    first = next(i for i, name in enumerate(names) if name)
    _expect("" not in names[first:], f"a comment stands inside an event: {block}")


def _check_openai(events: list[ServerSentEvent]) -> None:
    done = [i for i, event in enumerate(events) if event.data == "[DONE]"]
    _expect(
        done == [len(events) - 1],
        f"[DONE] must be last and the only one: found at {done} of {len(events)} events",
    )
    chunks = []
    for event in events[:-1]:
        named = event.event is not None or event.id is not None
        _expect(not named, f"this format has neither event: nor id: lines: {event}")
        chunks.append(_decoded(event))
        _expect(isinstance(chunks[-1], dict), f"an event is not a JSON object: {event.data!r}")
    ends = [i for i, chunk in enumerate(chunks) if "error" in chunk or _finishes(chunk)]
    _expect(len(ends) == 1, f"one finish_reason or one error must come, not {len(ends)}")
    end, after = chunks[ends[0]], chunks[ends[0] + 1 :]
    _expect(not after or "error" not in end, f"nothing may follow an error: {after}")
    usage = [chunk.get("choices") == [] and bool(chunk.get("usage")) for chunk in after]
    _expect(usage in ([], [True]), f"only usage may follow a finish_reason: {after}")


def _finishes(chunk: Any) -> bool:
    choices = chunk.get("choices") or ()
    return any(choice.get("finish_reason") is not None for choice in choices)


def _decoded(event: ServerSentEvent) -> Any:
    """The data, or None if it is not JSON."""
    try:
        return loads(event.data or "")
    except ValueError:
        return None
