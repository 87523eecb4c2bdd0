"""OpenAI chat completions, byte by byte, and what the official client makes of them."""

from __future__ import annotations

import json
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
from asgi_llmstream.formats import OpenAIChat
from asgi_llmstream.message import Message
from asgi_llmstream.sse import ServerSentEvent
from tests.support.strategies import ANY_CHUNK
from tests.support.wire import events_of, wire

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


def test_parallel_tool_calls_follow_each_other_and_say_id_and_name_once() -> None:
    expected = """\
data: {…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"content":"Hm."},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"weather","arguments":""}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\"Oslo\\"}"}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"time","arguments":""}}]},"finish_reason":null}]}

data: {…,"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]},"finish_reason":null}]}

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

data: {…,"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}

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
    """The completion without what is null or empty and what only the accumulator adds.

    A whole answer has zeros where no usage was reported, and a stream then has none.
    """

    def prune(value: Any) -> Any:
        if isinstance(value, dict):
            added = ("parsed", "parsed_arguments", "index")
            kept = {k: v for k, v in value.items() if v not in (None, []) and k not in added}
            return {k: prune(v) for k, v in kept.items()}
        return [prune(item) for item in value] if isinstance(value, list) else value

    counted = completion.usage is not None and completion.usage.total_tokens > 0
    return prune(completion.model_dump(exclude=set() if counted else {"usage"}))


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
        b'"refusal":null,"annotations":[],"tool_calls":['
        b'{"id":"a","type":"function",'
        b'"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}},'
        b'{"id":"b","type":"function","function":{"name":"time","arguments":"{}"}}]},'
        b'"logprobs":null,"finish_reason":"tool_calls"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
        b'"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},'
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
