"""Events as bytes: all of each comes back, and a token costs little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream.chunks import (
    Chunk,
    Data,
    File,
    Finish,
    Raw,
    Reasoning,
    Source,
    Step,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from asgi_llmstream.events import (
    BytesAdded,
    CaughtUp,
    Event,
    ItemAdded,
    NativeAdded,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepEnded,
    StepStarted,
    Terminal,
    UsageReported,
    merge,
)
from asgi_llmstream.sse import ServerSentEvent
from asgi_llmstream.stores import EventDecoder, encode_event
from tests.support.lifecycles import run, run_as_generation_does
from tests.support.strategies import ANY_CHUNK, SEQUENCES

USAGE = Usage(10, 5, 3, 2, 1, additive=True)
CALL = Part(3, "tool_call", 1, 2, "call_1", "weather", "server")
HIDDEN = Part(4, "reasoning", 0, 2, "reasoning_0", redacted=True)
OWN = ServerSentEvent("two\nlines", event="own", id="7", retry=20, comment="hm")

EVENTS: list[Event] = [
    RunStarted(1, "run", 1_750_000_000, "m"),
    StepStarted(2, 0, "plan"),
    StepStarted(3, 1),
    StepEnded(4, 1),
    PartStarted(5, CALL),
    PartDelta(6, CALL, "{}"),
    PartDelta(9, CALL, "{}{}", merged=3),
    PartEnded(10, CALL, "{}", "seal", whole=False),
    PartEnded(11, CALL, "{}"),
    PartStarted(12, HIDDEN),
    ItemAdded(13, ToolResult("call_1", {"a": [1, 2.5, None, True]}, error=True)),
    ItemAdded(14, Source("https://x", "X")),
    ItemAdded(15, File("data:,x", "text/plain")),
    ItemAdded(16, Data("own", [{"a": {"b": "c"}}])),
    ItemAdded(17, Raw(OWN)),
    NativeAdded(18, "openai", {"delta": {"x": [1]}}),
    BytesAdded(19, b"data: \xff\x00\n\n"),
    UsageReported(20, USAGE),
    RunFinished(21, USAGE, "length", "max_tokens", 1_750_000_001, {"stop_sequence": "x"}),
    RunFinished(21, None, "stop"),
    RunFailed(21, USAGE, "no", "overloaded", 503, "model", "20", False),
    RunFailed(21, None, "", "", 500),
    RunAborted(21, None, "stopped"),
]

ODD_TEXTS = [
    "",
    "\r",
    "\n",
    "\r\n\r\n",
    "\x85",
    "\u2028\u2029",
    "\ud83d",
    "a\ude00b",
    "\0",
    "\ufeff",
    "{",
    "\U0010ffff",
    "e\u0301",
    "x" * 70_000,
]


def stored(events: list[Event]) -> list[Event]:
    return EventDecoder().decode(1, [encode_event(event) for event in events])


def kinds(kind: type[Event] = Event) -> Iterator[type[Event]]:
    for below in kind.__subclasses__():
        if below.__module__ == Event.__module__:
            yield below
            yield from kinds(below)


def test_every_kind_of_event_is_among_those_that_are_tried() -> None:
    # Neither is in a run.
    assert {type(event) for event in EVENTS} == {*kinds()} - {Terminal, CaughtUp}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_all_of_an_event_comes_back(event: Event) -> None:
    decoder = EventDecoder()
    decoder.decode(1, [encode_event(PartStarted(1, CALL))])
    assert decoder.decode(event.seq, [encode_event(event)]) == [event]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
def test_any_text_comes_back_in_any_place(text: str) -> None:
    part = Part(0, "tool_call", 0, 0, text, text, "client")
    events: list[Event] = [
        RunStarted(1, text, 0, text),
        StepStarted(2, 0, text),
        PartStarted(3, part),
        PartDelta(4, part, text),
        PartEnded(5, part, text, text),
        ItemAdded(6, ToolResult(text, {text: [text]})),
        NativeAdded(7, text, {text: text}),
        RunFailed(8, None, text, text, 500, text, text),
    ]
    assert stored(events) == events


@pytest.mark.parametrize(
    "value", [2**63, 2**64, -(2**63) - 1, 10**1000, 1e300, -0.0, float("inf"), 5e-324, True]
)
def test_any_number_comes_back(value: Any) -> None:
    for held in (value, {"a": [value, "\ud83d"]}):
        events: list[Event] = [ItemAdded(1, Data("n", held)), NativeAdded(2, "x", {"n": held})]
        assert repr(stored(events)) == repr(events)


@settings(deadline=None)
@given(st.lists(ANY_CHUNK, max_size=8) | SEQUENCES)
def test_all_events_of_any_run_come_back(chunks: list[Chunk]) -> None:
    events, _ = run_as_generation_does(chunks)
    assert stored(events) == events


@settings(deadline=None)
@given(SEQUENCES)
def test_what_was_merged_comes_back_with_its_number(chunks: list[Chunk]) -> None:
    events, _ = run_as_generation_does(chunks)
    decoder = EventDecoder()
    for event in merge(events):
        assert decoder.decode(event.seq, [encode_event(event)]) == [event]


A_RUN: list[Chunk] = [
    Reasoning("let me "),
    Reasoning("see"),
    Text("Hel"),
    Text("lo"),
    ToolCall("call_1", "f", '{"a": 1}'),
    ToolResult("call_1", 1),
    Step("next"),
    Text("Bye"),
    Usage(1, 2),
    Finish("stop"),
]


@pytest.mark.parametrize("after", range(len(run(*A_RUN))))
def test_one_may_begin_to_decode_anywhere(after: int) -> None:
    events = run(*A_RUN)
    encoded = [encode_event(event) for event in events]
    began: set[int] = set()
    for event, found in zip(
        events[after:], EventDecoder().decode(after + 1, encoded[after:]), strict=True
    ):
        if isinstance(event, PartStarted):
            began.add(event.part.index)
        if isinstance(event, PartDelta) and event.part.index not in began:
            assert isinstance(found, PartDelta)
            assert (found.seq, found.text) == (event.seq, event.text)
            assert (found.part.index, found.part.kind) == (event.part.index, event.part.kind)
        else:
            assert found == event


def test_decoding_goes_on_page_by_page() -> None:
    events = run(*A_RUN)
    encoded = [encode_event(event) for event in events]
    decoder = EventDecoder()
    found: list[Event] = []
    for number in range(0, len(encoded), 3):
        found += decoder.decode(number + 1, encoded[number : number + 3])
    assert found == events


@pytest.mark.parametrize("index", [0, 30, 1000, 1_000_000])
@pytest.mark.parametrize("text", ["word", "wort\u00e4\u00e4\u00e4", "\u5b57\u5b57\u5b57\u5b57"])
def test_a_token_costs_less_than_nine_bytes_beside_its_text(index: int, text: str) -> None:
    part = Part(
        index, "tool_call", index, 7, "call_" + "x" * 30, "a_tool_with_a_long_name", "client"
    )
    assert len(encode_event(PartDelta(10**9, part, text))) < len(text.encode()) + 9


@settings(deadline=None)
@given(st.binary())
def test_what_is_no_event_is_a_value_error(data: bytes) -> None:
    try:
        (event,) = EventDecoder().decode(1, [data])
    except ValueError:
        return
    assert isinstance(event, Event)
