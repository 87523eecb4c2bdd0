"""How runs end, and that their order holds whatever is fed."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgi_llmstream.chunks import (
    Chunk,
    Data,
    Error,
    Finish,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.errors import LLMStreamError, RateLimited
from asgi_llmstream.events import ItemAdded, PartEnded, PartStarted, RunAborted, RunFailed
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.message import Message, MessagePart
from tests.support.lifecycles import check_order, new, run, run_as_generation_does, started, words
from tests.support.strategies import ENDINGS, IDS, NAMES, SEQUENCES, SHORT, SINGLE

# Ends from outside


def _busy() -> Lifecycle:
    lifecycle = started()
    lifecycle.feed(Usage(1, 2))
    lifecycle.feed(ToolCallDelta(0, "a", "f", "1"))
    lifecycle.feed(ToolCallDelta(1, "b", "g"))
    return lifecycle


def test_fail_closes_what_is_open_and_carries_what_the_client_may_know() -> None:
    error = RateLimited("Slow down.", code="slow", param="n")
    events = _busy().fail(error)
    assert words(events) == ["tool_call 0 = 1", "tool_call 1 = ", "step 0 ends", "failed slow"]
    assert events[-1] == RunFailed(10, Usage(1, 2), "Slow down.", "slow", 429, "n")


def test_abort_closes_what_is_open_and_says_why() -> None:
    events = _busy().abort("shutdown")
    assert words(events)[:-1] == ["tool_call 0 = 1", "tool_call 1 = ", "step 0 ends"]
    assert events[-1] == RunAborted(10, Usage(1, 2), "shutdown")


@pytest.mark.parametrize("end", ["fail", "abort"])
def test_a_call_without_a_name_was_never_shown_and_is_dropped_when_the_run_breaks_off(
    end: str,
) -> None:
    lifecycle = new()
    events = lifecycle.start()
    events += lifecycle.feed(ToolCallDelta(0, "a", "f"))
    events += lifecycle.feed(ToolCallDelta(1, "b", None, "{"))
    events += lifecycle.fail(LLMStreamError()) if end == "fail" else lifecycle.abort("gone")
    check_order(events)
    assert [e.part.id for e in events if isinstance(e, PartStarted)] == ["a"]


def _ended(how: str) -> Lifecycle:
    lifecycle = started()
    lifecycle.feed(Text("a"))
    match how:
        case "finish":
            lifecycle.finish()
        case "fail":
            lifecycle.fail(LLMStreamError())
        case "abort":
            lifecycle.abort("gone")
        case "Error":
            lifecycle.feed(Error("x"))
    return lifecycle


ENDS = ["finish", "fail", "abort", "Error"]


@pytest.mark.parametrize("how", ENDS)
def test_nothing_can_be_fed_after_the_end(how: str) -> None:
    with pytest.raises(RuntimeError, match="has ended"):
        _ended(how).feed(Text("b"))


@pytest.mark.parametrize("how", ENDS)
def test_a_run_that_has_ended_cannot_finish_again(how: str) -> None:
    with pytest.raises(RuntimeError):
        _ended(how).finish()


@pytest.mark.parametrize("how", ENDS)
def test_a_run_that_has_ended_cannot_fail_or_be_aborted_any_more(how: str) -> None:
    lifecycle = _ended(how)
    assert lifecycle.fail(LLMStreamError()) == []
    assert lifecycle.abort("late") == []


def test_a_run_starts_once_and_before_anything_else() -> None:
    lifecycle = new()
    with pytest.raises(RuntimeError, match="not started"):
        lifecycle.feed(Text("a"))
    lifecycle.start()
    with pytest.raises(RuntimeError, match="started already"):
        lifecycle.start()


# Mistakes of producers: whatever one feeds, the run can still fail visibly and in order.


class OwnText(Text, frozen=True, tag="own-text"):
    pass


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)

MISTAKES: dict[str, list[Chunk]] = {
    "a call without a name beside one with": [
        ToolCallDelta(0, "a", "f"),
        ToolCallDelta(1, "b"),
        Finish(),
    ],
    "a call without a name at the end": [ToolCallDelta(0, "a", "f"), ToolCallDelta(1, "b")],
    "a result that cannot be JSON": [Text("a"), ToolResult("c", {(1, 2): 3})],
    "data that cannot be JSON": [Text("a"), Data("n", {(1, 2): 3})],
    "arguments that cannot be JSON": [Text("a"), ToolCall("c", "f", {"a": {(1, 2): 3}})],
    "data that hold themselves": [Text("a"), Data("n", CIRCLE)],
    "text that is a number": [Text(5)],  # type: ignore[arg-type]
    "text that is a list": [Text("a"), Text([{"type": "text", "text": "b"}])],  # type: ignore[arg-type]
    "arguments that are no text": [ToolCallDelta(0, "a", "f", {"x": 1})],  # type: ignore[arg-type]
    "more arguments that are no text": [
        ToolCallDelta(0, "a", "f"),
        ToolCallDelta(0, arguments={"x": 1}),  # type: ignore[arg-type]
    ],
    "an error that is no error status": [Text("a"), Error("x", status=200)],
    "a bare chunk": [Text("a"), Chunk()],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_after_a_producers_mistake_the_run_fails_in_good_order(mistake: str) -> None:
    events, raised = run_as_generation_does(MISTAKES[mistake])
    assert isinstance(raised, TypeError | ValueError | RecursionError)
    check_order(events)
    assert isinstance(events[-1], RunFailed)


def test_a_chunk_of_a_class_of_ones_own_counts_as_its_base_or_is_a_type_error() -> None:
    lifecycle = started()
    try:
        events = lifecycle.feed(OwnText("a"))
    except TypeError as error:
        assert "OwnText" in str(error)  # noqa: PT017 (either answer will do)
    else:
        assert words(events)[-1] == "text 0 + a"


# Any producer


@settings(deadline=None, max_examples=300)
@given(SEQUENCES, ENDINGS)
def test_any_sequence_of_chunks_gives_a_well_ordered_stream(
    chunks: list[Chunk], ending: str | Error
) -> None:
    lifecycle = new()
    events = lifecycle.start()
    for chunk in chunks:
        events += lifecycle.feed(chunk)
    match ending:
        case "finish":
            events += lifecycle.finish()
        case "fail":
            events += lifecycle.fail(LLMStreamError())
        case "abort":
            events += lifecycle.abort("gone")
        case Error():
            events += lifecycle.feed(ending)
    assert lifecycle.ended
    check_order(events)
    said = {
        kind: "".join(e.text for e in events if isinstance(e, PartEnded) and e.part.kind == kind)
        for kind in ("text", "reasoning", "refusal")
    }
    assert said == {
        "text": "".join(c.text for c in chunks if isinstance(c, Text)),
        "reasoning": "".join(c.text for c in chunks if isinstance(c, Reasoning)),
        "refusal": "".join(c.text for c in chunks if isinstance(c, Refusal)),
    }


WRONG: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(ToolCallDelta, st.integers(0, 2), IDS, st.none() | NAMES, SHORT),
    st.builds(ToolResult, st.just("a"), st.just({(1, 2): 3})),
    st.builds(Error, SHORT, SHORT, st.integers(0, 700)),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(SINGLE | WRONG, max_size=12))
@example([ToolCallDelta(0, "a", "f"), ToolCallDelta(1, "b"), Finish()])
def test_any_sequence_with_mistakes_in_it_ends_in_good_order_too(chunks: list[Chunk]) -> None:
    events, raised = run_as_generation_does(chunks)
    check_order(events)
    if raised is not None:
        assert isinstance(events[-1], RunFailed)


@settings(deadline=None, max_examples=300)
@given(SEQUENCES)
def test_a_message_folded_from_the_events_equals_one_built_from_the_chunks(
    chunks: list[Chunk],
) -> None:
    folded = Message()
    built = Message(id="run", created=1700000000, model="m")
    for event in run(*chunks):
        folded.apply(event)
    for chunk in chunks:
        built += chunk
    assert _content(folded) == _content(built)
    assert folded.usage == built.usage
    assert (folded.id, folded.created, folded.model) == (built.id, built.created, built.model)


def _content(message: Message) -> list[object]:
    # A call without arguments has "{}" once it is over, and not before.
    return [
        (item.part, item.text or "{}") if isinstance(item, MessagePart) else item
        for item in message.content
    ]


# Ids of calls, and parts that broke off


def test_calls_of_the_same_id_get_ids_of_their_own_and_results_go_to_the_one_that_waits() -> None:
    events = run(
        ToolCall("a", "f"),
        ToolCall("a", "f"),
        ToolResult("a", 1),
        ToolResult("a", 2),
        ToolResult("a", 3),
        ToolCall("a_2", "f"),
        ToolResult("a_2", 4),
        ToolResult("b", 5),
    )
    assert [e.part.id for e in events if isinstance(e, PartStarted)] == ["a", "a_2", "a_2_2"]
    items = [e.item for e in events if isinstance(e, ItemAdded)]
    assert [(i.id, i.output) for i in items if isinstance(i, ToolResult)] == [
        ("a", 1),
        ("a_2", 2),
        ("a_2", 3),
        ("a_2_2", 4),
        ("b", 5),
    ]


@pytest.mark.parametrize("end", ["fail", "abort"])
def test_a_part_that_is_open_when_the_run_breaks_off_is_not_whole(end: str) -> None:
    lifecycle = started()
    events = [*lifecycle.feed(Text("a")), *lifecycle.feed(ToolCallDelta(0, "c", "f"))]
    events += lifecycle.fail(LLMStreamError()) if end == "fail" else lifecycle.abort("gone")
    assert [e.whole for e in events if isinstance(e, PartEnded)] == [True, False]
