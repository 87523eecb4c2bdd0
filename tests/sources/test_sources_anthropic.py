"""Anthropic's streams, through the SDK's own classes, read as the SDK's accumulator reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from asgi_llmstream.chunks import (
    Error,
    Finish,
    Reasoning,
    Source,
    Text,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.events import RunStarted
from asgi_llmstream.formats import AnthropicMessages
from asgi_llmstream.message import Message
from asgi_llmstream.sources import chunks_of
from tests.support import anthropic_grammar
from tests.support.history import check_anthropic
from tests.support.providers import (
    events_of,
    message_of,
    module,
    ran_by_provider,
    read,
    recorded,
    sse,
    through_openai,
)
from tests.support.wire import wire

Event = dict[str, Any]


def start(**usage: Any) -> Event:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1, **usage},
    }
    return {"type": "message_start", "message": message}


def block(index: int, content: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[Event]:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return block(index, {"type": "text", "text": ""}, *deltas)


def thinking(index: int, *pieces: str, signature: str) -> list[Event]:
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        *({"type": "thinking_delta", "thinking": piece} for piece in pieces),
        {"type": "signature_delta", "signature": signature},
    )


def tool(index: int, id: str, name: str, *pieces: str, kind: str = "tool_use") -> list[Event]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, {"type": kind, "id": id, "name": name, "input": {}}, *deltas)


def end(stop_reason: str, output_tokens: int = 5, **usage: Any) -> list[Event]:
    return [
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": {"output_tokens": output_tokens, **usage},
        },
        {"type": "message_stop"},
    ]


PING: Event = {"type": "ping"}

STREAMS: dict[str, list[Event]] = {
    "text": [start(), PING, *text(0, "Hel", "lo"), *end("end_turn")],
    "text that begins in the block's start": [
        start(),
        *block(0, {"type": "text", "text": "Hel"}, {"type": "text_delta", "text": "lo"}),
        *end("end_turn"),
    ],
    "reasoning": [
        start(),
        *thinking(0, "Let me ", "see.", signature="EqQB"),
        *text(1, "Well."),
        *end("end_turn", output_tokens_details={"thinking_tokens": 3}),
    ],
    "reasoning that is kept from us": [
        start(),
        *thinking(0, signature="EqQB"),
        *text(1, "Well."),
        *end("end_turn"),
    ],
    "reasoning that is not shown at all": [
        start(),
        *block(0, {"type": "redacted_thinking", "data": "opaque"}),
        *thinking(1, "Two.", signature="sig2"),
        *text(2, "Well."),
        *end("end_turn"),
    ],
    "reasoning twice": [
        start(),
        *thinking(0, "One.", signature="sig1"),
        *thinking(1, "Two.", signature="sig2"),
        *tool(2, "toolu_1", "f", "{}"),
        *end("tool_use"),
    ],
    "parallel tool calls": [
        start(),
        *text(0, "I look."),
        *tool(1, "toolu_1", "weather", "", '{"city": "Os', 'lo"}'),
        *tool(2, "toolu_2", "time"),
        *end("tool_use"),
    ],
    "a tool that Anthropic runs": [
        start(),
        *tool(0, "srvtoolu_1", "web_search", '{"query":', ' "x"}', kind="server_tool_use"),
        *block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
        *block(
            2,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": "Found."},
            {
                "type": "citations_delta",
                "citation": {
                    "type": "web_search_result_location",
                    "url": "https://example.org",
                    "title": "Example",
                    "cited_text": "x",
                    "encrypted_index": "x",
                },
            },
        ),
        *tool(3, "toolu_1", "f", '{"x": 1}'),
        *end("tool_use"),
    ],
    "usage that the cache had a part in": [
        start(cache_read_input_tokens=20, cache_creation_input_tokens=7),
        *text(0, "Hi"),
        *end("end_turn", 9),
    ],
    "usage that counts up": [
        start(),
        *text(0, "Hi"),
        *end(
            "end_turn",
            9,
            input_tokens=30,
            cache_read_input_tokens=2,
            cache_creation_input_tokens=0,
        ),
    ],
    "a refusal": [start(), *text(0, "I "), *end("refusal")],
    "too long": [start(), *text(0, "And then"), *end("max_tokens")],
    "an event and a delta that nobody knows yet": [
        start(),
        {"type": "mood", "mood": "good"},
        *block(0, {"type": "text", "text": ""}, {"type": "smile_delta", "smile": ":)"}),
        *text(1, "Hi"),
        *end("end_turn"),
    ],
}


def client(body: bytes) -> Any:
    httpx2 = module("httpx2")
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers=headers, content=body)
    )
    return module("anthropic").Anthropic(
        api_key="k", base_url="http://upstream", http_client=httpx2.Client(transport=transport)
    )


ASK: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": []}


def as_dicts(body: bytes) -> list[object]:
    return [event for event in events_of(body) if event["type"] != "mood"]


def as_raw_events(body: bytes) -> list[object]:
    with client(body) as anthropic:
        return list(anthropic.messages.create(stream=True, **ASK))


def as_helper_events(body: bytes) -> list[object]:
    with client(body) as anthropic, anthropic.messages.stream(**ASK) as stream:
        return list(stream)


def as_text_stream(body: bytes) -> list[object]:
    with client(body) as anthropic, anthropic.messages.stream(**ASK) as stream:
        return list(stream.text_stream)


def accumulated(body: bytes) -> Any:
    """The message that the SDK's own accumulator makes of the stream."""
    with client(body) as anthropic, anthropic.messages.stream(**ASK) as stream:
        return stream.get_final_message()


def whole(blocks: Iterable[Any], kind: str, field: str) -> str:
    return "".join(getattr(block, field) for block in blocks if block.type == kind)


SHAPES = pytest.mark.parametrize("shape", [as_dicts, as_raw_events, as_helper_events])


@SHAPES
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_becomes_the_message_that_the_sdk_makes_of_it(
    name: str, shape: Callable[[bytes], list[object]]
) -> None:
    body = sse(STREAMS[name])
    theirs, ours = accumulated(body), message_of(shape(body))
    assert ours.text == whole(theirs.content, "text", "text")
    assert ours.reasoning == whole(theirs.content, "thinking", "thinking")
    assert [(call.id, call.name, call.parse()) for call in ours.tool_calls] == [
        (block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"
    ]
    used = theirs.usage
    cached = used.cache_read_input_tokens or 0
    details = used.output_tokens_details
    assert ours.usage == Usage(
        used.input_tokens + cached + (used.cache_creation_input_tokens or 0),
        used.output_tokens,
        cached,
        details.thinking_tokens if details else 0,
        used.cache_creation_input_tokens or 0,
    )
    assert ours.native_finish_reason == theirs.stop_reason


@SHAPES
def test_what_anthropic_runs_is_the_providers_with_what_it_found(
    shape: Callable[[bytes], list[object]],
) -> None:
    message = message_of(shape(sse(STREAMS["a tool that Anthropic runs"])))
    assert ran_by_provider(message) == [("srvtoolu_1", "web_search", '{"query": "x"}')]
    assert message.tool_results == [ToolResult("srvtoolu_1", [])]


@pytest.mark.parametrize(
    ("kind", "fields", "failed"),
    [
        ("mcp_tool_result", {"is_error": True, "content": [{"type": "text", "text": "Oh."}]}, True),
        ("mcp_tool_result", {"is_error": False, "content": []}, False),
        (
            "web_fetch_tool_result",
            {"content": {"type": "web_fetch_tool_result_error", "error_code": "unavailable"}},
            True,
        ),
        ("code_execution_tool_result", {"content": {"type": "code_execution_result"}}, False),
    ],
)
def test_the_result_of_a_tool_of_anthropics_says_whether_it_failed(
    kind: str, fields: dict[str, Any], failed: bool
) -> None:
    begin, _end = block(0, {"type": kind, "tool_use_id": "srv", **fields})
    assert read(begin) == [ToolResult("srv", fields["content"], failed)]


@SHAPES
@pytest.mark.parametrize("name", STREAMS)
def test_the_openai_client_accumulates_what_the_anthropic_client_does(
    name: str, shape: Callable[[bytes], list[object]]
) -> None:
    body = sse(STREAMS[name])
    theirs, completion = accumulated(body), through_openai(shape(body))
    choice = completion.choices[0]
    assert (choice.message.content or "") == whole(theirs.content, "text", "text")
    calls = [
        (c.id, json.loads(c.function.arguments or "{}")) for c in choice.message.tool_calls or ()
    ]
    assert calls == [(b.id, b.input) for b in theirs.content if b.type == "tool_use"]
    assert completion.usage.completion_tokens == theirs.usage.output_tokens


@SHAPES
@pytest.mark.parametrize(
    "name", [name for name in STREAMS if name not in ("a tool that Anthropic runs",)]
)
def test_as_history_it_is_what_the_sdk_would_send_back(
    name: str, shape: Callable[[bytes], list[object]]
) -> None:
    body = sse(STREAMS[name])
    fields = {"text", "thinking", "signature", "id", "name", "input", "type", "data"}
    sent_back = [
        {key: value for key, value in block.to_dict().items() if key in fields}
        for block in accumulated(body).content
        if block.type != "text" or block.text
    ]
    said, *results = message_of(shape(body)).to_anthropic()
    assert said == {"role": "assistant", "content": sent_back}
    check_anthropic([said, *results])


@pytest.mark.parametrize("shape", [as_dicts, as_raw_events, as_helper_events, as_text_stream])
def test_a_recorded_stream_becomes_the_message_that_it_holds(
    shape: Callable[[bytes], list[object]],
) -> None:
    body = recorded("anthropic_messages_text.jsonl")
    theirs, ours = accumulated(body), message_of(shape(body))
    assert len(ours.text) > 100
    assert ours.text == theirs.content[0].text
    if shape is not as_text_stream:
        assert ours.usage == Usage(39, 80, 24)
        assert (ours.finish_reason, ours.native_finish_reason) == ("length", "max_tokens")


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "other"),
        ("something_new", "other"),
    ],
)
def test_stop_reasons_are_told_in_our_words_and_kept_in_theirs(
    stop_reason: str, reason: Any
) -> None:
    assert read(end(stop_reason)[0]) == [Usage(0, 5), Finish(reason, stop_reason)]


def test_every_stop_reason_of_the_sdk_has_a_word_of_ours() -> None:
    types = module("anthropic.types.stop_reason")
    native = types.StopReason.__args__
    others = {word for word in native if read(end(word)[0])[1] == Finish("other", word)}
    assert others == {"pause_turn"}


def test_a_whole_message_is_read_too_as_an_object_and_as_a_dict() -> None:
    types = module("anthropic.types")
    fields = {
        **start(cache_read_input_tokens=4)["message"],
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
            {"type": "text", "text": "Hi", "citations": None},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": "ø"}},
        ],
        "stop_reason": "tool_use",
    }
    expected = [
        Reasoning("Hm.", "sig"),
        Text("Hi"),
        ToolCallDelta(2, "toolu_1", "f", '{"x":"ø"}'),
        Usage(14, 1, 4),
        Finish("tool_calls", "tool_use"),
    ]
    assert read(fields) == expected
    assert read(types.Message.model_validate(fields)) == expected


def test_citations_become_sources_if_they_have_an_address() -> None:
    message = message_of(as_raw_events(sse(STREAMS["a tool that Anthropic runs"])))
    assert message.sources == [Source("https://example.org", "Example")]
    page = {"type": "char_location", "document_title": "A book", "cited_text": "x"}
    delta = {"type": "citations_delta", "citation": page}
    assert read({"type": "content_block_delta", "index": 0, "delta": delta}) == []


def test_a_tool_that_anthropic_runs_is_nobodys_to_answer() -> None:
    message = message_of(as_raw_events(sse(STREAMS["a tool that Anthropic runs"])))
    assert [call.id for call in message.tool_calls] == ["toolu_1"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("overloaded_error", 503),
        ("rate_limit_error", 429),
        ("timeout_error", 504),
        ("api_error", 502),
        ("something_new", 502),
    ],
)
def test_an_error_event_ends_the_answer_without_the_providers_text(kind: str, status: int) -> None:
    (chunk,) = read({"type": "error", "error": {"type": kind, "message": "sk-secret"}})
    assert isinstance(chunk, Error)
    assert chunk.status == status
    assert "sk-secret" not in chunk.message


def test_the_sdk_itself_raises_at_an_error_event() -> None:
    anthropic = module("anthropic")
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "sk-secret"}}
    with pytest.raises(anthropic.APIStatusError):
        as_raw_events(sse([start(), *text(0, "Hi")[:-1], error]))


REFUSED = {"type": "refusal", "category": "cyber", "explanation": "No."}


def refusing() -> list[Event]:
    last, stop = end("refusal")
    last["delta"]["stop_details"] = REFUSED
    return [start(), *text(0, "I"), last, stop]


@SHAPES
def test_why_it_refused_goes_out_to_anthropics_clients_streamed_and_whole(
    shape: Callable[[bytes], list[object]],
) -> None:
    items = shape(sse(refusing()))
    assert message_of(items).finish_details == REFUSED
    *_, last, _ = anthropic_grammar.events(wire_of(items))
    assert last["delta"]["stop_details"] == REFUSED
    assert json.loads(whole_of(items))["stop_details"] == REFUSED


def test_why_a_whole_message_was_refused_is_read_too() -> None:
    types = module("anthropic.types")
    fields = {**start()["message"], "content": [], "stop_reason": "refusal"}
    fields["stop_details"] = REFUSED
    for item in (fields, types.Message.model_validate(fields)):
        assert message_of([item]).finish_details == REFUSED


@pytest.mark.parametrize(
    "word",
    ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "model_context_window_exceeded"],
)
def test_every_stop_reason_of_anthropics_is_the_same_to_its_clients(word: str) -> None:
    items = [start(), *text(0, "I"), *end(word)]
    for body in (wire_of(items), whole_of(items)):
        assert f'"stop_reason":"{word}"'.encode() in body


@SHAPES
def test_the_sequence_that_ended_it_goes_out_to_anthropics_clients_streamed_and_whole(
    shape: Callable[[bytes], list[object]],
) -> None:
    last, stop = end("stop_sequence")
    last["delta"]["stop_sequence"] = "###"
    items = shape(sse([start(), *text(0, "I"), last, stop]))
    *_, told, _ = anthropic_grammar.events(wire_of(items))
    assert told["delta"] == {
        "stop_reason": "stop_sequence",
        "stop_sequence": "###",
        "stop_details": None,
    }
    whole = json.loads(whole_of(items))
    assert told["delta"].items() <= whole.items()
    assert message_of([{**whole, "content": []}]).finish_details == {"stop_sequence": "###"}


def test_reasoning_that_is_not_shown_goes_out_and_back_as_it_came() -> None:
    items = STREAMS["reasoning that is not shown at all"]
    hidden = {"type": "redacted_thinking", "data": "opaque"}
    for body in (wire_of(items), whole_of(items)):
        assert json.dumps(hidden, separators=(",", ":")).encode() in body
    message = message_of(items)
    assert message.reasoning == "Two."
    assert message.to_anthropic()[0]["content"][:2] == [
        hidden,
        {"type": "thinking", "thinking": "Two.", "signature": "sig2"},
    ]
    again = Message.from_dict(json.loads(json.dumps(message.to_dict())))
    assert again.to_anthropic() == message.to_anthropic()
    assert message_of(list(message.to_chunks())).to_anthropic() == message.to_anthropic()


def wire_of(items: list[Any]) -> bytes:
    chunks = [chunk for item in items for chunk in chunks_of(item)]
    return wire(AnthropicMessages(), *chunks)


def whole_of(items: list[Any]) -> bytes:
    return AnthropicMessages().whole_body(RunStarted(1, "run", 0, "m"), message_of(items))
