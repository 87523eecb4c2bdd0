"""What producers yield, whatever its type, becomes chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from types import MappingProxyType
from typing import Any

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
from asgi_llmstream.message import Message
from asgi_llmstream.sse import ServerSentEvent
from tests.support.providers import module, read, recorded

# Strings and our own chunks


def test_a_str_is_text() -> None:
    assert read("Hello") == [Text("Hello")]
    assert read("") == [Text("")]


class Token(str):
    pass


class Answer(str, Enum):  # noqa: UP042 (what people wrote before StrEnum)
    YES = "yes"


@pytest.mark.parametrize(("item", "text"), [(Token("a"), "a"), (Answer.YES, "yes")])
def test_a_subclass_of_str_is_the_text_that_it_equals(item: str, text: str) -> None:
    (chunk,) = read(item)
    assert isinstance(chunk, Text)
    assert type(chunk.text) is str
    assert chunk.text == item == text


def test_bytes_are_text_in_utf_8_and_what_is_none_is_replaced() -> None:
    assert read("Tromsø".encode()) == read(bytearray("Tromsø".encode())) == [Text("Tromsø")]
    assert read(b"Troms\xc3") == [Text("Troms\ufffd")]


@pytest.mark.parametrize(
    "chunk",
    [
        Text("a"),
        Reasoning("a"),
        Refusal("a"),
        ToolCall("a", "f", {}),
        ToolCallDelta(0, "a", "f"),
        ToolResult("a"),
        Source("https://a"),
        File("https://a", "image/png"),
        Data("n", 1),
        Raw(ServerSentEvent("x")),
        Step(),
        Usage(1, 2),
        Finish(),
        Error("x"),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_our_own_chunks_pass_as_they_are(chunk: Chunk) -> None:
    (passed,) = read(chunk)
    assert passed is chunk


# OpenAI's chunks: each case as the SDK's object, as that object's dict, and as the plain JSON


def as_json(body: dict[str, Any]) -> object:
    return body


def as_object(body: dict[str, Any]) -> Any:
    types = module("openai.types.chat")
    # As the SDK makes them from the wire: without validation.
    return types.ChatCompletionChunk.construct(**body)


def as_dump(body: dict[str, Any]) -> object:
    return as_object(body).model_dump()


def as_read_only_mapping(body: dict[str, Any]) -> object:
    return MappingProxyType(body)


SHAPES = pytest.mark.parametrize("shape", [as_json, as_object, as_dump, as_read_only_mapping])


def body(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": i, "finish_reason": None, **c} for i, c in enumerate(choices)],
        **fields,
    }


def delta(**fields: Any) -> dict[str, Any]:
    return body({"delta": fields})


def call(index: int | None = 0, **fields: Any) -> dict[str, Any]:
    return {"index": index, **fields}


USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": 3},
}

CASES: dict[str, tuple[dict[str, Any], list[Chunk]]] = {
    "the role": (delta(role="assistant", content=""), []),
    "content null beside the role": (delta(role="assistant", content=None), []),
    "content": (delta(content="Hi"), [Text("Hi")]),
    "refusal": (delta(content=None, refusal="No."), [Refusal("No.")]),
    "reasoning_content": (delta(reasoning_content="Hm."), [Reasoning("Hm.")]),
    "reasoning": (delta(content="", reasoning="Hm."), [Reasoning("Hm.")]),
    "both fields with the same words": (
        delta(reasoning_content="Hm.", reasoning="Hm."),
        [Reasoning("Hm.")],
    ),
    "reasoning that is no text": (delta(content="a", reasoning={"effort": 1}), [Text("a")]),
    "reasoning before content": (
        delta(content="a", reasoning_content="b"),
        [Reasoning("b"), Text("a")],
    ),
    "a call's first delta": (
        delta(
            tool_calls=[call(0, id="a", type="function", function={"name": "f", "arguments": ""})]
        ),
        [ToolCallDelta(0, "a", "f", "")],
    ),
    "a call's later delta": (
        delta(tool_calls=[call(1, function={"arguments": '{"x"'})]),
        [ToolCallDelta(1, None, None, '{"x"')],
    ),
    "two calls in one chunk": (
        delta(
            tool_calls=[
                call(0, id="a", function={"name": "f", "arguments": "{}"}),
                call(1, id="b", function={"name": "g", "arguments": None}),
            ]
        ),
        [ToolCallDelta(0, "a", "f", "{}"), ToolCallDelta(1, "b", "g", "")],
    ),
    "a call without its function": (
        delta(tool_calls=[call(0, id="a", function=None)]),
        [ToolCallDelta(0, "a")],
    ),
    "a call without its index": (
        delta(tool_calls=[call(None, id="a", function={"name": "f", "arguments": "{}"})]),
        [ToolCallDelta(0, "a", "f", "{}")],
    ),
    "a function call of old": (
        delta(function_call={"name": "f", "arguments": "{"}),
        [ToolCallDelta(0, None, "f", "{")],
    ),
    "finish reason stop": (body({"delta": {}, "finish_reason": "stop"}), [Finish("stop", "stop")]),
    "finish reason length": (
        body({"delta": {"content": "x"}, "finish_reason": "length"}),
        [Text("x"), Finish("length", "length")],
    ),
    "finish reason tool_calls": (
        body({"delta": {}, "finish_reason": "tool_calls"}),
        [Finish("tool_calls", "tool_calls")],
    ),
    "finish reason function_call": (
        body({"delta": {}, "finish_reason": "function_call"}),
        [Finish("tool_calls", "function_call")],
    ),
    "finish reason content_filter": (
        body({"delta": {}, "finish_reason": "content_filter"}),
        [Finish("content_filter", "content_filter")],
    ),
    "a finish reason of one's own": (
        body({"delta": {}, "finish_reason": "eos"}),
        [Finish("other", "eos")],
    ),
    "no delta": (body({"delta": None, "finish_reason": "stop"}), [Finish("stop", "stop")]),
    "usage": (body(usage=USAGE), [Usage(10, 5, 4, 3)]),
    "usage beside the last choice": (
        body({"delta": {"content": "x"}, "finish_reason": "stop"}, usage=USAGE),
        [Text("x"), Finish("stop", "stop"), Usage(10, 5, 4, 3)],
    ),
    "usage with what was written to a cache": (
        body(
            usage=USAGE | {"prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5}}
        ),
        [Usage(10, 5, 4, 3, 5)],
    ),
    "the same in litellm's older words": (
        body(usage=USAGE | {"prompt_tokens_details": {"cache_creation_tokens": 5}}),
        [Usage(10, 5, 0, 3, 5)],
    ),
    "usage without details": (
        body(
            usage={
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 3,
                "prompt_tokens_details": None,
            }
        ),
        [Usage(1, 2)],
    ),
    "usage null": (body({"delta": {"content": "x"}}, usage=None), [Text("x")]),
    "no choices": (body(), []),
    "choices above 0": (
        body(
            {"delta": {"content": "mine"}},
            {"delta": {"content": "other"}, "finish_reason": "length"},
            {"delta": {"tool_calls": [call(0, id="z", function={"name": "f"})]}},
        ),
        [Text("mine")],
    ),
    "a choice above 0 alone": (
        body(choices=[{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]),
        [],
    ),
    "logprobs and keys that we do not know": (
        body({"delta": {"content": "x", "mood": 1}, "logprobs": {"content": []}}, timings={"n": 1}),
        [
            Native(
                "openai",
                {
                    "chunk": {"timings": {"n": 1}},
                    "choice": {"logprobs": {"content": []}},
                    "delta": {"mood": 1},
                },
            ),
            Text("x"),
        ],
    ),
}


def without_nulls(chunk: Any) -> Any:
    """SDK objects add null fields to what they hold."""
    if not isinstance(chunk, Native):
        return chunk
    logprobs = chunk.fields["choice"]["logprobs"]
    given = logprobs if isinstance(logprobs, dict) else logprobs.model_dump()
    found = {key: value for key, value in given.items() if value is not None}
    return Native(chunk.family, chunk.fields | {"choice": {"logprobs": found}})


@SHAPES
@pytest.mark.parametrize("case", CASES)
def test_openais_chunks_are_read_in_every_shape(case: str, shape: Any) -> None:
    given, expected = CASES[case]
    found = [without_nulls(chunk) for chunk in read(shape(given))]
    assert found == expected


def test_the_first_chunk_of_azure_has_an_empty_object_field_and_is_a_chunk_all_the_same() -> None:
    types = module("openai.types.chat")

    class ChatCompletionChunk(types.ChatCompletionChunk):  # type: ignore[misc, name-defined]
        """A class that nobody has seen before, as in a fresh process."""

    azure = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    first = ChatCompletionChunk.construct(**azure, prompt_filter_results=[{"prompt_index": 0}])
    assert [type(chunk) for chunk in read(first)] == [Native]
    second = ChatCompletionChunk.construct(**delta(content="a"))
    assert read(second) == [Text("a")]


@pytest.mark.parametrize(
    "given",
    [
        {"error": {"message": "sk-secret", "type": "server_error", "code": 500}},
        {**body(), "error": {"message": "sk-secret"}},
        {**body({"delta": {"content": ""}, "finish_reason": "error"}), "error": {"code": 502}},
        {"error": "sk-secret", "choices": []},
    ],
    ids=["alone", "beside choices", "beside a delta", "a text"],
)
def test_an_error_in_mid_stream_ends_the_answer_without_the_providers_text(given: Any) -> None:
    (chunk,) = read(given)
    assert isinstance(chunk, Error)
    assert (chunk.status, chunk.code) == (502, "upstream_error")
    assert "sk-secret" not in chunk.message


def test_an_error_that_is_null_is_none() -> None:
    assert read({**delta(content="a"), "error": None}) == [Text("a")]


@pytest.mark.parametrize(
    "given",
    [
        delta(content=[{"type": "text", "text": "a"}]),
        delta(content=5),
        delta(refusal={"a": 1}),
        delta(tool_calls=[call(0, id="a", function={"name": "f", "arguments": {"x": 1}})]),
        delta(tool_calls=[call(0, id="a", function={"name": ["f"], "arguments": ""})]),
    ],
    ids=["content parts", "a number", "refusal", "arguments", "name"],
)
def test_what_should_be_text_and_is_not_is_refused_or_read_but_never_passed_on(given: Any) -> None:
    try:
        chunks = read(given)
    except TypeError:
        return
    for chunk in chunks:
        for name in ("text", "name", "arguments"):
            assert isinstance(getattr(chunk, name, ""), str | None)


# Server-sent events


def written(item: object) -> bytes:
    """The bytes of the one event that `item` is."""
    (chunk,) = read(item)
    assert isinstance(chunk, Raw)
    return chunk.event.encode()


SAME_EVENTS: dict[str, tuple[dict[str, Any], bytes]] = {
    "data": ({"data": "x"}, b"data: x\n\n"),
    "everything": (
        {"data": "a\nb", "event": "e", "id": "7", "retry": 10},
        b"id: 7\nevent: e\nretry: 10\ndata: a\ndata: b\n\n",
    ),
    "unicode": ({"data": "Tromsø"}, b"data: Troms\xc3\xb8\n\n"),
    "empty data": ({"data": "", "event": "done"}, b"event: done\ndata: \n\n"),
}


@pytest.mark.parametrize("case", SAME_EVENTS)
def test_server_sent_events_ours_sse_starlettes_and_dicts_are_the_same_bytes(case: str) -> None:
    fields, expected = SAME_EVENTS[case]
    sse_starlette = module("sse_starlette")
    assert written(ServerSentEvent(**fields)) == expected
    assert written(sse_starlette.ServerSentEvent(**fields)) == expected
    assert written(fields) == expected


# As sse-starlette's generators have them, and ours cannot be.
THEIR_EVENTS: dict[str, tuple[dict[str, Any], bytes]] = {
    "a comment": ({"comment": "ping"}, b": ping\n"),
    "a comment of two lines": ({"comment": "a\r\nb"}, b": a\n: b\n"),
    "a comment that would inject": ({"comment": "a\ndata: b\rid: c"}, b": a\n: data: b\n: id: c\n"),
    "a comment and data": ({"comment": "c", "data": "x"}, b": c\ndata: x\n\n"),
    "data that is a number": ({"data": 5}, b"data: 5\n\n"),
    "a separator of one's own": ({"data": "a\nb", "sep": "\r\n"}, b"data: a\ndata: b\n\n"),
    "retry alone": ({"retry": 5}, b""),
    "event alone": ({"event": "e"}, b""),
    "everything null but data": (
        {"data": "x", "event": None, "id": None, "retry": None, "comment": None},
        b"data: x\n\n",
    ),
}


@pytest.mark.parametrize("case", THEIR_EVENTS)
def test_what_sse_starlette_allows_besides_goes_out_framed_for_every_client(case: str) -> None:
    fields, expected = THEIR_EVENTS[case]
    sse_starlette = module("sse_starlette")
    assert written(fields) == expected
    assert written(sse_starlette.ServerSentEvent(**fields)) == expected


def test_sse_starlettes_json_event_goes_out_as_json() -> None:
    event = module("sse_starlette.event")
    expected = 'event: e\ndata: {"a":"ø"}\n\n'
    assert written(event.JSONServerSentEvent({"a": "ø"}, event="e")) == expected.encode()


@pytest.mark.parametrize(
    ("fields", "data"),
    [({"data": {"a": 1}}, '{"a":1}'), ({"data": "a"}, '"a"'), ({"raw_data": "raw"}, "raw")],
)
def test_fastapis_own_event_means_what_it_means_there_or_is_refused(
    fields: dict[str, Any], data: str
) -> None:
    sse = module("fastapi.sse")
    try:
        said = written(sse.ServerSentEvent(event="e", **fields))
    except TypeError:
        return
    assert said == f"event: e\ndata: {data}\n\n".encode()


@pytest.mark.parametrize("fields", [{"event": "a\nb"}, {"id": "a\r"}, {"data": "x", "id": "é"}])
def test_an_event_that_could_not_be_framed_is_a_value_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{list(fields)[-1]} must"):
        read(fields)


# Everything else


class Unknown:
    def __repr__(self) -> str:  # the test's name must be the same in every process
        return "Unknown()"


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (None, "NoneType"),
        (5, "int"),
        (["a"], "list"),
        (("a", {}), "tuple"),
        (Unknown(), "Unknown"),
        ({}, "a dict with no keys"),
        ({"content": "a", "role": "assistant"}, "a dict with content, role"),
        ({"data": "x", "more": 1}, "a dict with data, more"),
        ({1: 2}, "a dict with 1"),
    ],
    ids=repr,
)
def test_an_unknown_type_is_a_type_error_that_names_it_and_what_is_accepted(
    item: object, named: str
) -> None:
    for _ in range(2):  # the answer is the same when the class has been seen before
        with pytest.raises(TypeError) as raised:
            read(item)
        text = str(raised.value)
        assert text.startswith(f"cannot stream {named}: ")
        assert "A producer may yield str, bytes, a chunk" in text
        assert "README: What a producer may yield" in text
        assert len(text) < 300


# Recordings of a real server


def payloads(name: str) -> Iterator[dict[str, Any]]:
    for block in recorded(name).decode().split("\n\n"):
        data = block.removeprefix("data: ")
        if data and data != "[DONE]":
            yield json.loads(data)


def through_the_sdk(name: str) -> Iterator[object]:
    openai = module("openai")
    httpx2 = module("httpx2")
    stream = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers=stream, content=recorded(name))
    )
    with openai.OpenAI(
        api_key="k", base_url="http://upstream", http_client=httpx2.Client(transport=transport)
    ) as client:
        yield from client.chat.completions.create(model="m", messages=[], stream=True)


@pytest.mark.parametrize("through", [payloads, through_the_sdk])
@pytest.mark.parametrize(
    ("name", "reason", "usage"),
    [
        ("openai_chat_text.jsonl", "stop", Usage(40, 54)),
        ("openai_chat_length.jsonl", "stop", None),
        ("openai_chat_logprobs_n.jsonl", "length", None),
    ],
)
def test_a_recorded_stream_becomes_the_message_that_it_holds(
    name: str, reason: str, usage: Usage | None, through: Any
) -> None:
    contents = [choice["delta"].get("content") for p in payloads(name) for choice in p["choices"]]
    text = "".join(content for content in contents if content)
    message, finishes = Message(), []
    for item in through(name):
        message += item
        finishes += [chunk for chunk in read(item) if isinstance(chunk, Finish)]
    assert len(text) > 10
    assert message.text == text
    assert message.usage == usage
    assert finishes == [Finish(reason, reason)]  # type: ignore[arg-type]
    assert (message.reasoning, message.refusal, message.tool_calls) == ("", "", [])


def test_a_recorded_refusal_of_the_server_is_an_error() -> None:
    (refusal,) = payloads("openai_chat_bad_request.jsonl")
    (chunk,) = read(refusal)
    assert isinstance(chunk, Error)
    assert refusal["error"]["message"] not in chunk.message
