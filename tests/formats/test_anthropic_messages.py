"""Anthropic messages: the wire, the requests, and what the official client makes of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_llmstream import ChatApp
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
from asgi_llmstream.errors import BadRequest, LLMStreamError
from asgi_llmstream.events import RunStarted
from asgi_llmstream.formats import AnthropicMessages, OpenAIChat
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.message import Message
from asgi_llmstream.request import ChatMessage, ChatRequest
from tests.support import anthropic_grammar
from tests.support.history import check_request
from tests.support.providers import module
from tests.support.scripted import SILENT, TEXT, serving
from tests.support.servers import serve
from tests.support.strategies import ANY_CHUNK, JSON
from tests.support.wire import events_of, wire


def usage(input: int = 0, cached: int = 0, output: int = 0, thinking: int = 0) -> str:
    return (
        f'"usage":{{"input_tokens":{input},"cache_creation_input_tokens":0,'
        f'"cache_read_input_tokens":{cached},"output_tokens":{output},'
        f'"output_tokens_details":{{"thinking_tokens":{thinking}}}}}'
    )


def transcript(*lines: str) -> str:
    """The stream of these events: each line is `type fields`."""
    written = []
    for line in lines:
        kind, _, fields = line.partition(" ")
        comma = "," if fields else ""
        written.append(f'event: {kind}\ndata: {{"type":"{kind}"{comma}{fields}}}\n\n')
    return "".join(written)


def beginning(counts: str = usage()) -> str:
    return (
        'message_start "message":{"id":"msg_run","type":"message","role":"assistant","model":"m",'
        '"content":[],"stop_reason":null,"stop_sequence":null,"stop_details":null,'
        f'"container":null,{counts[:-1]},'
        '"cache_creation":null,"inference_geo":null,"server_tool_use":null,"service_tier":"standard"}}'
    )


BEGINNING = beginning()


def start(index: int, block: str) -> str:
    return f'content_block_start "index":{index},"content_block":{{{block}}}'


def delta(index: int, delta: str) -> str:
    return f'content_block_delta "index":{index},"delta":{{{delta}}}'


def stop(index: int) -> str:
    return f'content_block_stop "index":{index}'


def ending(reason: str, counts: str = usage()) -> tuple[str, str]:
    delta = f'"stop_reason":"{reason}","stop_sequence":null,"stop_details":null'
    return f'message_delta "delta":{{{delta}}},{counts}', "message_stop"


def test_a_text_is_a_block_between_a_start_and_a_stop() -> None:
    chunks = Text("Hel"), Text("lo, Tromsø"), Usage(5, 7, 2, 3)
    assert wire(AnthropicMessages(), *chunks).decode() == transcript(
        BEGINNING,
        start(0, '"type":"text","text":"","citations":[]'),
        delta(0, '"type":"text_delta","text":"Hel"'),
        delta(0, '"type":"text_delta","text":"lo, Tromsø"'),
        stop(0),
        # Anthropic's input tokens are those that were not read from a cache.
        *ending("end_turn", usage(3, 2, 7, 3)),
    )


def test_the_start_tells_the_inputs_tokens_that_come_before_anything_else() -> None:
    chunks = Usage(5, 1, 2), Text("a"), Usage(output_tokens=7)
    assert wire(AnthropicMessages(), *chunks).decode() == transcript(
        beginning(usage(3, 2)),
        start(0, '"type":"text","text":"","citations":[]'),
        delta(0, '"type":"text_delta","text":"a"'),
        stop(0),
        *ending("end_turn", usage(3, 2, 7)),
    )


def test_an_answer_of_nothing_is_whole_all_the_same() -> None:
    assert wire(AnthropicMessages()).decode() == transcript(BEGINNING, *ending("end_turn"))


def test_a_signature_comes_just_before_its_thinking_ends() -> None:
    chunks = Reasoning("Let me "), Reasoning("see."), Reasoning("", "sealed"), Text("Yes.")
    assert wire(AnthropicMessages(), *chunks).decode() == transcript(
        BEGINNING,
        start(0, '"type":"thinking","thinking":"","signature":""'),
        delta(0, '"type":"thinking_delta","thinking":"Let me "'),
        delta(0, '"type":"thinking_delta","thinking":"see."'),
        delta(0, '"type":"signature_delta","signature":"sealed"'),
        stop(0),
        start(1, '"type":"text","text":"","citations":[]'),
        delta(1, '"type":"text_delta","text":"Yes."'),
        stop(1),
        *ending("end_turn"),
    )


def test_reasoning_that_is_not_shown_is_a_block_without_deltas() -> None:
    chunks = Reasoning("Hm."), Reasoning("", "opaque", redacted=True), Text("Yes.")
    assert wire(AnthropicMessages(), *chunks).decode() == transcript(
        BEGINNING,
        start(0, '"type":"thinking","thinking":"","signature":""'),
        delta(0, '"type":"thinking_delta","thinking":"Hm."'),
        stop(0),
        start(1, '"type":"redacted_thinking","data":"opaque"'),
        stop(1),
        start(2, '"type":"text","text":"","citations":[]'),
        delta(2, '"type":"text_delta","text":"Yes."'),
        stop(2),
        *ending("end_turn"),
    )


def test_parallel_calls_follow_each_other_and_the_first_streams_as_it_grows() -> None:
    chunks = [
        ToolCallDelta(3, "a", "f", '{"x":'),
        ToolCallDelta(8, "b", "g", '{"y"'),
        ToolCallDelta(8, arguments=":2}"),
        ToolCallDelta(3, arguments="1}"),
        ToolCall("c", "h"),
        ToolCallDelta(9, "d", "i"),
    ]
    assert wire(AnthropicMessages(), *chunks).decode() == transcript(
        BEGINNING,
        start(0, '"type":"tool_use","id":"a","name":"f","input":{},"caller":{"type":"direct"}'),
        delta(0, '"type":"input_json_delta","partial_json":"{\\"x\\":"'),
        delta(0, '"type":"input_json_delta","partial_json":"1}"'),
        stop(0),
        start(1, '"type":"tool_use","id":"b","name":"g","input":{},"caller":{"type":"direct"}'),
        delta(1, '"type":"input_json_delta","partial_json":"{\\"y\\":2}"'),
        stop(1),
        start(2, '"type":"tool_use","id":"c","name":"h","input":{},"caller":{"type":"direct"}'),
        delta(2, '"type":"input_json_delta","partial_json":"{}"'),
        stop(2),
        start(3, '"type":"tool_use","id":"d","name":"i","input":{},"caller":{"type":"direct"}'),
        delta(3, '"type":"input_json_delta","partial_json":"{}"'),
        stop(3),
        *ending("tool_use"),
    )


def test_a_call_that_waited_streams_on_when_its_turn_comes() -> None:
    chunks = [
        ToolCallDelta(0, "a", "f", "{}"),
        ToolCallDelta(1, "b", "g", '{"y"'),
        # Another id at the same index ends the first call.
        ToolCallDelta(0, "c", "h", "{}"),
        ToolCallDelta(1, arguments=":2}"),
    ]
    events = events_of(*chunks)
    encode = AnthropicMessages().encoder()
    written = [encode(event).decode() for event in events]
    last_of_b = next(i for i, text in enumerate(written) if '":2}"' in text)
    assert written[last_of_b] == transcript(
        delta(1, '"type":"input_json_delta","partial_json":":2}"')
    )
    message = anthropic_grammar.check("".join(written).encode())
    assert message is not None
    assert [block["id"] for block in message["content"]] == ["a", "b", "c"]


CITATION = (
    '"type":"citations_delta","citation":{"type":"web_search_result_location",'
    '"url":"https://a","title":"A","cited_text":"","encrypted_index":""}'
)


def test_a_source_is_a_citation_of_the_text_that_it_stands_at() -> None:
    source = Source("https://a", "A")
    text = start(0, '"type":"text","text":"","citations":[]')
    piece = delta(0, '"type":"text_delta","text":"a"')
    end = (stop(0), *ending("end_turn"))
    for chunks, expected in (
        ([source, Text("a")], (text, delta(0, CITATION), piece)),
        ([Text("a"), source, Text("a")], (text, piece, delta(0, CITATION), piece)),
        ([Text("a"), Finish(), source], (text, piece, delta(0, CITATION))),
    ):
        stream = wire(AnthropicMessages(), *chunks).decode()
        assert stream == transcript(BEGINNING, *expected, *end)


def test_a_source_without_a_title_is_called_by_its_url_since_clients_refuse_null() -> None:
    message = whole(Text("a"), Source("https://a"))
    assert message["content"][0]["citations"][0]["title"] == "https://a"


@pytest.mark.parametrize(
    "chunk",
    [
        Source("https://a"),
        ToolResult("a", 1),
        File("https://a", "image/png"),
        Data("n", 1),
        Step("s"),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_what_the_protocol_has_no_word_for_is_not_sent(chunk: Chunk) -> None:
    assert wire(AnthropicMessages(), chunk) == wire(AnthropicMessages())


@pytest.mark.parametrize(
    ("chunks", "word"),
    [
        ([Text("a"), Finish("stop")], "end_turn"),
        ([Text("a"), Finish("length")], "max_tokens"),
        ([Text("a"), Finish("tool_calls")], "tool_use"),
        ([Text("a"), Finish("content_filter")], "refusal"),
        ([Text("a"), Finish("other", "insufficient_system_resource")], "end_turn"),
        # Anthropic's own words pass.
        ([Text("a"), Finish("other", "pause_turn")], "pause_turn"),
        ([Text("a"), Finish("stop", "stop_sequence")], "stop_sequence"),
        ([Text("a"), Finish("stop", "stop")], "end_turn"),
        # A refusal that ends the answer.
        ([Refusal("No.")], "refusal"),
        ([Refusal("No."), Finish("stop", "stop")], "refusal"),
        ([Refusal("No."), Finish("length")], "max_tokens"),
        ([Refusal("No."), Finish(), Text("But yes."), Finish()], "end_turn"),
    ],
    ids=str,
)
def test_stop_reasons_are_the_protocols_own(chunks: list[Chunk], word: str) -> None:
    message = anthropic_grammar.check(wire(AnthropicMessages(), *chunks))
    assert message is not None
    assert message["stop_reason"] == word == whole(*chunks)["stop_reason"]


ERRORS = [
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (402, "billing_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (409, "invalid_request_error"),
    (413, "request_too_large"),
    (415, "invalid_request_error"),
    (429, "rate_limit_error"),
    (500, "api_error"),
    (502, "api_error"),
    (503, "overloaded_error"),
    (504, "timeout_error"),
    (529, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind"), ERRORS)
def test_an_errors_type_follows_from_its_status(status: int, kind: str) -> None:
    data = f'{{"type":"error","error":{{"type":"{kind}","message":"No."}}}}'
    assert AnthropicMessages().error_body(LLMStreamError("No.", status=status)) == data.encode()
    stream = wire(AnthropicMessages(), Text("half"), Error("No.", "c", status)).decode()
    assert stream.endswith(f"event: error\ndata: {data}\n\n")
    assert anthropic_grammar.check(stream.encode()) is None


def test_an_answer_that_was_aborted_ends_in_an_error() -> None:
    chunks = ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(1, "b", "g", "{")
    stream = wire(AnthropicMessages(), *chunks, abort="shutdown")
    assert anthropic_grammar.check(stream) is None
    *_, last = anthropic_grammar.events(stream)
    assert last["error"] == {
        "type": "api_error",
        "message": "The answer was aborted: shutdown.",
    }


BROKEN_CALLS = [
    pytest.param([ToolCallDelta(0, "a", "f")], None, id="without arguments yet"),
    pytest.param([ToolCallDelta(0, "a", "f", '{"x":')], '{"x":', id="in the arguments"),
    pytest.param([ToolCallDelta(0, "a", "f", '{"x":1}')], '{"x":1}', id="at what may be all"),
]


@pytest.mark.parametrize("abort", [None, "shutdown"])
@pytest.mark.parametrize(("chunks", "arguments"), BROKEN_CALLS)
def test_a_call_that_broke_off_is_not_stopped(
    chunks: list[Chunk], arguments: str | None, abort: str | None
) -> None:
    end = [] if abort else [Error("Oh.")]
    stream = wire(AnthropicMessages(), ToolCall("w", "g"), *chunks, *end, abort=abort)
    assert anthropic_grammar.check(stream) is None
    _, *middle, _ = anthropic_grammar.events(stream)
    assert [e["index"] for e in middle if e["type"] == "content_block_stop"] == [0]
    assert anthropic_grammar.read_blocks(middle, broken=True)[1].get("partial_json") == arguments


def test_what_waits_for_a_call_that_broke_off_is_not_sent() -> None:
    chunks = ToolCallDelta(0, "a", "f", "{"), ToolCall("b", "g"), Error("Oh.")
    _, *middle, _ = anthropic_grammar.events(wire(AnthropicMessages(), *chunks))
    (block,) = anthropic_grammar.read_blocks(middle, broken=True)
    assert block["id"] == "a"


@pytest.mark.parametrize(("chunks", "arguments"), BROKEN_CALLS)
def test_the_official_client_accumulates_a_call_that_broke_off(
    chunks: list[Chunk], arguments: str | None
) -> None:
    accumulate = module("anthropic.lib.streaming._messages").accumulate_event
    event_model: Any = TypeAdapter(module("anthropic.types").RawMessageStreamEvent)
    *events, _error = anthropic_grammar.events(wire(AnthropicMessages(), *chunks, Error("Oh.")))
    snapshot: Any = None
    json_bufs: dict[int, bytes] = {}
    for fields in events:
        event = event_model.validate_python(fields)
        snapshot = accumulate(event=event, current_snapshot=snapshot, json_bufs=json_bufs)
    (block,) = snapshot.content
    assert (block.type, block.name) == ("tool_use", "f")


# Any stream


def whole(*chunks: Chunk) -> Any:
    message = Message()
    started, *_ = events = events_of(*chunks)
    for event in events:
        message.apply(event)
    assert isinstance(started, RunStarted)
    return json.loads(AnthropicMessages().whole_body(started, message))


# Halves of an emoji are joined by the whole text only.
UNCUT = ANY_CHUNK.filter(lambda chunk: r"\ud" not in repr(chunk))
SEALED = st.builds(Reasoning, st.text(max_size=3), st.just("sealed"))
ANY_CHUNKS = st.lists(UNCUT | SEALED, max_size=12)
ANY_END = st.just([]) | st.builds(Error, st.text(), st.text()).map(lambda error: [error])


@settings(deadline=None, max_examples=300)
@given(ANY_CHUNKS, ANY_END, st.none() | st.just("shutdown"))
def test_whatever_order_a_producer_yields_the_stream_is_valid(
    chunks: list[Chunk], end: list[Chunk], abort: str | None
) -> None:
    abort = abort if not end else None
    stream = wire(AnthropicMessages(), *chunks, *end, abort=abort)
    message = anthropic_grammar.check(stream)
    assert (message is None) == bool(end or abort)
    assert stream == wire(AnthropicMessages(), *chunks, *end, abort=abort)


def parsed(block: dict[str, Any]) -> dict[str, Any]:
    """The block with its arguments as a whole message has them."""
    if block["type"] != "tool_use":
        return block
    text = block.pop("partial_json", "")
    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    return {**block, "input": given if isinstance(given, dict) else {"invalid_json": text}}


@settings(deadline=None, max_examples=200)
@given(ANY_CHUNKS)
def test_the_whole_answer_is_what_the_stream_accumulates_to(chunks: list[Chunk]) -> None:
    streamed = anthropic_grammar.check(wire(AnthropicMessages(), *chunks))
    assert streamed is not None
    streamed["content"] = [parsed(block) for block in streamed["content"]]
    assert whole(*chunks) == streamed


# Requests


def decoded(**body: Any) -> ChatRequest:
    raw = {"messages": [{"role": "user", "content": "Hi"}], **body}
    return AnthropicMessages().decode(decode_json(json.dumps(raw).encode()))


def test_the_smallest_request_is_a_message() -> None:
    raw = {"messages": [{"role": "user", "content": "Hi"}]}
    assert decoded() == ChatRequest(
        messages=[ChatMessage(role="user", content="Hi")], include_usage=True, body=raw
    )


THINKING = [
    {"type": "thinking", "thinking": "Hm.", "signature": "sealed"},
    {"type": "redacted_thinking", "data": "…"},
]
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AA=="}
CONVERSATION: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source": {**PDF, "media_type": "image/png"}},
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            {"type": "document", "source": PDF, "title": "a.pdf"},
            {"type": "search_result", "source": "https://a", "title": "A", "content": []},
        ],
    },
    {
        "role": "assistant",
        "content": [
            *THINKING,
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": "ø"}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "a",
                "content": [{"type": "text", "text": "42"}],
            },
            {
                "type": "tool_result",
                "tool_use_id": "b",
                "content": [{"type": "text", "text": "No."}],
                "is_error": True,
            },
            {"type": "text", "text": "And now?"},
        ],
    },
    {"role": "assistant", "content": "It is 42."},
    {"role": "user", "content": "Thanks."},
]


def test_a_conversation_becomes_chat_messages() -> None:
    got = decoded(messages=CONVERSATION, system=[{"type": "text", "text": "Be brief."}])
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":"ø"}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    file = {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}
    assert got.to_openai() == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "file", "file": file},
                CONVERSATION[0]["content"][4],
            ],
        },
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "content": "42", "tool_call_id": "a"},
        {"role": "tool", "content": "No.", "tool_call_id": "b"},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "Thanks."},
    ]
    assert got.messages[2].thinking == THINKING
    assert got.messages[4].failed
    assert got.prompt == "Thanks."


MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def test_marks_for_the_prompt_cache_go_on_to_anthropic_where_they_stood() -> None:
    body = {
        "system": [
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "A long handbook.", **MARK},
        ],
        "tools": [
            {"name": "f", "input_schema": {"type": "object"}},
            {"name": "g", "input_schema": {"type": "object"}, **MARK},
            {"type": "web_search_20250305", "name": "web_search", **MARK},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", **MARK}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}, **MARK},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [TEXT_42], **MARK},
                    {"type": "image", "source": {"type": "url", "url": "https://a"}, **MARK},
                ],
            },
        ],
        **MARK,
    }
    got = decoded(**body)
    assert got.to_anthropic() == body
    assert "cache_control" not in json.dumps([got.to_openai(), got.tools[:2]])
    marked = got.to_openai(cache_control=True)
    assert marked[1]["content"] == [{"type": "text", "text": "Hi", **MARK}]


TEXT_42 = {"type": "text", "text": "42"}


def test_marks_of_clients_that_speak_chat_go_on_to_anthropic_too() -> None:
    part = {"type": "text", "text": "A long handbook.", **MARK}
    request = OpenAIChat().decode(
        {"messages": [{"role": "system", "content": [part]}, {"role": "user", "content": "Hi"}]}
    )
    assert request.to_anthropic()["system"] == [part]
    assert request.to_openai(cache_control=True)[0]["content"] == [part]


def test_what_anthropics_own_tools_found_goes_back_to_anthropic_alone() -> None:
    searched = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "Found."},
    ]
    said = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": searched},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": searched[:2]},
        {"role": "user", "content": "Well?"},
    ]
    got = decoded(messages=said)
    assert got.to_anthropic()["messages"] == said
    contents = [message["content"] for message in got.to_openai()]
    assert contents == ["Hi", [searched[2]], "And?", "", "Well?"]


def test_the_same_conversation_goes_on_to_anthropic_as_it_came() -> None:
    tools = [
        {"name": "f", "description": "Does f.", "input_schema": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    body = {
        "system": "Be brief.",
        "messages": CONVERSATION,
        "tools": tools,
        "tool_choice": {"type": "tool", "name": "f"},
    }
    got = decoded(**body)
    assert got.to_anthropic() == body
    function = {"name": "f", "description": "Does f.", "parameters": {"type": "object"}}
    assert got.tools == [{"type": "function", "function": function}, tools[1]]


@pytest.mark.parametrize(
    ("choice", "chat"),
    [("auto", "auto"), ("any", "required"), ("none", "none")],
)
def test_the_choice_of_tools_is_told_in_both_words(choice: str, chat: str) -> None:
    tools = [{"name": "f", "input_schema": {}}]
    got = decoded(tools=tools, tool_choice={"type": choice, "disable_parallel_tool_use": True})
    assert got.tool_choice == chat
    assert got.to_anthropic()["tool_choice"] == {"type": choice}
    assert got.settings == {"parallel_tool_calls": False}


def test_settings_are_told_in_the_words_of_chat() -> None:
    got = decoded(model="m", stream=True, max_tokens=9, temperature=1, stop_sequences=["x"])
    assert (got.model, got.stream, got.include_usage) == ("m", True, True)
    assert got.settings == {"max_tokens": 9, "temperature": 1, "stop": ["x"]}


BAD: list[tuple[object, str | None, str]] = [
    ({}, "messages", "messages is required."),
    ({"messages": []}, "messages", "messages must not be empty."),
    (
        {"messages": [{"role": "user", "content": None}]},
        "messages[0].content",
        "messages[0].content is not valid: Expected `str | array`, got `null`.",
    ),
    (
        {"messages": [{"role": "tool", "content": "Hi"}]},
        "messages[0].role",
        "messages[0].role must be one of user, assistant, system.",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
        "messages[0].content[0].tool_use_id",
        "messages[0].content[0].tool_use_id is required.",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": 1}]}
            ]
        },
        "messages[0].content[0].name",
        "messages[0].content[0].name is not valid: Expected `str`, got `int`.",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        "messages[0].content[0].source.type",
        "messages[0].content[0].source.type is required.",
    ),
    (
        {"messages": [{"role": "user", "content": "Hi"}], "system": [{"type": "text"}]},
        "system[0].text",
        "system[0].text is required.",
    ),
    ([], None, "The body must be a JSON object."),
]


@pytest.mark.parametrize(("body", "param", "message"), BAD, ids=[str(bad[0])[:60] for bad in BAD])
def test_a_bad_field_is_named(body: object, param: str | None, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        AnthropicMessages().decode(decode_json(json.dumps(body).encode()))
    assert (raised.value.param, raised.value.message) == (param, message)


BLOCKS = st.dictionaries(
    st.sampled_from(["type", "text", "source", "id", "name", "input", "tool_use_id", "content"]),
    st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking"]) | JSON,
    max_size=5,
)
NEARLY_MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.text(max_size=4) | st.lists(BLOCKS, max_size=3) | JSON,
    }
)


@settings(deadline=None, max_examples=500)
@given(st.lists(NEARLY_MESSAGES, max_size=3) | JSON, JSON)
def test_arbitrary_json_is_a_request_or_a_bad_request(messages: object, tools: object) -> None:
    body = json.dumps({"messages": messages, "tools": [tools]})
    try:
        got = AnthropicMessages().decode(decode_json(body.encode()))
    except BadRequest:
        return
    check_request(got)


# The official client, over a socket


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    anthropic = module("anthropic")
    with anthropic.Anthropic(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
        yield client


def asking(prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "m", "max_tokens": 100, "messages": messages}


def said(message: Any) -> Any:
    """The message without its id and what only the helper adds."""
    dump = message.model_dump(exclude={"id"})
    for block in dump["content"]:
        block.pop("parsed_output", None)
    return dump


@pytest.mark.parametrize("prompt", ["everything", "loop", "decline", "length", "filter"])
def test_the_helper_accumulates_to_the_same_as_the_whole_answer(client: Any, prompt: str) -> None:
    with client.messages.stream(**asking(prompt)) as stream:
        helped = stream.get_final_message()
    assert said(helped) == said(client.messages.create(**asking(prompt)))


def test_text_thinking_parallel_calls_and_usage_arrive(client: Any) -> None:
    with client.messages.stream(**asking("everything")) as stream:
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    thinking, text, *calls = message.content
    assert "".join(texts) == text.text == TEXT
    assert (thinking.thinking, thinking.signature) == ("Let me think.", "sealed")
    assert text.citations[0].url == "https://example.org/a"
    assert [(call.id, call.name, call.input) for call in calls] == [
        ("call_a", "add", {"x": 1}),
        ("call_b", "sub", {"y": 2}),
        ("call_c", "mul", {"z": 3}),
    ]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (3, 2)
    assert message.usage.output_tokens == 7
    assert message.usage.output_tokens_details.thinking_tokens == 3


def test_the_raw_stream_has_the_same_events(client: Any) -> None:
    events = list(client.messages.create(**asking("everything"), stream=True))
    assert events[0].type == "message_start"
    assert [event.type for event in events[-2:]] == ["message_delta", "message_stop"]
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    assert "".join(delta.text for delta in deltas if delta.type == "text_delta") == TEXT


@pytest.mark.parametrize(
    ("prompt", "reason"), [("length", "max_tokens"), ("decline", "refusal"), ("filter", "refusal")]
)
def test_endings_say_why(client: Any, prompt: str, reason: str) -> None:
    assert client.messages.create(**asking(prompt)).stop_reason == reason


@pytest.mark.parametrize("stream", [True, False])
def test_a_rate_limit_before_the_first_chunk_is_a_429_with_retry_after(
    client: Any, stream: bool
) -> None:
    with pytest.raises(module("anthropic").RateLimitError) as caught:
        client.messages.create(**asking("limit"), stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.body["error"]["type"] == "rate_limit_error"


def test_a_bad_request_names_its_field(client: Any) -> None:
    with pytest.raises(module("anthropic").BadRequestError, match=r"messages\[0\].role must be"):
        client.messages.create(
            model="m", max_tokens=1, messages=[{"role": "wizard", "content": "Hi"}]
        )


@pytest.mark.parametrize("helper", [True, False])
@pytest.mark.parametrize(
    ("prompt", "said"), [("break", "could not finish"), ("break openly", "The cat sat")]
)
def test_an_error_in_mid_stream_raises_and_shows_only_what_is_safe(
    client: Any, prompt: str, said: str, helper: bool
) -> None:
    with pytest.raises(module("anthropic").APIStatusError, match=said) as caught:
        if helper:
            with client.messages.stream(**asking(prompt)) as stream:
                stream.get_final_message()
        else:
            list(client.messages.create(**asking(prompt), stream=True))
    assert caught.value.body["error"]["type"] == "api_error"
    assert "hunter2" not in str(caught.value.body)


@pytest.mark.parametrize("helper", [True, False])
def test_a_line_that_is_cut_in_mid_stream_raises(client: Any, helper: bool) -> None:
    texts = []
    with pytest.raises(module("httpx2").RemoteProtocolError):
        if helper:
            with client.messages.stream(**asking("kill")) as stream:
                for text in stream.text_stream:
                    texts.append(text)
        else:
            for event in client.messages.create(**asking("kill"), stream=True):
                if event.type == "content_block_delta":
                    texts.append(event.delta.text)
    assert texts == ["Hel"]


def test_heartbeats_lose_nothing_and_add_no_event() -> None:
    anthropic = module("anthropic")
    with serving(SILENT) as url:
        with anthropic.Anthropic(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
            events = list(client.messages.create(**asking("silence"), stream=True))
    deltas = [e.delta.text for e in events if e.type == "content_block_delta"]
    assert deltas == ["Hel", "lo", "!"]
    assert len(events) == len(deltas) + 5


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_runner_sends_everything_again_when_it_wants_a_thread(stream: bool) -> None:
    anthropic = module("anthropic")
    conversations: list[list[str]] = []

    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        conversations.append([message.role for message in request.messages])
        if request.messages[-1].role == "tool":
            yield f"It is {request.messages[-1].text}."
        else:
            yield ToolCall("call_a", "add", {"x": 1, "y": 2})

    def add(x: int, y: int) -> str:
        """Add.

        Args:
            x: one
            y: the other
        """
        return str(x + y)

    app = Starlette(routes=[Mount("/v1", ChatApp(answer))])
    with (
        serve(app) as url,
        anthropic.Anthropic(base_url=url, api_key="-", max_retries=0, timeout=10) as client,
    ):
        tools = [anthropic.beta_tool(add)]
        runner = client.beta.messages.tool_runner(**asking("1 + 2"), tools=tools, stream=stream)
        messages = [turn.get_final_message() if stream else turn for turn in runner]
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    assert messages[-1].content[0].text == "It is 3."
    assert conversations == [["user"], ["user", "assistant", "tool"]]


@pytest.mark.parametrize("kind", ["create", "continue"])
def test_a_thread_is_refused_in_the_words_that_both_sdks_understand(kind: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    with pytest.raises(BadRequest) as raised:
        AnthropicMessages().decode({"messages": messages, "thread": {"type": kind}})
    body = json.loads(AnthropicMessages().error_body(raised.value))
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
    assert AnthropicMessages().decode({"messages": messages, "thread": None}).prompt == "Hi"
