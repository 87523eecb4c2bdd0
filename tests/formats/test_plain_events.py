"""The plain format, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_llmstream.chunks import (
    Chunk,
    Data,
    Error,
    File,
    Finish,
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
from asgi_llmstream.errors import BadRequest, LLMStreamError, RateLimited
from asgi_llmstream.formats import Events, OpenAIChat
from asgi_llmstream.sources import chunks_of
from asgi_llmstream.sse import ServerSentEvent, parse_sse
from asgi_llmstream.testing import check_stream
from tests.support.wire import wire


def test_plain_events_are_type_json_and_cursor() -> None:
    expected = """\
id: run:1
event: run-started
retry: 3000
data: {"type":"run-started","seq":1,"id":"run","created":1700000000,"model":"m"}

id: run:2
event: step-started
data: {"type":"step-started","seq":2,"step":0,"name":null}

id: run:3
event: part-started
data: {"type":"part-started","seq":3,"part":{"index":0,"kind":"reasoning","ordinal":0,"step":0,"id":"reasoning_run_0","name":"","by":null}}

id: run:4
event: part-delta
data: {"type":"part-delta","seq":4,"kind":"reasoning","part":0,"text":"Hm."}

id: run:5
event: part-ended
data: {"type":"part-ended","seq":5,"part":{"index":0,"kind":"reasoning","ordinal":0,"step":0,"id":"reasoning_run_0","name":"","by":null},"text":"Hm."}

id: run:6
event: part-started
data: {"type":"part-started","seq":6,"part":{"index":1,"kind":"text","ordinal":0,"step":0,"id":"text_run_0","name":"","by":null}}

id: run:7
event: part-delta
data: {"type":"part-delta","seq":7,"kind":"text","part":1,"text":"Hel"}

id: run:8
event: item-added
data: {"type":"item-added","seq":8,"item":{"type":"source","url":"https://a","title":"A"}}

id: run:9
event: part-delta
data: {"type":"part-delta","seq":9,"kind":"text","part":1,"text":"lo"}

id: run:10
event: part-ended
data: {"type":"part-ended","seq":10,"part":{"index":1,"kind":"text","ordinal":0,"step":0,"id":"text_run_0","name":"","by":null},"text":"Hello"}

id: run:11
event: part-started
data: {"type":"part-started","seq":11,"part":{"index":2,"kind":"refusal","ordinal":0,"step":0,"id":"refusal_run_0","name":"","by":null}}

id: run:12
event: part-delta
data: {"type":"part-delta","seq":12,"kind":"refusal","part":2,"text":"No."}

id: run:13
event: part-ended
data: {"type":"part-ended","seq":13,"part":{"index":2,"kind":"refusal","ordinal":0,"step":0,"id":"refusal_run_0","name":"","by":null},"text":"No."}

id: run:14
event: part-started
data: {"type":"part-started","seq":14,"part":{"index":3,"kind":"tool_call","ordinal":0,"step":0,"id":"a","name":"f","by":"client"}}

id: run:15
event: part-delta
data: {"type":"part-delta","seq":15,"kind":"tool_call","part":3,"text":"{}"}

id: run:16
event: part-ended
data: {"type":"part-ended","seq":16,"part":{"index":3,"kind":"tool_call","ordinal":0,"step":0,"id":"a","name":"f","by":"client"},"text":"{}"}

id: run:17
event: usage-reported
data: {"type":"usage-reported","seq":17,"usage":{"type":"usage","input_tokens":10,"output_tokens":5,"cached_tokens":4,"reasoning_tokens":3,"cache_write_tokens":0,"additive":false}}

id: run:18
event: item-added
data: {"type":"item-added","seq":18,"item":{"type":"tool-result","id":"a","output":{"x":[1,null]},"error":false,"denied":false}}

id: run:19
event: item-added
data: {"type":"item-added","seq":19,"item":{"type":"file","url":"data:,x","media_type":"text/plain"}}

id: run:20
event: step-ended
data: {"type":"step-ended","seq":20,"step":0}

id: run:21
event: step-started
data: {"type":"step-started","seq":21,"step":1,"name":"second"}

id: run:22
event: item-added
data: {"type":"item-added","seq":22,"item":{"type":"data","name":"n","value":1.5,"id":null,"transient":false}}

id: run:23
event: step-ended
data: {"type":"step-ended","seq":23,"step":1}

id: run:24
event: run-finished
data: {"type":"run-finished","seq":24,"usage":{"type":"usage","input_tokens":10,"output_tokens":5,"cached_tokens":4,"reasoning_tokens":3,"cache_write_tokens":0,"additive":false},"reason":"length","native":"max_tokens","completed":null}

"""  # noqa: E501
    chunks = [
        Reasoning("Hm."),
        Text("Hel"),
        Source("https://a", "A"),
        Text("lo"),
        Refusal("No."),
        ToolCall("a", "f"),
        Usage(10, 5, 4, 3),
        ToolResult("a", {"x": (1, None)}),
        File("data:,x", "text/plain"),
        Step("second"),
        Data("n", 1.5),
        Finish("length", "max_tokens"),
    ]
    assert wire(Events(retry=3000), *chunks).decode() == expected


def test_a_plain_stream_that_fails_says_so_and_its_type_is_not_error() -> None:
    expected = """\
id: run:1
event: run-started
data: {"type":"run-started","seq":1,"id":"run","created":1700000000,"model":"m"}

id: run:2
event: run-failed
data: {"type":"run-failed","seq":2,"usage":null,"message":"Too many.","code":"slow_down","status":429,"param":null,"retry_after":null,"should_retry":null}

"""  # noqa: E501
    assert wire(Events(), Error("Too many.", "slow_down", 429)).decode() == expected


def test_a_plain_stream_that_is_aborted_says_so() -> None:
    expected = """\
id: run:1
event: run-started
data: {"type":"run-started","seq":1,"id":"run","created":1700000000,"model":"m"}

id: run:2
event: run-aborted
data: {"type":"run-aborted","seq":2,"usage":null,"reason":"shutdown"}

"""
    assert wire(Events(), abort="shutdown").decode() == expected


def test_parallel_tool_calls_are_told_apart_by_their_part() -> None:
    stream = wire(
        Events(),
        ToolCallDelta(0, "a", "f"),
        ToolCallDelta(1, "b", "g"),
        ToolCallDelta(0, arguments="1"),
        ToolCallDelta(1, arguments="2"),
        ToolCallDelta(0, arguments="3"),
    ).decode()
    deltas = [line for line in stream.splitlines() if "part-delta" in line and "data" in line]
    assert deltas == [
        'data: {"type":"part-delta","seq":5,"kind":"tool_call","part":0,"text":"1"}',
        'data: {"type":"part-delta","seq":6,"kind":"tool_call","part":1,"text":"2"}',
        'data: {"type":"part-delta","seq":7,"kind":"tool_call","part":0,"text":"3"}',
    ]


def test_a_producers_own_server_sent_events_go_out_as_they_are() -> None:
    own = ServerSentEvent("a\nb", "mine", "7", 10)
    chunks = [chunk for item in (own, {"comment": "hi"}) for chunk in chunks_of(item)]
    assert (
        wire(Events(), *chunks).decode()
        == """\
id: run:1
event: run-started
data: {"type":"run-started","seq":1,"id":"run","created":1700000000,"model":"m"}

id: run:2
event: step-started
data: {"type":"step-started","seq":2,"step":0,"name":null}

id: 7
event: mine
retry: 10
data: a
data: b

: hi
id: run:5
event: step-ended
data: {"type":"step-ended","seq":5,"step":0}

id: run:6
event: run-finished
data: {"type":"run-finished","seq":6,"usage":null,"reason":"stop","native":null,"completed":null}

"""
    )
    assert Events.carries_raw
    assert not OpenAIChat.carries_raw


NO_EVENTS: list[Any] = [
    ServerSentEvent(),
    ServerSentEvent(event="ready"),
    {"event": "ready"},
    ServerSentEvent(id="7", retry=1),
]


@pytest.mark.parametrize("item", NO_EVENTS, ids=str)
def test_a_producers_event_without_data_is_not_sent(item: object) -> None:
    assert parse_sse(wire(Events(), *chunks_of(item)))[2:-2] == []
    check_stream(wire(Events(), *chunks_of(item)), "events")


def test_empty_data_is_data() -> None:
    stream = wire(Events(), *chunks_of({"event": "ready", "data": ""}))
    assert b"event: ready\ndata: \n\n" in stream


def own(*items: object) -> list[Chunk]:
    return [chunk for item in items for chunk in chunks_of(item)]


def retries(chunks: list[Chunk], format: Events | None = None) -> list[tuple[str | None, int]]:
    stream = wire(format or Events(), *chunks)
    events = check_stream(stream, "events")
    return [(e.event, e.retry) for e in events if e.retry is not None]


def test_a_retry_without_data_travels_with_the_next_event_that_has_data() -> None:
    alone = ServerSentEvent(retry=1500)
    assert retries(own(alone)) == [("step-ended", 1500)]
    assert retries(own("Hel", alone, "lo")) == [("part-delta", 1500)]
    assert retries(own(alone, ServerSentEvent("x", "mine"), "lo")) == [("mine", 1500)]
    assert retries(own({"retry": 1}, {"event": "ready"}, {"retry": 2}, "a")) == [
        ("part-started", 2)
    ]


def test_an_events_own_retry_comes_before_one_that_waits() -> None:
    waiting, both = ServerSentEvent(retry=1), ServerSentEvent("x", "mine", retry=2)
    assert retries(own(waiting, both, "a")) == [("mine", 2)]
    assert retries(own(both), Events(retry=3)) == [("run-started", 3), ("mine", 2)]


def test_the_comment_of_an_event_goes_out_with_data_and_without() -> None:
    stream = wire(Events(), *own({"comment": "a", "retry": 5}, {"comment": "b", "data": "x"}))
    assert b": a\n: b\nretry: 5\ndata: x\n\n" in stream
    check_stream(stream, "events")


@pytest.mark.parametrize(
    "value",
    [
        "\ud83d",
        ["\ud83d"],
        {"\ud83d": "\ud83d"},
        ("\ud83d", ("\ud83d",)),
        {"deep": [({"\ud83d": 1},)]},
    ],
    ids=ascii,
)
def test_half_an_emoji_anywhere_in_a_value_does_not_stop_the_stream(value: object) -> None:
    stream = wire(Events(), Data("n", value), ToolResult("a", value)).decode()
    assert stream.count("event: item-added") == 2
    assert "\ufffd" in stream


def test_numbers_that_json_cannot_hold_are_null_and_large_ones_stay_whole() -> None:
    stream = wire(Events(), Data("n", [float("nan"), float("inf"), 2**70])).decode()
    assert '"value":[null,null,1180591620717411303424]' in stream


@pytest.mark.parametrize("retry", [-1, -3000])
def test_a_negative_retry_is_a_value_error(retry: int) -> None:
    with pytest.raises(ValueError, match="retry must not be negative"):
        Events(retry=retry)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RateLimited("Wait."),
            b'{"type":"error","message":"Wait.","code":"rate_limit_exceeded","status":429}',
        ),
        (
            BadRequest("No.", code="c", param="prompt"),
            b'{"type":"error","message":"No.","code":"c","status":400,"param":"prompt"}',
        ),
    ],
)
def test_an_error_body_of_plain_events_is_one_object(
    error: LLMStreamError, expected: bytes
) -> None:
    assert Events().error_body(error) == expected
