"""The lifecycle's table, row by row, and what holds for every stream."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from itertools import permutations
from typing import Any

import msgspec
import pytest

from asgi_llmstream.chunks import (
    Chunk,
    Data,
    Error,
    File,
    Finish,
    Native,
    Raw,
    Reasoning,
    Refusal,
    Source,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.events import (
    ItemAdded,
    NativeAdded,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepEnded,
    StepStarted,
)
from asgi_llmstream.sse import ServerSentEvent
from tests.support.lifecycles import check_order, new, run, started, told, words


def test_the_first_event_says_what_stays_constant() -> None:
    assert new().start() == [RunStarted(1, "run", 1700000000, "m")]


def test_a_producer_that_yields_nothing_finishes_with_stop() -> None:
    assert run() == [
        RunStarted(1, "run", 1700000000, "m"),
        RunFinished(2, None, "stop", None),
    ]


def test_text_opens_a_part_in_a_step_grows_it_and_the_end_closes_both() -> None:
    part = Part(0, "text", 0, 0, "text_run_0")
    assert run(Text("Hel"), Text("lo")) == [
        RunStarted(1, "run", 1700000000, "m"),
        StepStarted(2, 0),
        PartStarted(3, part),
        PartDelta(4, part, "Hel"),
        PartDelta(5, part, "lo"),
        PartEnded(6, part, "Hello"),
        StepEnded(7, 0),
        RunFinished(8, None, "stop", None),
    ]


class Model:
    """As pydantic's models are, seen from here."""

    def model_dump(self, *, mode: str) -> dict[str, str]:
        return {"mode": mode}

    def __repr__(self) -> str:  # the test's name must be the same in every process
        return "Model()"


class Opaque:
    def __str__(self) -> str:
        return "opaque"

    def __repr__(self) -> str:
        return "Opaque()"


# The table


TEXT_LIKE: list[tuple[str, Callable[[str], Chunk]]] = [
    ("text", Text),
    ("reasoning", Reasoning),
    ("refusal", Refusal),
]


@pytest.mark.parametrize(("kind", "make"), TEXT_LIKE)
def test_text_reasoning_and_refusal_grow_the_open_part_of_their_kind(
    kind: str, make: Callable[[str], Chunk]
) -> None:
    assert told(make("a"), make("b")) == [
        "step 0",
        f"{kind} 0 opens",
        f"{kind} 0 + a",
        f"{kind} 0 + b",
        f"{kind} 0 = ab",
        "step 0 ends",
    ]


@pytest.mark.parametrize(
    ("kind", "make", "other", "make_other"),
    [(*one, *another) for one, another in permutations(TEXT_LIKE, 2)],
)
def test_text_reasoning_and_refusal_close_a_part_of_another_kind(
    kind: str, make: Callable[[str], Chunk], other: str, make_other: Callable[[str], Chunk]
) -> None:
    assert told(make("a"), make_other("b"), make("c")) == [
        "step 0",
        f"{kind} 0 opens",
        f"{kind} 0 + a",
        f"{kind} 0 = a",
        f"{other} 0 opens",
        f"{other} 0 + b",
        f"{other} 0 = b",
        f"{kind} 1 opens",
        f"{kind} 1 + c",
        f"{kind} 1 = c",
        "step 0 ends",
    ]


@pytest.mark.parametrize(("kind", "make"), TEXT_LIKE)
def test_text_reasoning_and_refusal_close_the_open_tool_calls(
    kind: str, make: Callable[[str], Chunk]
) -> None:
    events = told(
        ToolCallDelta(0, "a", "f", "{}"),
        ToolCallDelta(1, "b", "g", "[]"),
        make("x"),
        ToolCallDelta(0, "c", "h"),
    )
    assert events == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 0 + {}",
        "tool_call 1 opens as g",
        "tool_call 1 + []",
        "tool_call 0 = {}",
        "tool_call 1 = []",
        f"{kind} 0 opens",
        f"{kind} 0 + x",
        f"{kind} 0 = x",
        "tool_call 2 opens as h",
        "tool_call 2 + {}",
        "tool_call 2 = {}",
        "step 0 ends",
    ]


def test_a_tool_call_delta_closes_the_text_and_opens_a_call_that_carries_its_own_id() -> None:
    call = Part(1, "tool_call", 0, 0, "call_1", "weather", "client")
    events = run(
        Text("Let me see."),
        ToolCallDelta(0, "call_1", "weather", '{"city":'),
        ToolCallDelta(0, arguments='"Oslo"}'),
    )
    assert events[4:-2] == [
        PartEnded(5, Part(0, "text", 0, 0, "text_run_0"), "Let me see."),
        PartStarted(6, call),
        PartDelta(7, call, '{"city":'),
        PartDelta(8, call, '"Oslo"}'),
        PartEnded(9, call, '{"city":"Oslo"}'),
    ]


def test_parallel_tool_calls_stay_open_while_their_arguments_interleave() -> None:
    events = told(
        ToolCallDelta(0, "a", "f"),
        ToolCallDelta(1, "b", "g"),
        ToolCallDelta(1, arguments="1"),
        ToolCallDelta(0, arguments="0"),
        ToolCallDelta(1, arguments="1"),
    )
    assert events == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 1 opens as g",
        "tool_call 1 + 1",
        "tool_call 0 + 0",
        "tool_call 1 + 1",
        "tool_call 0 = 0",
        "tool_call 1 = 11",
        "step 0 ends",
    ]


def test_the_indexes_of_tool_calls_may_have_gaps_and_any_order_but_ordinals_have_not() -> None:
    events = run(ToolCallDelta(7, "a", "f"), ToolCallDelta(-3, "b", "g"))
    opened = [event.part for event in events if isinstance(event, PartStarted)]
    assert [(part.ordinal, part.id) for part in opened] == [(0, "a"), (1, "b")]


def test_another_id_at_the_same_index_begins_another_call() -> None:
    assert told(ToolCallDelta(0, "a", "f", "1"), ToolCallDelta(0, "b", "g", "2")) == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 0 + 1",
        "tool_call 0 = 1",
        "tool_call 1 opens as g",
        "tool_call 1 + 2",
        "tool_call 1 = 2",
        "step 0 ends",
    ]


def test_the_same_id_and_name_again_go_on_with_the_same_call() -> None:
    assert told(ToolCallDelta(0, "a", "f", "1"), ToolCallDelta(0, "a", "f", "2")) == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 0 + 1",
        "tool_call 0 + 2",
        "tool_call 0 = 12",
        "step 0 ends",
    ]


def test_a_tool_call_delta_without_a_name_is_held_until_its_name_comes() -> None:
    lifecycle = started()
    assert words(lifecycle.feed(ToolCallDelta(0, "a", None, "{"))) == ["step 0"]
    assert lifecycle.feed(ToolCallDelta(0, arguments='"x":')) == []
    assert words(lifecycle.feed(ToolCallDelta(0, name="f", arguments="1"))) == [
        "tool_call 0 opens as f",
        'tool_call 0 + {"x":1',
    ]
    assert words(lifecycle.feed(ToolCallDelta(0, arguments="}"))) == ["tool_call 0 + }"]
    assert words(lifecycle.finish())[0] == 'tool_call 0 = {"x":1}'


def test_ordinals_follow_the_order_in_which_names_come() -> None:
    events = run(ToolCallDelta(0, "a"), ToolCallDelta(1, "b", "g"), ToolCallDelta(0, name="f"))
    opened = [event.part for event in events if isinstance(event, PartStarted)]
    assert [(part.ordinal, part.id, part.name) for part in opened] == [(0, "b", "g"), (1, "a", "f")]


def test_a_tool_call_without_an_id_gets_one_of_the_run() -> None:
    events = run(ToolCallDelta(0, None, "f"), ToolCallDelta(1, None, "g"))
    ids = [event.part.id for event in events if isinstance(event, PartStarted)]
    assert ids == ["call_run_0", "call_run_1"]


@pytest.mark.parametrize(
    "after",
    [
        Text("x"),
        Reasoning("x"),
        Refusal("x"),
        ToolResult("a"),
        Step(),
        Finish(),
        ToolCallDelta(0, "other", "g"),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_a_tool_call_that_never_gets_a_name_is_a_value_error(after: Chunk) -> None:
    lifecycle = started()
    lifecycle.feed(ToolCallDelta(0, "a", None, "{}"))
    with pytest.raises(ValueError, match="tool call at index 0 ended before it got a name"):
        lifecycle.feed(after)


def test_a_producer_that_ends_before_a_tool_call_has_its_name_is_a_value_error() -> None:
    lifecycle = started()
    lifecycle.feed(ToolCallDelta(2, "a"))
    with pytest.raises(ValueError, match="index 2 ended before it got a name"):
        lifecycle.finish()
    assert not lifecycle.ended


def test_a_whole_tool_call_opens_grows_and_closes_at_once() -> None:
    lifecycle = started()
    lifecycle.feed(Text("a"))
    assert words(lifecycle.feed(ToolCall("c", "f", '{"x":1}'))) == [
        "text 0 = a",
        "tool_call 0 opens as f",
        'tool_call 0 + {"x":1}',
        'tool_call 0 = {"x":1}',
    ]


def test_a_whole_tool_call_leaves_streamed_ones_open() -> None:
    assert told(
        ToolCallDelta(0, "a", "f"), ToolCall("b", "g"), ToolCallDelta(0, arguments="1")
    ) == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 1 opens as g",
        "tool_call 1 + {}",
        "tool_call 1 = {}",
        "tool_call 0 + 1",
        "tool_call 0 = 1",
        "step 0 ends",
    ]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({}, {}),
        ({"city": "Tromsø", "days": (1, 2)}, {"city": "Tromsø", "days": [1, 2]}),
        ({"big": 2**70}, {"big": 2**70}),
        ({"nothing": [float("nan"), float("inf")]}, {"nothing": [None, None]}),
        ({1: datetime.date(2025, 1, 2)}, {"1": "2025-01-02"}),
    ],
    ids=repr,
)
def test_arguments_that_are_an_object_become_json(arguments: Any, value: object) -> None:
    lifecycle = started()
    *_, delta, ended = lifecycle.feed(ToolCall("c", "f", arguments))
    assert isinstance(delta, PartDelta)
    assert isinstance(ended, PartEnded)
    assert delta.text == ended.text
    assert msgspec.json.decode(ended.text) == value


def test_arguments_that_are_text_stay_as_the_model_wrote_them() -> None:
    assert told(ToolCall("c", "f", "{ not JSON"))[-2] == "tool_call 0 = { not JSON"


@pytest.mark.parametrize("chunk", [ToolCall("c", "f", ""), ToolCallDelta(0, "c", "f")])
def test_a_call_without_arguments_has_empty_ones_since_clients_parse_what_there_is(
    chunk: Chunk,
) -> None:
    assert told(chunk) == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 0 + {}",
        "tool_call 0 = {}",
        "step 0 ends",
    ]


def test_a_call_that_broke_off_before_its_arguments_has_none() -> None:
    assert "tool_call 0 = " in told(ToolCallDelta(0, "c", "f"), Error("Oh."))


def test_half_an_emoji_in_arguments_does_not_stop_the_call() -> None:
    # Formats write U+FFFD for it wherever else it stands.
    assert "tool_call 0 opens as f" in told(ToolCall("c", "f", {"text": "\ud83d"}))


def test_a_tool_result_closes_all_parts_and_is_added() -> None:
    lifecycle = started()
    lifecycle.feed(ToolCallDelta(0, "a", "f"))
    lifecycle.feed(ToolCallDelta(1, "b", "g"))
    assert words(lifecycle.feed(ToolResult("a", {"ok": True}))) == [
        "tool_call 0 + {}",
        "tool_call 0 = {}",
        "tool_call 1 + {}",
        "tool_call 1 = {}",
        "item ToolResult",
    ]
    lifecycle = started()
    lifecycle.feed(Text("x"))
    assert words(lifecycle.feed(ToolResult("a"))) == ["text 0 = x", "item ToolResult"]


@pytest.mark.parametrize(
    "item",
    [Source("https://a"), File("https://a", "image/png"), Data("n", 1), Raw(ServerSentEvent("x"))],
    ids=lambda item: type(item).__name__,
)
def test_an_item_leaves_the_text_open_that_it_stands_in(item: Chunk) -> None:
    assert told(Text("a"), item, Text("b")) == [
        "step 0",
        "text 0 opens",
        "text 0 + a",
        f"item {type(item).__name__}",
        "text 0 + b",
        "text 0 = ab",
        "step 0 ends",
    ]
    assert told(item) == ["step 0", f"item {type(item).__name__}", "step 0 ends"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        ({"a": (1, {2})}, {"a": (1, [2])}),
        (b"\x00", "AA=="),
        ({1: "x"}, {"1": "x"}),
        (Model(), {"mode": "json"}),
    ],
    ids=repr,
)
def test_values_become_what_json_can_hold(value: object, plain: object) -> None:
    result = run(ToolResult("a", value, error=True))[2]
    assert result == ItemAdded(3, ToolResult("a", plain, error=True))
    data = run(Data("n", value))[2]
    assert data == ItemAdded(3, Data("n", plain))


@dataclasses.dataclass
class Account:
    owner: object


@pytest.mark.parametrize(
    ("chunk", "field"),
    [
        (Data("user", Opaque()), "Data('user').value"),
        (Data("user", {"of": [1, Account(Opaque())]}), "Data('user').value['of'][1].owner"),
        (ToolResult("c", {Opaque()}), "ToolResult('c').output[0]"),
        (ToolCall("c", "f", {"a": Opaque()}), "ToolCall('f').arguments['a']"),
        (Finish("stop", details={"a": Opaque()}), "Finish.details['a']"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_an_object_that_is_no_json_is_an_error_that_names_its_field_and_not_its_text(
    chunk: Chunk, field: str
) -> None:
    with pytest.raises(TypeError) as raised:
        started().feed(chunk)
    said = str(raised.value)
    assert said.startswith(f"{field} is no JSON, which is all that a client is sent, but: Opaque.")
    assert "opaque" not in said


def test_an_object_in_a_providers_own_fields_is_left_out_and_the_stream_goes_on() -> None:
    chunk = Native("openai", {"delta": {"known": 1, "odd": Opaque()}})
    (event,) = started().feed(chunk)
    assert isinstance(event, NativeAdded)
    assert event.fields == {"delta": {"known": 1, "odd": None}}


@pytest.mark.parametrize("make", [lambda v: ToolResult("a", v), lambda v: Data("n", v)])
def test_a_value_that_cannot_be_json_is_a_type_error(make: Callable[[object], Chunk]) -> None:
    with pytest.raises(TypeError):
        started().feed(make({(1, 2): 3}))


def test_a_step_closes_the_one_before_and_names_the_next() -> None:
    assert told(Text("a"), Step("search"), Text("b"), Step(), Text("c")) == [
        "step 0",
        "text 0 opens",
        "text 0 + a",
        "text 0 = a",
        "step 0 ends",
        "step 1 search",
        "text 1 opens",
        "text 1 + b",
        "text 1 = b",
        "step 1 ends",
        "step 2",
        "text 2 opens",
        "text 2 + c",
        "text 2 = c",
        "step 2 ends",
    ]


def test_a_step_that_nothing_follows_is_not_shown() -> None:
    assert told(Step("a"), Step("b"), Text("x"), Step("c"))[0] == "step 0 b"
    assert told(Step("a")) == []


def test_a_steps_name_is_that_of_one_step_only() -> None:
    events = run(Step("search"), Text("a"), Finish(), Text("b"))
    assert [event.name for event in events if isinstance(event, StepStarted)] == ["search", None]


def test_usage_is_reported_without_closing_anything() -> None:
    assert told(Text("a"), Usage(1, 2), Text("b")) == [
        "step 0",
        "text 0 opens",
        "text 0 + a",
        "usage 1/2",
        "text 0 + b",
        "text 0 = ab",
        "step 0 ends",
    ]
    assert told(Usage(1, 2)) == ["usage 1/2"]


def test_finish_closes_the_parts_but_not_the_step() -> None:
    lifecycle = started()
    lifecycle.feed(Text("a"))
    assert words(lifecycle.feed(Finish("length"))) == ["text 0 = a"]
    assert words(lifecycle.finish()) == ["step 0 ends", "finished length"]


def test_content_after_a_finish_begins_a_new_step() -> None:
    assert told(Text("a"), Finish(), Text("b")) == [
        "step 0",
        "text 0 opens",
        "text 0 + a",
        "text 0 = a",
        "step 0 ends",
        "step 1",
        "text 1 opens",
        "text 1 + b",
        "text 1 = b",
        "step 1 ends",
    ]


def test_a_tool_result_after_a_finish_stays_in_the_step_of_its_call() -> None:
    agent = [
        ToolCall("c", "f"),
        Finish("tool_calls"),
        ToolResult("c", 1),
        Text("done"),
    ]
    assert told(*agent) == [
        "step 0",
        "tool_call 0 opens as f",
        "tool_call 0 + {}",
        "tool_call 0 = {}",
        "item ToolResult",
        "step 0 ends",
        "step 1",
        "text 0 opens",
        "text 0 + done",
        "text 0 = done",
        "step 1 ends",
    ]


def test_an_error_chunk_closes_everything_and_ends_the_run() -> None:
    lifecycle = started()
    lifecycle.feed(Text("a"))
    lifecycle.feed(Usage(1, 2))
    events = lifecycle.feed(Error("No more.", "quota", 429))
    assert words(events) == ["text 0 = a", "step 0 ends", "failed quota"]
    assert events[-1] == RunFailed(8, Usage(1, 2), "No more.", "quota", 429, None)
    assert lifecycle.ended


@pytest.mark.parametrize(
    "chunk",
    [Text(""), Reasoning(""), Refusal(""), ToolCallDelta()],
    ids=lambda chunk: type(chunk).__name__,
)
def test_an_empty_delta_gives_nothing_and_closes_nothing(chunk: Chunk) -> None:
    lifecycle = started()
    assert lifecycle.feed(chunk) == []
    lifecycle.feed(Text("a"))
    assert lifecycle.feed(chunk) == []
    lifecycle.feed(ToolCallDelta(0, "c", "f"))
    assert lifecycle.feed(chunk) == []
    assert words(lifecycle.finish())[-1] == "finished tool_calls"


# Why it finished


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "other"])
def test_the_finish_says_why_in_our_word_and_the_providers(reason: Any) -> None:
    assert run(Text("a"), Finish(reason, "native"))[-1] == RunFinished(7, None, reason, "native")


def test_without_a_finish_an_unanswered_tool_call_is_the_reason() -> None:
    assert words(run(ToolCall("c", "f")))[-1] == "finished tool_calls"
    assert words(run(ToolCallDelta(0, "c", "f")))[-1] == "finished tool_calls"
    assert words(run(ToolCall("c", "f"), ToolCall("d", "f"), ToolResult("c")))[-1] == (
        "finished tool_calls"
    )


def test_without_a_finish_an_answered_tool_call_is_not_the_reason() -> None:
    assert words(run(ToolCall("c", "f"), ToolResult("c"), Text("x")))[-1] == "finished stop"


@pytest.mark.parametrize("between", [(), (Step(),)], ids=["no Step", "Step"])
def test_the_finish_of_an_earlier_model_call_is_not_that_of_the_answer(
    between: tuple[Chunk, ...],
) -> None:
    first = [ToolCall("c", "f"), Finish("tool_calls", "tool_use"), ToolResult("c", 1)]
    assert words(run(*first, *between, Text("done")))[-1] == "finished stop"
    assert words(run(*first, *between, Text("done"), Finish("length")))[-1] == "finished length"


@pytest.mark.parametrize("item", [Data("trace", 1), Source("https://a")])
@pytest.mark.parametrize("before", [(), (Text("a"),)], ids=["empty", "text"])
def test_an_item_after_the_finish_is_no_new_model_call(
    item: Chunk, before: tuple[Chunk, ...]
) -> None:
    events = run(*before, Finish("content_filter"), Usage(5, 0), item, Usage(5, 1))
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].reason, events[-1].usage) == ("content_filter", Usage(5, 1))


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([Text("a")], "stop"),
        ([Text("a"), ToolCall("c", "f")], "tool_calls"),
        ([ToolCallDelta(0, "c", "f"), ToolResult("c")], "tool_calls"),
        ([ToolCall("c", "f"), Finish("tool_calls"), Text("b")], "stop"),
        ([ToolCall("c", "f"), Step(), Text("b")], "stop"),
        ([ToolCallDelta(0, "c", "f", by="provider"), Text("b")], "stop"),
    ],
)
def test_a_finish_without_a_reason_is_told_by_whether_the_model_called_tools(
    chunks: list[Chunk], reason: str
) -> None:
    events = run(*chunks, Finish(None, "STOP"))
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].reason, events[-1].native) == (reason, "STOP")


# Signatures of reasoning


def test_a_signature_closes_the_reasoning_and_is_kept_with_it() -> None:
    first, second = (Part(i, "reasoning", i, 0, f"reasoning_run_{i}") for i in (0, 1))
    assert run(Reasoning("a"), Reasoning("b", "sig1"), Reasoning("c"), Reasoning("", "sig2"))[
        2:-2
    ] == [
        PartStarted(3, first),
        PartDelta(4, first, "a"),
        PartDelta(5, first, "b"),
        PartEnded(6, first, "ab", "sig1"),
        PartStarted(7, second),
        PartDelta(8, second, "c"),
        PartEnded(9, second, "c", "sig2"),
    ]


@pytest.mark.parametrize("before", [[], [Text("a")], [Reasoning("b", "sig1")]])
def test_a_signature_without_any_reasoning_is_a_part_of_its_own(before: list[Chunk]) -> None:
    events = run(*before, Reasoning("", "sig"), Text("c"))
    signed = [event for event in events if isinstance(event, PartEnded) and event.signature]
    assert (signed[-1].text, signed[-1].signature) == ("", "sig")
    check_order(events)


@pytest.mark.parametrize("chunk", [Reasoning("a", 5), Reasoning("", b"sig")])  # type: ignore[arg-type]
def test_a_signature_that_is_no_text_is_a_type_error_and_changes_nothing(chunk: Chunk) -> None:
    lifecycle = started()
    with pytest.raises(TypeError):
        lifecycle.feed(chunk)
    assert words(lifecycle.feed(Text("a")))[0].startswith("step 0")


def test_a_part_without_a_signature_does_not_mention_it() -> None:
    part = Part(0, "text", 0, 0, "text_run_0")
    assert "signature" not in msgspec.to_builtins(PartEnded(1, part, "a"))
    assert msgspec.to_builtins(PartEnded(1, part, "a", "sig"))["signature"] == "sig"


# Usage


def test_a_later_usage_of_the_same_model_call_replaces_the_earlier() -> None:
    assert told(Usage(10, 1), Usage(10, 5)) == ["usage 10/1", "usage 10/5"]


def test_a_count_that_a_later_usage_leaves_out_stays_as_it_was() -> None:
    assert run(Usage(10, 1, 4, 2), Usage(0, 5))[-1] == RunFinished(4, Usage(10, 5, 4, 2), "stop")
    assert run(Usage(0, 0), Usage(0, 0))[-1] == RunFinished(4, Usage(), "stop")


def test_what_was_written_to_a_cache_is_counted_like_the_rest() -> None:
    kept = run(Usage(10, cache_write_tokens=4), Usage(0, 5))
    assert kept[-1] == RunFinished(4, Usage(10, 5, cache_write_tokens=4), "stop")
    calls = run(Usage(9, cache_write_tokens=4), Step(), Usage(9, cache_write_tokens=3))
    assert calls[-1].usage == Usage(18, cache_write_tokens=7)  # type: ignore[attr-defined]
    one = Usage(1, additive=True, cache_write_tokens=1)
    assert run(one, one)[-1].usage == Usage(2, cache_write_tokens=2)  # type: ignore[attr-defined]


def test_reasoning_that_is_not_shown_is_a_part_of_its_own() -> None:
    chunks = [Reasoning("a"), Reasoning("", "opaque", redacted=True), Reasoning("b")]
    ends = [event for event in run(*chunks) if isinstance(event, PartEnded)]
    assert [(e.text, e.signature, bool(e.part.redacted)) for e in ends] == [
        ("a", None, False),
        ("", "opaque", True),
        ("b", None, False),
    ]


def test_a_calls_signature_is_known_at_its_end() -> None:
    piecewise = [ToolCallDelta(0, "a", "f"), ToolCallDelta(0, signature="s")]
    for chunks in (piecewise, [ToolCall("a", "f", signature="s")]):
        (end,) = [event for event in run(*chunks) if isinstance(event, PartEnded)]
        assert (end.part.id, end.signature) == ("a", "s")


def test_what_a_provider_says_of_its_ending_goes_with_it() -> None:
    assert run(Finish("content_filter", "refusal", {"x": 1}))[-1].details == {"x": 1}  # type: ignore[attr-defined]
    assert not run(Finish("stop"))[-1].details  # type: ignore[attr-defined]


def test_additive_usage_is_added() -> None:
    events = run(Usage(10, 1, 2, 3, additive=True), Usage(0, 4, 5, 6, additive=True))
    assert events[-1] == RunFinished(4, Usage(10, 5, 7, 9), "stop", None)


def test_additive_usage_is_added_to_what_was_counted_before() -> None:
    assert told(Usage(10, 1), Usage(0, 4, additive=True), Usage(20, 6)) == [
        "usage 10/1",
        "usage 10/5",
        "usage 20/6",
    ]


@pytest.mark.parametrize(
    "boundary",
    [(Finish(), Text("b")), (Step(),), (Finish(), Step(), Text("b"))],
    ids=["Finish", "Step", "both"],
)
def test_the_usage_of_several_model_calls_is_summed(boundary: tuple[Chunk, ...]) -> None:
    events = run(Text("a"), Usage(9, 9), Usage(10, 1, 1, 1), *boundary, Usage(20, 2, 2, 2))
    assert isinstance(events[-1], RunFinished)
    assert events[-1].usage == Usage(30, 3, 3, 3)


def test_usage_that_follows_the_finish_belongs_to_the_call_that_finished() -> None:
    # OpenAI sends it in a chunk of its own, after the finish reason.
    assert told(Usage(1, 1), Finish(), Usage(10, 2))[-1] == "usage 10/2"
    second = (Text("b"), Finish(), Usage(20, 3))
    assert told(Text("a"), Finish(), Usage(10, 2), *second)[-2] == "usage 30/5"


def test_total_tokens_are_input_and_output() -> None:
    assert Usage(3, 4, 2, 1).total_tokens == 7
