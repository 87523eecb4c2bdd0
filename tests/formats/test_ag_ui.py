"""AG-UI, byte by byte, by the models of `ag-ui-protocol` and by `ag-ui-validate`; its requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings

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
from asgi_llmstream.errors import BadRequest, RateLimited
from asgi_llmstream.formats.ag_ui.stream import AGUI
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.request import ChatMessage, ChatRequest
from asgi_llmstream.sse import ServerSentEvent
from tests.support.ag_ui_grammar import events_of, read
from tests.support.services import need
from tests.support.strategies import ENDINGS, SEQUENCES
from tests.support.wire import ESCAPES, wire

RUN = '"threadId":"thread-run","runId":"run"'
STARTED = f'{{"type":"RUN_STARTED",{RUN},"protocolVersion":"1.0","timestamp":1700000000000}}'
FINISHED = f'{{"type":"RUN_FINISHED",{RUN},"metadata":{{"finishReason":"stop"}}}}'


def transcript(*events: str) -> bytes:
    """A whole stream of these events after RUN_STARTED."""
    return "".join(f"data: {event}\n\n" for event in (STARTED, *events)).encode()


def step(*events: str, finish: str = FINISHED, name: str = "step_1") -> bytes:
    """A stream of one step."""
    return transcript(
        f'{{"type":"STEP_STARTED","stepName":"{name}"}}',
        *events,
        f'{{"type":"STEP_FINISHED","stepName":"{name}"}}',
        finish,
    )


def test_a_text_is_a_message_in_a_step_in_a_run() -> None:
    assert wire(AGUI(), Text("Hel"), Text("lo, Tromsø"), Finish("stop")) == (
        b'data: {"type":"RUN_STARTED","threadId":"thread-run","runId":"run",'
        b'"protocolVersion":"1.0","timestamp":1700000000000}\n\n'
        b'data: {"type":"STEP_STARTED","stepName":"step_1"}\n\n'
        b'data: {"type":"TEXT_MESSAGE_START","messageId":"text_run_0","role":"assistant"}\n\n'
        b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"text_run_0","delta":"Hel"}\n\n'
        b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"text_run_0",'
        b'"delta":"lo, Troms\xc3\xb8"}\n\n'
        b'data: {"type":"TEXT_MESSAGE_END","messageId":"text_run_0"}\n\n'
        b'data: {"type":"STEP_FINISHED","stepName":"step_1"}\n\n'
        b'data: {"type":"RUN_FINISHED","threadId":"thread-run","runId":"run",'
        b'"metadata":{"finishReason":"stop"}}\n\n'
    )


def test_an_answer_of_nothing_is_whole_all_the_same() -> None:
    assert wire(AGUI()) == transcript(FINISHED)


def test_the_ids_are_the_clients_where_it_gave_any() -> None:
    first, last = events_of(wire(AGUI(thread_id="t", run_id="r")))
    assert (first["threadId"], first["runId"]) == ("t", "r")
    assert (last["threadId"], last["runId"]) == ("t", "r")


def test_reasoning_is_a_span_with_a_message_in_it_and_a_refusal_is_text() -> None:
    chunks = Reasoning("Hm."), Refusal("No."), Finish("content_filter")
    assert wire(AGUI(), *chunks) == step(
        '{"type":"REASONING_START","messageId":"reasoning_run_0"}',
        '{"type":"REASONING_MESSAGE_START","messageId":"reasoning_run_0","role":"reasoning"}',
        '{"type":"REASONING_MESSAGE_CONTENT","messageId":"reasoning_run_0","delta":"Hm."}',
        '{"type":"REASONING_MESSAGE_END","messageId":"reasoning_run_0"}',
        '{"type":"REASONING_END","messageId":"reasoning_run_0"}',
        '{"type":"TEXT_MESSAGE_START","messageId":"refusal_run_0","role":"assistant"}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"refusal_run_0","delta":"No."}',
        '{"type":"TEXT_MESSAGE_END","messageId":"refusal_run_0"}',
        finish=FINISHED.replace("stop", "content_filter"),
    )


def test_a_signature_is_an_encrypted_value_of_the_reasoning() -> None:
    assert wire(AGUI(), Reasoning("Hm.", "sealed")) == step(
        '{"type":"REASONING_START","messageId":"reasoning_run_0"}',
        '{"type":"REASONING_MESSAGE_START","messageId":"reasoning_run_0","role":"reasoning"}',
        '{"type":"REASONING_MESSAGE_CONTENT","messageId":"reasoning_run_0","delta":"Hm."}',
        '{"type":"REASONING_MESSAGE_END","messageId":"reasoning_run_0"}',
        '{"type":"REASONING_ENCRYPTED_VALUE","subtype":"message","entityId":"reasoning_run_0",'
        '"encryptedValue":"sealed"}',
        '{"type":"REASONING_END","messageId":"reasoning_run_0"}',
    )


def test_seals_of_calls_and_of_what_is_not_shown_come_back_as_what_they_were() -> None:
    chunks = [Reasoning("", "opaque", redacted=True), ToolCall("a", "f", signature="c2ln")]
    told = events_of(wire(AGUI(), *chunks))
    sealed = {e["entityId"]: e for e in told if e["type"] == "REASONING_ENCRYPTED_VALUE"}
    hidden, call = sealed["reasoning_run_0"], sealed["a"]
    assert (hidden["subtype"], call["subtype"]) == ("message", "tool-call")
    (message,) = decode(
        {"id": "1", "role": "reasoning", "content": "", "encryptedValue": hidden["encryptedValue"]},
        {
            "id": "2",
            "role": "assistant",
            "toolCalls": [{**CALL, "encryptedValue": call["encryptedValue"]}],
        },
    ).messages
    assert message.thinking == [{"type": "redacted_thinking", "data": "opaque"}]
    assert message.tool_calls == [
        {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    ]


def test_parallel_tool_calls_share_the_message_of_the_text_before_them() -> None:
    chunks = [
        Text("Hm."),
        ToolCallDelta(3, "a", "weather"),
        ToolCallDelta(8, "b", "time", "{}"),
        ToolCallDelta(3, arguments='{"city":'),
        ToolCallDelta(3, arguments=' "Oslo"}'),
        Finish("tool_calls"),
        ToolResult("b", "noon"),
        ToolResult("a", {"error": "no such city"}, error=True),
        Text("Noon."),
        Finish("stop"),
    ]
    parent = '"parentMessageId":"text_run_0"'
    assert wire(AGUI(), *chunks) == transcript(
        '{"type":"STEP_STARTED","stepName":"step_1"}',
        '{"type":"TEXT_MESSAGE_START","messageId":"text_run_0","role":"assistant"}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"text_run_0","delta":"Hm."}',
        '{"type":"TEXT_MESSAGE_END","messageId":"text_run_0"}',
        f'{{"type":"TOOL_CALL_START","toolCallId":"a","toolCallName":"weather",{parent}}}',
        f'{{"type":"TOOL_CALL_START","toolCallId":"b","toolCallName":"time",{parent}}}',
        '{"type":"TOOL_CALL_ARGS","toolCallId":"b","delta":"{}"}',
        '{"type":"TOOL_CALL_ARGS","toolCallId":"a","delta":"{\\"city\\":"}',
        '{"type":"TOOL_CALL_ARGS","toolCallId":"a","delta":" \\"Oslo\\"}"}',
        '{"type":"TOOL_CALL_END","toolCallId":"a"}',
        '{"type":"TOOL_CALL_END","toolCallId":"b"}',
        '{"type":"TOOL_CALL_RESULT","messageId":"result_run_13","toolCallId":"b",'
        '"content":"noon","role":"tool"}',
        '{"type":"TOOL_CALL_RESULT","messageId":"result_run_14","toolCallId":"a",'
        '"content":"{\\"error\\":\\"no such city\\"}","metadata":{"error":true},"role":"tool"}',
        '{"type":"STEP_FINISHED","stepName":"step_1"}',
        '{"type":"STEP_STARTED","stepName":"step_2"}',
        '{"type":"TEXT_MESSAGE_START","messageId":"text_run_1","role":"assistant"}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"text_run_1","delta":"Noon."}',
        '{"type":"TEXT_MESSAGE_END","messageId":"text_run_1"}',
        '{"type":"STEP_FINISHED","stepName":"step_2"}',
        FINISHED,
    )


@pytest.mark.parametrize("between", [ToolResult("a", 1), Finish("tool_calls"), Step()])
def test_calls_without_a_text_share_a_message_of_their_own(between: Chunk) -> None:
    chunks = ToolCall("a", "f"), ToolCall("b", "f"), between, ToolCall("c", "f")
    events = events_of(wire(AGUI(), *chunks))
    parents = [e["parentMessageId"] for e in events if e["type"] == "TOOL_CALL_START"]
    assert parents == ["calls_run_0", "calls_run_0", "calls_run_2"]


def test_a_result_of_a_call_that_nobody_made_is_a_custom_event() -> None:
    stream = wire(AGUI(), ToolResult("a", [1]), ToolResult("b", "no", error=True))
    assert stream == step(
        '{"type":"CUSTOM","name":"llmstream.tool_result",'
        '"value":{"toolCallId":"a","content":"[1]"}}',
        '{"type":"CUSTOM","name":"llmstream.tool_result",'
        '"value":{"toolCallId":"b","content":"no","metadata":{"error":true}}}',
    )


def test_a_result_of_a_call_in_the_history_is_a_result() -> None:
    stream = wire(AGUI(known_calls=frozenset({"a"})), ToolResult("a", None))
    assert stream == step(
        '{"type":"TOOL_CALL_RESULT","messageId":"result_run_3","toolCallId":"a",'
        '"content":"null","role":"tool"}'
    )


def test_sources_files_and_data_are_custom_events() -> None:
    chunks = [
        Source("https://a"),
        Source("https://b", "B"),
        File("data:image/png;base64,AA==", "image/png"),
        Data("weather", None),
    ]
    assert wire(AGUI(), *chunks) == step(
        '{"type":"CUSTOM","name":"llmstream.source","value":{"url":"https://a"}}',
        '{"type":"CUSTOM","name":"llmstream.source","value":{"url":"https://b","title":"B"}}',
        '{"type":"CUSTOM","name":"llmstream.file",'
        '"value":{"url":"data:image/png;base64,AA==","mediaType":"image/png"}}',
        '{"type":"CUSTOM","name":"weather","value":null}',
    )


def test_a_step_has_its_name_or_a_number_and_raw_events_are_not_carried() -> None:
    assert wire(AGUI(), Step("plan"), Raw(ServerSentEvent("x"))) == step(name="plan")
    assert wire(AGUI(), Step(""), Raw(ServerSentEvent("x"))) == step()


USAGE = (
    '"usage":[{"model":"m","inputTokens":10,"outputTokens":5,"totalTokens":15,'
    '"reasoningTokens":3,"cachedInputTokens":4,"cacheWriteInputTokens":0}]'
)


def test_the_usage_stands_in_the_last_event() -> None:
    assert wire(AGUI(), Usage(10, 5, 4, 3), Finish("length")) == transcript(
        f'{{"type":"RUN_FINISHED",{RUN},{USAGE},"metadata":{{"finishReason":"length"}}}}'
    )


def test_a_count_that_no_client_can_read_is_left_out() -> None:
    lifecycle = Lifecycle(id="run", created=1, model="")
    encode = AGUI().encoder()
    events = [*lifecycle.start(), *lifecycle.feed(Usage(-1, 2**53)), *lifecycle.finish()]
    last = events_of(b"".join(map(encode, events)))[-1]
    assert last["usage"] == [
        {
            "totalTokens": 2**53 - 1,
            "reasoningTokens": 0,
            "cachedInputTokens": 0,
            "cacheWriteInputTokens": 0,
        }
    ]


def test_a_broken_answer_ends_in_an_error() -> None:
    chunks = Text("half"), Usage(10, 5, 4, 3), Error("Too many.", "slow_down", 429)
    assert wire(AGUI(), *chunks) == step(
        '{"type":"TEXT_MESSAGE_START","messageId":"text_run_0","role":"assistant"}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"text_run_0","delta":"half"}',
        '{"type":"TEXT_MESSAGE_END","messageId":"text_run_0"}',
        finish=f'{{"type":"RUN_ERROR","message":"Too many.","code":"slow_down",{USAGE}}}',
    )


def test_a_call_that_broke_off_has_no_end() -> None:
    assert wire(AGUI(), ToolCallDelta(0, "a", "f"), Error("Too many.")) == step(
        '{"type":"TOOL_CALL_START","toolCallId":"a","toolCallName":"f",'
        '"parentMessageId":"calls_run_0"}',
        finish='{"type":"RUN_ERROR","message":"Too many.","code":"error"}',
    )


def test_an_answer_that_was_aborted_is_an_error_too() -> None:
    assert wire(AGUI(), abort="shutdown") == transcript(
        '{"type":"RUN_ERROR","message":"The answer was aborted: shutdown.","code":"aborted"}'
    )


@pytest.mark.parametrize(("text", "escaped"), ESCAPES, ids=ascii)
def test_no_text_can_cut_the_line_that_it_stands_in(text: str, escaped: bytes) -> None:
    chunks = [
        Text(text),
        ToolCall(text, text, text),
        ToolResult(text, text),
        Source(text, text),
        File(text, text),
        Data(text, text),
        Step(text),
        Data(text, text),
        Error(text, text),
    ]
    stream = wire(AGUI(thread_id=text, run_id=text), *chunks)
    assert stream.count(escaped) >= 10
    read(stream)


def stream_of(chunks: list[Chunk], ending: str | Error) -> bytes:
    if isinstance(ending, Error):
        chunks = [*chunks, ending]
    abort = "gone" if ending in ("fail", "abort") else None
    return wire(AGUI(), *chunks, abort=abort)


@settings(deadline=None, max_examples=300)
@given(SEQUENCES, ENDINGS)
def test_whatever_order_a_producer_yields_the_stream_is_valid(
    chunks: list[Chunk], ending: str | Error
) -> None:
    stream = stream_of(chunks, ending)
    assert stream == stream_of(chunks, ending)
    reader = read(stream)
    assert reader.terminal["type"] == ("RUN_FINISHED" if ending == "finish" else "RUN_ERROR")
    texts = "".join(c.text for c in chunks if isinstance(c, Text | Refusal))
    assert reader.text_of("assistant") == texts
    assert reader.text_of("reasoning") == "".join(
        c.text for c in chunks if isinstance(c, Reasoning)
    )


@pytest.fixture(scope="module")
def model_of() -> Callable[[str], Any]:
    """Reads one event with the official models."""
    need("ag-ui-protocol", find_spec("ag_ui") is not None)
    from ag_ui.core import Event
    from pydantic import TypeAdapter

    return TypeAdapter(Event).validate_json


def test_the_official_models_know_every_event_and_all_of_its_fields(
    model_of: Callable[[str], Any],
) -> None:
    @settings(deadline=None, max_examples=200)
    @given(SEQUENCES, ENDINGS)
    def check(chunks: list[Chunk], ending: str | Error) -> None:
        for event in events_of(stream_of(chunks, ending)):
            model = model_of(json.dumps(event))
            assert not model.model_extra
            assert model.model_dump(mode="json", by_alias=True) == event

    check()


# Models now and then write arguments that are not JSON, and the protocol lets them. The rest are
# hints: calls may have a message of their own, changes of the state begin with what the request has
# and may come before a snapshot, and names of an application's events are its own.
TOLERATED = {"AGUI204", "AGUI208", "AGUI301", "AGUI304", "AGUI903"}


def test_ag_ui_validate_finds_nothing() -> None:
    need("ag-ui-validate", find_spec("ag_ui_validate") is not None)
    from ag_ui_validate import Validator

    @settings(deadline=None, max_examples=200)
    @given(SEQUENCES, ENDINGS)
    def check(chunks: list[Chunk], ending: str | Error) -> None:
        validator = Validator()
        found = [d for e in events_of(stream_of(chunks, ending)) for d in validator.feed(e)]
        found += validator.finalize()
        assert [d for d in found if d.rule not in TOLERATED] == []

    check()


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        transcript(),
        transcript(FINISHED).removesuffix(b"\n"),
        transcript(FINISHED) + b"data: [DONE]\n\n",
        transcript(FINISHED, '{"type":"CUSTOM","name":"a","value":1}'),
        transcript(STARTED, FINISHED),
        transcript('{"type":"STEP_STARTED","stepName":"a"}', FINISHED),
        step('{"type":"TEXT_MESSAGE_START","messageId":"a","role":"assistant"}'),
        step('{"type":"TEXT_MESSAGE_CONTENT","messageId":"a","delta":"a"}'),
        step('{"type":"TOOL_CALL_START","toolCallId":"a","toolCallName":null}'),
        step('{"type":"TOOL_CALL_RESULT","messageId":"m","toolCallId":"a","content":""}'),
        step('{"type":"SURPRISE"}'),
        step(finish=FINISHED.replace('"runId":"run"', '"runId":"other"')),
    ],
)
def test_the_grammar_refuses_what_a_client_would(stream: bytes) -> None:
    with pytest.raises((AssertionError, KeyError, json.JSONDecodeError)):
        read(stream)


def test_an_error_body_has_the_words_of_a_run_error() -> None:
    assert AGUI().error_body(RateLimited("No.")) == (
        b'{"type":"RUN_ERROR","message":"No.","code":"rate_limit_exceeded"}'
    )


# Requests


def decode(*messages: Any, **fields: Any) -> ChatRequest:
    body = {"threadId": "t", "runId": "r", "messages": messages, **fields}
    return AGUI().decode(decode_json(json.dumps(body).encode()))


def test_a_request_has_its_ids_and_tools_and_keeps_everything_in_its_body() -> None:
    request = decode(
        {"id": "1", "role": "user", "content": "Hi"},
        tools=[
            {"name": "f", "description": "Does.", "parameters": {"type": "object"}},
            {"name": "g", "description": ""},
        ],
        context=[{"description": "a", "value": "b"}],
        state={"x": 1},
        forwardedProps={"y": 2},
    )
    assert request.prompt == "Hi"
    assert (request.stream, request.thread_id, request.run_id) == (True, "t", "r")
    function = {"name": "f", "description": "Does.", "parameters": {"type": "object"}}
    assert request.tools == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "g", "description": ""}},
    ]
    assert request.body["context"] == [{"description": "a", "value": "b"}]
    assert request.body["state"] == {"x": 1}
    assert request.body["forwardedProps"] == {"y": 2}


def test_the_format_takes_the_requests_ids_and_the_calls_of_its_history() -> None:
    request = decode({"id": "1", "role": "assistant", "toolCalls": [CALL]})
    expected = AGUI(thread_id="t", run_id="r", known_calls=frozenset({"a"}), offered=frozenset())
    assert AGUI().for_request(request) == expected


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}


def user(*parts: Any) -> dict[str, Any]:
    return {"id": "1", "role": "user", "content": list(parts)}


def file(data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data}}


def media(type: str, source: str, value: str, mime: str | None = None) -> dict[str, Any]:
    mime_type = {} if mime is None else {"mimeType": mime}
    return {"type": type, "source": {"type": source, "value": value, **mime_type}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "developer", "content": "a"}, {"role": "developer", "content": "a"}),
        ({"role": "system", "content": "a", "name": "n"}, {"content": "a", "name": "n"}),
        ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a"}),
        (
            {"role": "assistant", "toolCalls": [{**CALL, "encryptedValue": "x"}]},
            {"content": None, "tool_calls": [CALL]},
        ),
        (
            {"role": "assistant", "content": "", "toolCalls": None},
            {"content": None, "tool_calls": []},
        ),
        (
            {"role": "tool", "toolCallId": "a", "content": "1"},
            {"content": "1", "tool_call_id": "a", "failed": False},
        ),
        (
            {"role": "tool", "toolCallId": "a", "content": "", "error": "broke"},
            {"content": "broke", "failed": True},
        ),
        (
            {"role": "tool", "toolCallId": "a", "content": [{"type": "text", "text": "1"}]},
            {"content": [{"type": "text", "text": "1"}]},
        ),
    ],
)
def test_messages_become_openais(message: Any, expected: dict[str, Any]) -> None:
    [decoded] = decode({"id": "1", **message}).messages
    assert {name: getattr(decoded, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, {"type": "text", "text": "a"}),
        (
            media("image", "url", "https://a"),
            {"type": "image_url", "image_url": {"url": "https://a"}},
        ),
        (
            media("image", "data", "AA==", "image/png"),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ),
        (
            media("audio", "data", "AA==", "audio/mpeg"),
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        ),
        (media("audio", "data", "AA==", "audio/ogg"), file("data:audio/ogg;base64,AA==")),
        (media("video", "url", "https://a"), file("https://a")),
        (media("document", "url", "https://a", "application/pdf"), file("https://a")),
        (media("document", "file", "file-1"), {"type": "file", "file": {"file_id": "file-1"}}),
        (
            {"type": "binary", "mimeType": "image/png", "data": "AA=="},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ),
        (
            {
                "type": "binary",
                "mimeType": "text/plain",
                "url": "https://a",
                "filename": "a.txt",
            },
            {"type": "file", "file": {"filename": "a.txt", "file_data": "https://a"}},
        ),
        (
            {"type": "binary", "mimeType": "text/plain", "id": "file-1"},
            {"type": "file", "file": {"file_id": "file-1"}},
        ),
    ],
)
def test_parts_become_openais(part: Any, expected: Any) -> None:
    assert decode(user(part)).messages == [ChatMessage(role="user", content=[expected])]


@pytest.mark.parametrize("part", [{"type": "hologram"}, {}, {"type": "binary", "mimeType": "a/b"}])
def test_a_part_that_we_cannot_use_is_left_out(part: Any) -> None:
    assert decode(user(part)).messages == [ChatMessage(role="user", content=[])]


def test_signed_reasoning_goes_with_the_answer_that_follows_it_and_the_rest_stays_away() -> None:
    messages = decode(
        {"id": "1", "role": "reasoning", "content": "Hm.", "encryptedValue": "s"},
        {"id": "2", "role": "assistant", "content": "a"},
        {"id": "3", "role": "reasoning", "content": "Unsigned."},
        {"id": "4", "role": "activity", "activityType": "x", "content": {"y": 1}},
        {"id": "5", "role": "assistant", "content": "b"},
    ).messages
    thinking = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]
    assert messages == [
        ChatMessage(role="assistant", content="a", thinking=thinking),
        ChatMessage(role="assistant", content="b"),
    ]


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"content": "a"}, "messages[0].role", "missing_field"),
        ({"role": "critic", "content": "a"}, "messages[0].role", "invalid_field"),
        ({"role": "user"}, "messages[0].content", "missing_field"),
        ({"role": "user", "content": {}}, "messages[0].content", "invalid_field"),
        ({"role": "user", "content": 7}, "messages[0].content", "invalid_field"),
        ({"role": "user", "content": [7]}, "messages[0].content[0]", "invalid_field"),
        (user({"type": "text"}), "messages[0].content[0].text", "missing_field"),
        (
            user({"type": "image", "source": {"type": "url"}}),
            "messages[0].content[0].source.value",
            "missing_field",
        ),
        ({"role": "tool", "content": "a"}, "messages[0].toolCallId", "missing_field"),
        (
            {"role": "assistant", "toolCalls": [{"id": "a"}]},
            "messages[0].toolCalls[0].function",
            "missing_field",
        ),
    ],
)
def test_a_bad_request_names_the_field(message: Any, param: str, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(message)
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", "threadId"),
        (b'{"threadId":"t"}', "runId"),
        (b'{"threadId":"t","runId":7}', "runId"),
        (b'{"threadId":"t","runId":"r"}', "messages"),
        (b'{"threadId":"t","runId":"r","messages":[],"tools":[{}]}', "tools[0].name"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        AGUI().decode(decode_json(body))
    assert caught.value.param == param
