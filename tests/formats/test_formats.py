"""The wire formats, byte by byte, and what official clients make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream.chunks import (
    Chunk,
    Data,
    Error,
    File,
    Finish,
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
from asgi_llmstream.errors import BadRequest, LLMStreamError, NotFound, RateLimited, Unauthorized
from asgi_llmstream.events import RunStarted
from asgi_llmstream.formats import Events, Format, OpenAIChat
from asgi_llmstream.formats.openai_chat.request import decode_request
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.message import Message
from asgi_llmstream.request import ChatMessage, ChatRequest
from asgi_llmstream.sources import chunks_of
from asgi_llmstream.sse import ServerSentEvent, parse_sse
from asgi_llmstream.testing import check_stream
from tests.support.strategies import ANY_CHUNK, ANY_TEXT, JSON, MESSAGE
from tests.support.wire import ESCAPES, events_of, wire

# OpenAI chat completions

# What `…` stands for in the transcripts.
ENVELOPE = '"id":"chatcmpl-run","object":"chat.completion.chunk","created":1700000000,"model":"m"'


def transcript(text: str) -> bytes:
    return text.replace("…", ENVELOPE).encode()


def test_a_text_is_a_role_its_deltas_a_finish_reason_and_done() -> None:
    assert (
        wire(OpenAIChat(), Text("Hel"), Text("lo, Tromsø"), Finish("stop"))
        == (
            'data: {"id":"chatcmpl-run","object":"chat.completion.chunk","created":1700000000,'
            '"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
            '"finish_reason":null}]}\n\n'
            'data: {"id":"chatcmpl-run","object":"chat.completion.chunk","created":1700000000,'
            '"model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}\n\n'
            'data: {"id":"chatcmpl-run","object":"chat.completion.chunk","created":1700000000,'
            '"model":"m","choices":[{"index":0,"delta":{"content":"lo, Tromsø"},'
            '"finish_reason":null}]}\n\n'
            'data: {"id":"chatcmpl-run","object":"chat.completion.chunk","created":1700000000,'
            '"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
            "data: [DONE]\n\n"
        ).encode()
    )


def test_an_answer_of_nothing_is_whole_all_the_same() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

"""
    assert wire(OpenAIChat()) == transcript(expected)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_into_the_field_that_was_chosen(field: str) -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"FIELD":"Let me "},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"FIELD":"see."},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

""".replace("FIELD", field)
    chunks = Reasoning("Let me "), Reasoning("see."), Text("Yes.")
    assert wire(OpenAIChat(reasoning_field=field), *chunks) == transcript(expected)


def test_reasoning_content_is_the_default() -> None:
    assert OpenAIChat().reasoning_field == "reasoning_content"


def test_a_refusal_has_its_own_field() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"refusal":"I will "},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"refusal":"not."},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}

data: [DONE]

"""
    chunks = Refusal("I will "), Refusal("not."), Finish("content_filter")
    assert wire(OpenAIChat(), *chunks) == transcript(expected)


def test_parallel_tool_calls_say_id_and_name_once_and_then_only_their_index() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"content":"Hm."},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"weather","arguments":""}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"time","arguments":""}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\"Oslo\\"}"}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: [DONE]

"""  # noqa: E501
    chunks = [
        Text("Hm."),
        ToolCallDelta(3, "a", "weather"),
        ToolCallDelta(8, "b", "time", "{}"),
        ToolCallDelta(3, arguments='{"city":'),
        ToolCallDelta(3, arguments='"Oslo"}'),
        Finish("tool_calls"),
    ]
    assert wire(OpenAIChat(), *chunks) == transcript(expected)


def test_usage_that_was_asked_for_is_the_last_chunk_and_null_in_all_others() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

data: {…,"choices":[{"index":0,"delta":{"content":"null"},"finish_reason":null}],"usage":null}

data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":null}

data: {…,"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}

data: [DONE]

"""  # noqa: E501
    chunks = Text("null"), Usage(1, 1), Finish("length"), Usage(10, 5, 4, 3)
    assert wire(OpenAIChat(include_usage=True), *chunks) == transcript(expected)


def test_usage_that_was_asked_for_but_is_not_known_is_left_out() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

data: [DONE]

"""  # noqa: E501
    assert wire(OpenAIChat(include_usage=True)) == transcript(expected)


def test_usage_that_nobody_asked_for_is_not_mentioned() -> None:
    assert b"usage" not in wire(OpenAIChat(), Text("a"), Usage(10, 5))


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("include_usage", [True, False])
def test_an_error_is_one_event_after_which_done_may_come(done: bool, include_usage: bool) -> None:
    format = OpenAIChat(done_after_error=done, include_usage=include_usage)
    stream = wire(format, Text("half"), Usage(1, 2), Error("Too many.", "slow_down", 429))
    whole, error, *rest = stream.decode().rsplit("data: ", 2 if done else 1)
    assert f"data: {error}" == (
        'data: {"error":{"message":"Too many.","type":"rate_limit_error","param":null,'
        '"code":"slow_down"}}\n\n'
    )
    assert rest == (["[DONE]\n\n"] if done else [])
    assert '"finish_reason":"' not in whole
    assert '"total_tokens"' not in whole


def test_an_answer_that_was_aborted_is_an_error_too() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}

data: {"error":{"message":"The answer was aborted: shutdown.","type":"server_error","param":null,"code":"aborted"}}

data: [DONE]

"""  # noqa: E501
    assert wire(OpenAIChat(), Text("half"), abort="shutdown") == transcript(expected)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("other", "stop"),
    ],
)
def test_finish_reasons_are_the_protocols_own(reason: Any, word: str) -> None:
    stream = wire(OpenAIChat(), Text("a"), Finish(reason, "native"))
    assert stream.endswith(
        transcript(
            f'data: {{…,"choices":[{{"index":0,"delta":{{}},"finish_reason":"{word}"}}]}}\n\n'
            "data: [DONE]\n\n"
        )
    )
    assert b"native" not in stream


def test_only_the_last_finish_reason_of_several_model_calls_is_told() -> None:
    agent = (
        ToolCall("a", "f"),
        Finish("tool_calls"),
        ToolResult("a", 1),
        ToolCall("b", "f"),
        Finish("tool_calls"),
        ToolResult("b", 2),
        Text("Done."),
        Finish("stop"),
    )
    chunks = [json.loads(line[6:]) for line in wire(OpenAIChat(), *agent).split(b"\n\n")[:-2]]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    calls = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [(c["index"], c["id"]) for c in calls if "id" in c] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    "chunk",
    [
        ToolResult("a", 1),
        Source("https://a"),
        File("https://a", "image/png"),
        Data("n", 1),
        Raw(ServerSentEvent("x")),
        Step("s"),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_what_the_protocol_has_no_word_for_is_not_sent(chunk: Chunk) -> None:
    assert wire(OpenAIChat(), chunk) == wire(OpenAIChat())


@pytest.mark.parametrize(("text", "escaped"), ESCAPES, ids=ascii)
@pytest.mark.parametrize("make", [Text, Reasoning, Refusal])
def test_no_text_can_cut_the_line_that_it_stands_in(
    make: Callable[[str], Chunk], text: str, escaped: bytes
) -> None:
    assert b':"' + escaped + b'"}' in wire(OpenAIChat(), make(text))
    assert b'"text":"' + escaped + b'"}\n\n' in wire(Events(), make(text))


@pytest.mark.parametrize(("text", "escaped"), ESCAPES, ids=ascii)
def test_neither_can_a_models_name_a_tools_or_an_errors(text: str, escaped: bytes) -> None:
    lifecycle = Lifecycle(id="run", created=1, model=text)
    events = [
        *lifecycle.start(),
        *lifecycle.feed(ToolCall("a", text, text)),
        *lifecycle.fail(LLMStreamError(text, code=text, param=text)),
    ]
    for format in (OpenAIChat(), Events()):
        encode = format.encoder()
        stream = b"".join(encode(event) for event in events)
        assert stream.count(escaped) >= 5
        for line in stream.decode().splitlines():
            assert line == "" or line.startswith(("data: ", "id: ", "event: "))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            BadRequest("n must be 1.", param="n"),
            b'{"error":{"message":"n must be 1.","type":"invalid_request_error","param":"n",'
            b'"code":"invalid_request"}}',
        ),
        (
            Unauthorized(),
            b'{"error":{"message":"Authentication is required.","type":"authentication_error",'
            b'"param":null,"code":"unauthorized"}}',
        ),
        (
            LLMStreamError("No.", status=403, code="no"),
            b'{"error":{"message":"No.","type":"permission_error","param":null,"code":"no"}}',
        ),
        (
            NotFound("No.", code="model_not_found", param="model"),
            b'{"error":{"message":"No.","type":"not_found_error","param":"model",'
            b'"code":"model_not_found"}}',
        ),
        (
            RateLimited("No."),
            b'{"error":{"message":"No.","type":"rate_limit_error","param":null,'
            b'"code":"rate_limit_exceeded"}}',
        ),
        (
            LLMStreamError("Line\u2028end", status=503, code="x"),
            b'{"error":{"message":"Line\\u2028end","type":"server_error","param":null,"code":"x"}}',
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, LLMStreamError) else "",
)
def test_an_error_body_has_openais_shape(error: LLMStreamError, expected: bytes) -> None:
    assert OpenAIChat().error_body(error) == expected


def test_the_request_decides_about_usage_and_the_rest_stays() -> None:
    format = OpenAIChat(reasoning_field="reasoning", done_after_error=False)
    request = ChatRequest(messages=[], include_usage=True)
    assert format.for_request(request) == OpenAIChat(
        include_usage=True, reasoning_field="reasoning", done_after_error=False
    )
    assert OpenAIChat(include_usage=True).for_request(ChatRequest(messages=[])) == OpenAIChat()


# Plain events


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
data: {"type":"part-started","seq":3,"part":{"index":0,"kind":"reasoning","ordinal":0,"step":0,"id":"reasoning_run_0","name":""}}

id: run:4
event: part-delta
data: {"type":"part-delta","seq":4,"kind":"reasoning","part":0,"text":"Hm."}

id: run:5
event: part-ended
data: {"type":"part-ended","seq":5,"part":{"index":0,"kind":"reasoning","ordinal":0,"step":0,"id":"reasoning_run_0","name":""},"text":"Hm."}

id: run:6
event: part-started
data: {"type":"part-started","seq":6,"part":{"index":1,"kind":"text","ordinal":0,"step":0,"id":"text_run_0","name":""}}

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
data: {"type":"part-ended","seq":10,"part":{"index":1,"kind":"text","ordinal":0,"step":0,"id":"text_run_0","name":""},"text":"Hello"}

id: run:11
event: part-started
data: {"type":"part-started","seq":11,"part":{"index":2,"kind":"refusal","ordinal":0,"step":0,"id":"refusal_run_0","name":""}}

id: run:12
event: part-delta
data: {"type":"part-delta","seq":12,"kind":"refusal","part":2,"text":"No."}

id: run:13
event: part-ended
data: {"type":"part-ended","seq":13,"part":{"index":2,"kind":"refusal","ordinal":0,"step":0,"id":"refusal_run_0","name":""},"text":"No."}

id: run:14
event: part-started
data: {"type":"part-started","seq":14,"part":{"index":3,"kind":"tool_call","ordinal":0,"step":0,"id":"a","name":"f"}}

id: run:15
event: part-delta
data: {"type":"part-delta","seq":15,"kind":"tool_call","part":3,"text":"{}"}

id: run:16
event: part-ended
data: {"type":"part-ended","seq":16,"part":{"index":3,"kind":"tool_call","ordinal":0,"step":0,"id":"a","name":"f"},"text":"{}"}

id: run:17
event: usage-reported
data: {"type":"usage-reported","seq":17,"usage":{"type":"usage","input_tokens":10,"output_tokens":5,"cached_tokens":4,"reasoning_tokens":3,"additive":false}}

id: run:18
event: item-added
data: {"type":"item-added","seq":18,"item":{"type":"tool-result","id":"a","output":{"x":[1,null]},"error":false}}

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
data: {"type":"item-added","seq":22,"item":{"type":"data","name":"n","value":1.5}}

id: run:23
event: step-ended
data: {"type":"step-ended","seq":23,"step":1}

id: run:24
event: run-finished
data: {"type":"run-finished","seq":24,"usage":{"type":"usage","input_tokens":10,"output_tokens":5,"cached_tokens":4,"reasoning_tokens":3,"additive":false},"reason":"length","native":"max_tokens"}

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
data: {"type":"run-finished","seq":6,"usage":null,"reason":"stop","native":null}

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


# Any stream

ANY_CHUNKS = st.lists(ANY_CHUNK, max_size=10)
ANY_END = st.just([]) | st.builds(Error, ANY_TEXT, ANY_TEXT).map(lambda error: [error])
FORMATS = st.one_of(
    st.builds(Events, retry=st.none() | st.integers(0, 10**5)),
    st.builds(
        OpenAIChat,
        include_usage=st.booleans(),
        reasoning_field=st.sampled_from(["reasoning", "reasoning_content"]),
        done_after_error=st.booleans(),
    ),
)


@settings(deadline=None)
@given(FORMATS, ANY_CHUNKS, ANY_END)
def test_the_same_chunks_ids_and_time_give_the_same_bytes(
    format: Format, chunks: list[Chunk], end: list[Chunk]
) -> None:
    first, second = wire(format, *chunks, *end), wire(format, *chunks, *end)
    assert first == second
    assert b"chatcmpl-run" in first or b"id: run:1\n" in first


@settings(deadline=None, max_examples=200)
@given(FORMATS, ANY_CHUNKS, ANY_END)
def test_every_event_is_framed_so_that_no_known_client_chokes_on_it(
    format: Format, chunks: list[Chunk], end: list[Chunk]
) -> None:
    encode = format.encoder()
    events = events_of(*chunks, *end)
    for event in events:
        written = encode(event)
        if not written:
            continue
        text = written.decode()  # UTF-8, surrogates and all
        assert text.endswith("\n\n")
        for block in text[:-2].split("\n\n"):
            # Also for clients that split with `splitlines`, and each block has data.
            names = [line.partition(": ")[0] for line in block.splitlines()]
            assert names[-1] == "data"
            assert names.count("data") == 1
            assert set(names) <= {"id", "event", "retry", "data"}
            payload = block.splitlines()[-1].removeprefix("data: ")
            assert payload == "[DONE]" or isinstance(json.loads(payload), dict)


# The official client


def _client(content: bytes, content_type: str) -> Any:
    openai = pytest.importorskip("openai")
    httpx2 = pytest.importorskip("httpx2")
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(
            200, headers={"content-type": content_type}, content=content
        )
    )
    return openai.OpenAI(
        api_key="k",
        base_url="http://here",
        max_retries=0,
        http_client=httpx2.Client(transport=transport),
    )


def streamed(stream: bytes) -> Any:
    """What openai's own accumulator makes of the bytes."""
    chat = pytest.importorskip("openai.lib.streaming.chat")
    state = chat.ChatCompletionStreamState()
    with _client(stream, "text/event-stream") as client:
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
            state.handle_chunk(chunk)
    return state.current_completion_snapshot


def whole(format: OpenAIChat, *chunks: Chunk) -> Any:
    message = Message()
    started, *_ = events = events_of(*chunks)
    for event in events:
        message.apply(event)
    assert isinstance(started, RunStarted)
    with _client(format.whole_body(started, message), "application/json") as client:
        return client.chat.completions.create(model="m", messages=[])


def said(completion: Any) -> Any:
    """The completion without what is null and what only the accumulator adds."""

    def prune(value: Any) -> Any:
        if isinstance(value, dict):
            added = ("parsed", "parsed_arguments", "index")
            return {k: prune(v) for k, v in value.items() if v is not None and k not in added}
        return [prune(item) for item in value] if isinstance(value, list) else value

    return prune(completion.model_dump())


ANSWERS: dict[str, list[Chunk]] = {
    "nothing": [],
    "text": [Text("Hel"), Text("lo\u2028"), Finish("stop")],
    "reasoning and text": [Reasoning("H"), Reasoning("m."), Text("Yes"), Finish("length")],
    "refusal": [Refusal("I will"), Refusal(" not."), Finish("content_filter")],
    "tool calls": [
        Text("Let me see."),
        ToolCallDelta(0, "a", "weather", '{"city":'),
        ToolCallDelta(1, "b", "time", "{}"),
        ToolCallDelta(0, arguments='"Oslo"}'),
        Finish("tool_calls"),
    ],
    "a call without an id": [ToolCallDelta(0, None, "f", "{}")],
    "an agent": [
        Reasoning("First."),
        ToolCall("a", "f", {"x": 1}),
        Finish("tool_calls"),
        Usage(10, 5),
        ToolResult("a", 1),
        Reasoning(" Then."),
        Text("Done."),
        Data("n", 1),
        Text(" Really."),
        Finish("other", "end_turn"),
        Usage(20, 6, 1, 2),
    ],
}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_whole_answer_is_what_the_official_client_accumulates(answer: str, field: str) -> None:
    format = OpenAIChat(include_usage=True, reasoning_field=field)
    chunks = ANSWERS[answer]
    completion = whole(format, *chunks)
    assert said(completion) == said(streamed(wire(format, *chunks)))
    message = completion.choices[0].message
    assert message.content == "".join(c.text for c in chunks if isinstance(c, Text))
    reasoning = "".join(c.text for c in chunks if isinstance(c, Reasoning))
    assert (message.model_extra or {}).get(field, "") == reasoning


@settings(deadline=None, max_examples=50)
@given(st.lists(ANY_CHUNK, max_size=8))
def test_any_answer_accumulates_to_its_whole(chunks: list[Chunk]) -> None:
    # An emoji that is cut between two chunks is whole only in the whole answer.
    chunks = [chunk for chunk in chunks if r"\ud" not in repr(chunk)]
    format = OpenAIChat(include_usage=True)
    assert said(whole(format, *chunks)) == said(streamed(wire(format, *chunks)))


def test_the_whole_answer_is_written_exactly_like_this() -> None:
    message = Message()
    started, *_ = events = events_of(*ANSWERS["tool calls"], Usage(1, 2))
    for event in events:
        message.apply(event)
    assert isinstance(started, RunStarted)
    assert OpenAIChat().whole_body(started, message) == (
        b'{"id":"chatcmpl-run","object":"chat.completion","created":1700000000,"model":"m",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"Let me see.",'
        b'"refusal":null,"tool_calls":['
        b'{"id":"a","type":"function",'
        b'"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}},'
        b'{"id":"b","type":"function","function":{"name":"time","arguments":"{}"}}]},'
        b'"logprobs":null,"finish_reason":"tool_calls"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
        b'"prompt_tokens_details":{"cached_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0}}}'
    )


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    ("end", "message"),
    [
        ({"error": Error("Too many.", "slow_down", 429)}, "Too many."),
        ({"abort": "shutdown"}, "The answer was aborted: shutdown."),
    ],
    ids=["error", "abort"],
)
def test_the_official_client_raises_when_an_answer_breaks_off(
    end: dict[str, Any], message: str, done: bool
) -> None:
    openai = pytest.importorskip("openai")
    chunks = [Text("half"), *([end["error"]] if "error" in end else [])]
    stream = wire(OpenAIChat(done_after_error=done), *chunks, abort=end.get("abort"))
    with pytest.raises(openai.APIError, match=message):
        streamed(stream)


# Requests

USER = {"role": "user", "content": "Hi"}
FIELD = "invalid_field"


def request(**fields: Any) -> dict[str, Any]:
    return {"messages": [USER], **fields}


BAD: list[tuple[object, str | None, str, str]] = [
    ({}, "messages", "missing_field", "messages is required."),
    ({"model": "m"}, "messages", "missing_field", "messages is required."),
    ({"messages": []}, "messages", FIELD, "messages must not be empty."),
    (
        {"messages": "Hi"},
        "messages",
        FIELD,
        "messages is not valid: Expected `array`, got `str`.",
    ),
    (
        {"messages": None},
        "messages",
        FIELD,
        "messages is not valid: Expected `array`, got `null`.",
    ),
    (
        {"messages": [USER, "Hi"]},
        "messages[1]",
        FIELD,
        "messages[1] is not valid: Expected `object`, got `str`.",
    ),
    (
        {"messages": [USER, {"content": "Hi"}]},
        "messages[1].role",
        "missing_field",
        "messages[1].role is required.",
    ),
    (
        {"messages": [{"role": 1}]},
        "messages[0].role",
        FIELD,
        "messages[0].role is not valid: Expected `str`, got `int`.",
    ),
    (
        {"messages": [USER, {"role": "wizard", "content": "Hi"}]},
        "messages[1].role",
        FIELD,
        "messages[1].role must be one of system, developer, user, assistant, tool, function.",
    ),
    (
        {"messages": [{"role": "user", "content": 5}]},
        "messages[0].content",
        FIELD,
        "messages[0].content is not valid: Expected `str | array | null`, got `int`.",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}, "Hi"]}]},
        "messages[0].content[1]",
        FIELD,
        "messages[0].content[1] is not valid: Expected `object`, got `str`.",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": {}}]},
        "messages[0].tool_calls",
        FIELD,
        "messages[0].tool_calls is not valid: Expected `array | null`, got `object`.",
    ),
    (
        {"messages": [{"role": "tool", "tool_call_id": 7}]},
        "messages[0].tool_call_id",
        FIELD,
        "messages[0].tool_call_id is not valid: Expected `str | null`, got `int`.",
    ),
    (request(model=5), "model", FIELD, "model is not valid: Expected `str | null`, got `int`."),
    (
        request(stream="yes"),
        "stream",
        FIELD,
        "stream is not valid: Expected `bool | null`, got `str`.",
    ),
    (request(n=2), "n", FIELD, "n must be 1: one answer per request."),
    (request(n=0), "n", FIELD, "n must be 1: one answer per request."),
    (request(n=10**30), "n", FIELD, "n must be 1: one answer per request."),
    (request(n=True), "n", FIELD, "n is not valid: Expected `int | null`, got `bool`."),
    (
        request(max_tokens="9"),
        "max_tokens",
        FIELD,
        "max_tokens is not valid: Expected `int | null`, got `str`.",
    ),
    (
        request(max_completion_tokens=1.5),
        "max_completion_tokens",
        FIELD,
        "max_completion_tokens is not valid: Expected `int | null`, got `float`.",
    ),
    (
        request(temperature="hot"),
        "temperature",
        FIELD,
        "temperature is not valid: Expected `float | null`, got `str`.",
    ),
    (
        request(top_p=[]),
        "top_p",
        FIELD,
        "top_p is not valid: Expected `float | null`, got `array`.",
    ),
    (
        request(tools={}),
        "tools",
        FIELD,
        "tools is not valid: Expected `array | null`, got `object`.",
    ),
    (
        request(tools=["f"]),
        "tools[0]",
        FIELD,
        "tools[0] is not valid: Expected `object`, got `str`.",
    ),
    (
        request(stream=True, stream_options=True),
        "stream_options",
        FIELD,
        "stream_options is not valid: Expected `object | null`, got `bool`.",
    ),
    (
        request(stream=True, stream_options={"include_usage": "yes"}),
        "stream_options.include_usage",
        FIELD,
        "stream_options.include_usage is not valid: Expected `bool | null`, got `str`.",
    ),
    (
        request(stream_options={"include_usage": True}),
        "stream_options",
        FIELD,
        "stream_options goes with stream: true.",
    ),
    (
        request(stream=False, stream_options={}),
        "stream_options",
        FIELD,
        "stream_options goes with stream: true.",
    ),
    ([], None, "invalid_json", "The body must be a JSON object."),
    ("messages", None, "invalid_json", "The body must be a JSON object."),
    (None, None, "invalid_json", "The body must be a JSON object."),
]


@pytest.mark.parametrize(
    ("body", "param", "code", "message"), BAD, ids=[json.dumps(bad[0])[:70] for bad in BAD]
)
def test_a_bad_field_is_named(body: object, param: str | None, code: str, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        decode_request(decode_json(json.dumps(body).encode()))
    error = raised.value
    assert (error.status, error.param, error.code, error.message) == (400, param, code, message)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"messages": [}',
        b"{'messages': []}",
        b'{"messages": NaN}',
        b"\xff\xfe",
        b'{"messages": "\xff"}',
        b'{"messages": "\\ud83d"}',
        b'\xef\xbb\xbf{"messages": []}',
        b'{"temperature": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"messages=Hi",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_not_json_says_so_and_no_more(body: bytes) -> None:
    with pytest.raises(BadRequest) as raised:
        decode_json(body)
    error = raised.value
    assert (error.status, error.param, error.code) == (400, None, "invalid_json")
    assert error.message.startswith(("The body is not valid JSON: ", "The body is nested too"))
    assert "msgspec" not in error.message


def decoded(**fields: Any) -> ChatRequest:
    return decode_request(decode_json(json.dumps(request(**fields)).encode()))


def test_the_smallest_request_has_these_defaults() -> None:
    assert decoded() == ChatRequest(
        messages=[ChatMessage(role="user", content="Hi")], body=request()
    )
    assert decoded().prompt == "Hi"


def test_every_field_arrives_and_unknown_ones_stay_in_the_body() -> None:
    fields: dict[str, Any] = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "temperature": 1,
        "top_p": 0.5,
        "max_tokens": 9,
        "n": 1,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "metadata": {"user": "ø"},
        "x_own": [None, 2**70],
    }
    got = decoded(**fields)
    assert (got.model, got.stream, got.include_usage) == ("m", True, True)
    assert got.body == request(**fields)


def test_null_is_as_good_as_absent() -> None:
    names = ["model", "stream", "stream_options", "n", "max_tokens", "temperature", "tools"]
    got = decoded(**dict.fromkeys(names))
    assert (got.model, got.stream, got.include_usage) == ("", False, False)


def test_stream_options_without_include_usage_ask_for_none() -> None:
    assert not decoded(stream=True, stream_options={}).include_usage
    assert not decoded(stream=True, stream_options={"include_usage": None}).include_usage


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": [{"type": "text", "text": "Really."}]},
    {
        "role": "user",
        "name": "ann",
        "content": [
            {"type": "text", "text": "What is "},
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"},
            },
            {"type": "text", "text": "this?"},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "content": "42", "tool_call_id": "a"},
    {"role": "assistant", "content": "An answer."},
]


def test_a_conversation_comes_back_out_as_openai_wrote_it() -> None:
    got = decoded(messages=CONVERSATION)
    assert got.to_openai() == CONVERSATION
    again = decode_request({"messages": got.to_openai()})
    assert again.messages == got.messages


def test_the_prompt_is_the_text_of_the_users_last_message() -> None:
    got = decoded(messages=CONVERSATION)
    assert got.prompt == "What is this?"
    assert got.messages[3].text == ""
    assert decoded(messages=[{"role": "system", "content": "x"}]).prompt == ""


def test_the_format_decodes_with_it() -> None:
    assert OpenAIChat().decode(request()) == decode_request(request())


CHECKED = ["model", "stream", "stream_options", "n", "temperature", "tools", "x"]
NEARLY_REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGE, max_size=3) | JSON,
        **dict.fromkeys(CHECKED, JSON),
    },
)


def _decodes_or_is_bad(body: bytes) -> None:
    bad: BadRequest | None = None
    try:
        got = decode_request(decode_json(body))
    except BadRequest as error:
        bad = error
    if bad is not None:
        assert bad.status == 400
        assert bad.code in ("invalid_json", "missing_field", "invalid_field")
        assert json.loads(OpenAIChat().error_body(bad))["error"]["message"] == bad.message != ""
        return
    assert isinstance(got, ChatRequest)
    assert got.messages
    assert len(got.to_openai()) == len(got.messages)
    assert isinstance(got.prompt, str)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_a_request_or_a_bad_request(body: bytes) -> None:
    _decodes_or_is_bad(body)


@settings(deadline=None, max_examples=500)
@given(NEARLY_REQUESTS | JSON, st.booleans())
def test_arbitrary_json_is_a_request_or_a_bad_request(body: object, ascii_only: bool) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only)
    _decodes_or_is_bad(text.encode("utf-8", "surrogatepass"))
