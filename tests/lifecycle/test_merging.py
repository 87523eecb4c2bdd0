"""What waits together: neighbouring deltas become one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream.chunks import Chunk, Data, Native, Reasoning, Source, Text, ToolCallDelta, Usage
from asgi_llmstream.events import Event, NativeAdded, PartDelta, merge, size_of
from asgi_llmstream.message import Message
from tests.support.lifecycles import run


def test_neighbouring_deltas_of_a_part_become_one_with_the_number_of_the_last() -> None:
    events = run(Text("a"), Text("b"), Text("c"))
    (delta,) = [event for event in merge(events) if isinstance(event, PartDelta)]
    assert (delta.text, delta.merged) == ("abc", 3)
    assert delta.seq == [event.seq for event in events if isinstance(event, PartDelta)][-1]


def test_deltas_that_were_merged_before_are_counted_when_they_are_merged_again() -> None:
    one, two, three, four = run(*map(Text, "abcd"))[3:7]
    (delta,) = merge([*merge([one, two]), three, four])
    assert isinstance(delta, PartDelta)
    assert (delta.text, delta.merged, delta.seq) == ("abcd", 4, four.seq)


@pytest.mark.parametrize(
    "between",
    [Usage(1, 2), Source("u"), Data("d"), Native("openai", {"choice": {"logprobs": {}}})],
    ids=lambda chunk: type(chunk).__name__,
)
def test_whatever_stands_between_two_deltas_keeps_them_apart(between: Chunk) -> None:
    events = run(Text("a"), between, Text("b"))
    assert list(merge(events)) == events


def test_a_delta_with_native_fields_of_its_own_takes_no_others_in() -> None:
    native = Native("openai", {"choice": {"logprobs": {}}})
    merged = merge(run(Text("a"), Text("b"), native, Text("c"), Text("d"), Text("e")))
    assert [e.text for e in merged if isinstance(e, PartDelta)] == ["ab", "c", "de"]
    assert sum(isinstance(event, NativeAdded) for event in merged) == 1


def test_deltas_of_two_calls_that_take_turns_stay_apart() -> None:
    turns = [ToolCallDelta(i, str(i), "f", text) for text in "ab" for i in (0, 1)]
    events = run(*turns)
    assert list(merge(events)) == events


def test_events_that_have_no_neighbours_are_the_same_objects_after_merging() -> None:
    events = run(Text("a"), Reasoning("b"))
    assert all(was is now for was, now in zip(events, merge(events), strict=True))
    assert merge(events[2:3])[0] is events[2]
    assert not merge([])


@settings(deadline=None)
@given(st.lists(st.builds(Text, st.text(min_size=1, max_size=3))))
def test_merging_changes_neither_the_message_nor_how_large_it_is(texts: list[Chunk]) -> None:
    events = run(*texts)
    merged = merge(events)
    assert fold(merged) == fold(events)
    assert sum(map(size_of, merged)) == sum(map(size_of, events))
    assert sum(getattr(event, "merged", 1) for event in merged) == len(events)


def fold(events: Iterable[Event]) -> dict[str, Any]:
    message = Message()
    for event in events:
        message.apply(event)
    return message.to_dict()
