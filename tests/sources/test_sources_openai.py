"""OpenAI's chat and text completions and its Responses, through the SDK's own classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Error,
    Finish,
    Reasoning,
    Source,
    Text,
    ToolCallDelta,
    ToolResult,
    Usage,
)
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

Event = dict[str, Any]
Shape = Callable[[bytes], list[object]]


def client(body: bytes) -> Any:
    httpx2 = module("httpx2")
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers=headers, content=body)
    )
    return module("openai").OpenAI(
        api_key="k", base_url="http://upstream", http_client=httpx2.Client(transport=transport)
    )


def as_dicts(body: bytes) -> list[object]:
    return list(events_of(body))


# Chat completions


def chunk(finish_reason: str | None = None, **delta: Any) -> Event:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return envelope(choices=[choice])


def envelope(**fields: Any) -> Event:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}


def piece(index: int, arguments: str, **fields: Any) -> Event:
    """A piece of a tool call; the first has an id and a name."""
    function = {"arguments": arguments}
    if name := fields.pop("name", None):
        function["name"] = name
        fields["type"] = "function"
    return {"index": index, "function": function, **fields}


USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}

CHATS: dict[str, list[Event]] = {
    "text": [
        chunk(role="assistant", content=""),
        chunk(content="Hel"),
        chunk(content="lo"),
        chunk("stop"),
        envelope(choices=[], usage=USAGE),
    ],
    "reasoning": [
        chunk(role="assistant", content=None, reasoning_content="Let me "),
        chunk(reasoning_content="see."),
        chunk(content="Well."),
        chunk("stop"),
    ],
    "parallel tool calls": [
        chunk(role="assistant", content=None),
        chunk(tool_calls=[piece(0, "", id="call_a", name="weather")]),
        chunk(tool_calls=[piece(0, '{"city": ')]),
        chunk(tool_calls=[piece(1, "{}", id="call_b", name="time")]),
        chunk(tool_calls=[piece(0, '"Oslo"}')]),
        chunk("tool_calls"),
    ],
    "a refusal": [
        chunk(role="assistant", content=None, refusal="I would "),
        chunk(refusal="rather not."),
        chunk("stop"),
    ],
    "too long": [chunk(content="And then"), chunk("length")],
    "filtered": [chunk(content="And"), chunk("content_filter")],
}

ASK: dict[str, Any] = {"model": "m", "messages": []}


def as_chunks(body: bytes) -> list[object]:
    with client(body) as openai:
        return list(openai.chat.completions.create(stream=True, **ASK))


def as_chat_events(body: bytes) -> list[object]:
    """The helper stream raises at endings that it cannot parse; what came before counts."""
    openai = module("openai")
    seen: list[object] = []
    with client(body) as sdk, sdk.chat.completions.stream(**ASK) as stream:
        try:
            seen.extend(stream)
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            pytest.skip("the helper stream raises at this finish reason")
    return seen


def accumulated_chat(body: bytes) -> Any:
    """The completion that the SDK's own accumulator makes of the stream."""
    state = module("openai.lib.streaming.chat").ChatCompletionStreamState()
    for item in as_chunks(body):
        state.handle_chunk(item)
    return state.current_completion_snapshot


CHAT_SHAPES = pytest.mark.parametrize("shape", [as_dicts, as_chunks, as_chat_events])


@CHAT_SHAPES
@pytest.mark.parametrize("name", CHATS)
def test_a_chat_stream_becomes_the_message_that_the_sdk_makes_of_it(
    name: str, shape: Shape
) -> None:
    body = sse(CHATS[name])
    ours, theirs = message_of(shape(body)), accumulated_chat(body)
    (choice,) = theirs.choices
    assert ours.text == (choice.message.content or "")
    assert ours.refusal == (choice.message.refusal or "")
    assert ours.reasoning == (getattr(choice.message, "reasoning_content", None) or "")
    assert [(call.id, call.name, call.arguments) for call in ours.tool_calls] == [
        (call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or ()
    ]
    assert ours.native_finish_reason == choice.finish_reason
    assert ours.usage == (Usage(10, 5, 4, 3) if theirs.usage else None)


@CHAT_SHAPES
@pytest.mark.parametrize("name", CHATS)
def test_a_chat_stream_that_passed_through_us_accumulates_the_same(name: str, shape: Shape) -> None:
    body = sse(CHATS[name])
    (theirs,), (ours,) = accumulated_chat(body).choices, through_openai(shape(body)).choices
    assert (ours.message.content or "") == (theirs.message.content or "")
    assert ours.message.refusal == theirs.message.refusal
    assert ours.message.tool_calls == theirs.message.tool_calls
    assert ours.finish_reason == theirs.finish_reason


def as_it_is(fields: Event) -> object:
    return fields


def as_completion(fields: Event) -> object:
    return module("openai.types.chat").ChatCompletion.model_validate(fields)


@pytest.mark.parametrize("shape", [as_it_is, as_completion])
def test_a_whole_completion_is_read_too(shape: Callable[[Event], object]) -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "any text"}},
    ]
    page = {"url": "https://example.org", "title": "Example", "start_index": 0, "end_index": 1}
    answer = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning_content": "Hm.",
        "tool_calls": calls,
        "annotations": [{"type": "url_citation", "url_citation": page}],
    }
    choice = {"index": 0, "message": answer, "finish_reason": "tool_calls", "logprobs": None}
    fields = {**envelope(choices=[choice], usage=USAGE), "object": "chat.completion"}
    assert read(shape(fields)) == [
        Reasoning("Hm."),
        Text("Hi"),
        Source("https://example.org", "Example"),
        ToolCallDelta(0, "a", "f", '{"x":1}'),
        ToolCallDelta(1, "b", "g", "any text"),
        Finish("tool_calls", "tool_calls"),
        Usage(10, 5, 4, 3),
    ]


def as_text_completion(fields: Event) -> object:
    return module("openai.types").Completion.model_validate(fields)


@pytest.mark.parametrize("shape", [as_it_is, as_text_completion])
@pytest.mark.parametrize(
    ("text", "finish_reason", "expected"),
    [("Hi", None, [Text("Hi")]), ("", "length", [Finish("length", "length")])],
)
def test_text_completions_are_read_as_openai_and_llama_cpp_python_have_them(
    text: str, finish_reason: str | None, expected: list[Chunk], shape: Callable[[Event], object]
) -> None:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}
    fields = {**envelope(choices=[choice]), "object": "text_completion"}
    if shape is as_text_completion and finish_reason is None:
        fields["choices"] = [{**choice, "finish_reason": "stop"}]  # the SDK knows no null there
        expected = [*expected, Finish("stop", "stop")]
    assert read(shape(fields)) == expected


def test_llama_cpp_pythons_chat_chunks_are_read() -> None:
    # As `Llama.create_chat_completion(stream=True)` yields them.
    common = {
        "id": "chatcmpl-1",
        "model": "m.gguf",
        "created": 1,
        "object": "chat.completion.chunk",
    }
    message = message_of(
        {**common, "choices": [{"index": 0, "logprobs": None, **choice}]}
        for choice in (
            {"delta": {"role": "assistant"}, "finish_reason": None},
            {"delta": {"content": "Hi"}, "finish_reason": None},
            {"delta": {}, "finish_reason": "stop"},
        )
    )
    assert (message.text, message.finish_reason) == ("Hi", "stop")


def test_content_in_parts_is_read_as_mistral_sends_it() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Hi"},
    ]
    assert read(chunk(content=parts)) == [Reasoning("Hm."), Text("Hi")]


def test_reasoning_that_litellm_shows_twice_is_read_once_and_keeps_its_signature() -> None:
    blocks = [{"type": "thinking", "thinking": "", "signature": "sig"}]
    first = chunk(
        reasoning_content="Hm.", thinking_blocks=[{"type": "thinking", "thinking": "Hm."}]
    )
    message = message_of([first, chunk(thinking_blocks=blocks), chunk(content="Hi")])
    assert message.reasoning == "Hm."
    assert message.to_anthropic()[0]["content"][0]["signature"] == "sig"


# Responses


def item_added(index: int, **item: Any) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def item_done(index: int, item: Event) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def message_added(index: int) -> Event:
    return item_added(
        index, type="message", id=f"msg_{index}", role="assistant", status="in_progress", content=[]
    )


def delta(kind: str, index: int, item_id: str, text: str, **fields: Any) -> Event:
    return {
        "type": f"response.{kind}.delta",
        "output_index": index,
        "item_id": item_id,
        "delta": text,
        **fields,
    }


def text(index: int, *pieces: str, kind: str = "output_text") -> list[Event]:
    field = {"output_text": "text", "refusal": "refusal"}[kind]
    part = {"type": kind, field: "", **({"annotations": []} if kind == "output_text" else {})}
    place = {"item_id": f"msg_{index}", "output_index": index, "content_index": 0}
    done = "".join(pieces)
    return [
        message_added(index),
        {"type": "response.content_part.added", **place, "part": part},
        *(delta(kind, index, f"msg_{index}", p, content_index=0, logprobs=[]) for p in pieces),
        {"type": f"response.{kind}.done", **place, field: done, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": {**part, field: done}},
        item_done(
            index,
            {
                **message_added(index)["item"],
                "status": "completed",
                "content": [{**part, field: done}],
            },
        ),
    ]


def call_item(index: int, call_id: str, name: str, arguments: str) -> Event:
    ids = {"id": f"fc_{index}", "call_id": call_id}
    return {"type": "function_call", **ids, "name": name, "arguments": arguments}


def interleaved_calls(index: int = 0) -> list[Event]:
    """Two calls, the first at this index."""
    other = index + 1
    first = call_item(index, "call_a", "weather", '{"city":"Oslo"}')
    second = call_item(other, "call_b", "time", "{}")
    kind = "function_call_arguments"
    done = {"name": "weather", "arguments": '{"city":"Oslo"}', "item_id": f"fc_{index}"}
    return [
        item_added(index, **{**first, "arguments": ""}),
        item_added(other, **{**second, "arguments": ""}),
        delta(kind, index, f"fc_{index}", '{"city":'),
        delta(kind, other, f"fc_{other}", "{}"),
        delta(kind, index, f"fc_{index}", '"Oslo"}'),
        {"type": f"response.{kind}.done", "output_index": index, **done},
        item_done(index, first),
        item_done(other, second),
    ]


RESPONSE_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 15,
}


def response(status: str, output: list[Event], **fields: Any) -> Event:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "output": output,
        **fields,
    }


def stream(*events: Event, end: str = "completed", **fields: Any) -> list[Event]:
    output = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    last = response(end, output, usage=RESPONSE_USAGE, **fields)
    in_order = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.in_progress", "response": response("in_progress", [])},
        *events,
        {"type": f"response.{end}", "response": last},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(in_order)]


def summary(number: int, text: str) -> list[Event]:
    place = {"item_id": "rs_0", "output_index": 0, "summary_index": number}
    part = {"type": "summary_text", "text": ""}
    return [
        {"type": "response.reasoning_summary_part.added", **place, "part": part},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": text},
        {"type": "response.reasoning_summary_text.done", **place, "text": text},
        {"type": "response.reasoning_summary_part.done", **place, "part": {**part, "text": text}},
    ]


REASONING_ITEM: Event = {"type": "reasoning", "id": "rs_0", "summary": []}
SEARCH: Event = {
    "type": "web_search_call",
    "id": "ws_0",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}
ANNOTATION = {
    "type": "url_citation",
    "url": "https://example.org",
    "title": "Example",
    "start_index": 0,
    "end_index": 1,
}

RESPONSES: dict[str, list[Event]] = {
    "text": stream(*text(0, "Hel", "lo")),
    "two messages": stream(*text(0, "Hel"), *text(1, "lo")),
    "reasoning in summaries": stream(
        item_added(0, **REASONING_ITEM),
        *summary(0, "One."),
        *summary(1, "Two."),
        item_done(0, REASONING_ITEM),
        *text(1, "Well."),
    ),
    "reasoning in full": stream(
        item_added(0, **REASONING_ITEM),
        delta("reasoning_text", 0, "rs_0", "One.", content_index=0),
        item_done(0, REASONING_ITEM),
        *text(1, "Well."),
    ),
    "parallel tool calls": stream(*interleaved_calls()),
    "text and then calls": stream(*text(0, "I look."), *interleaved_calls(1)),
    "a refusal": stream(*text(0, "I would ", "rather not.", kind="refusal")),
    "too long": stream(
        *text(0, "And"), end="incomplete", incomplete_details={"reason": "max_output_tokens"}
    ),
    "filtered": stream(
        *text(0, "And"), end="incomplete", incomplete_details={"reason": "content_filter"}
    ),
    "a tool that OpenAI runs": stream(
        item_added(0, **SEARCH),
        {"type": "response.web_search_call.completed", "output_index": 0, "item_id": "ws_0"},
        item_done(0, SEARCH),
        *text(1, "Found."),
        {
            "type": "response.output_text.annotation.added",
            "output_index": 1,
            "item_id": "msg_1",
            "content_index": 0,
            "annotation_index": 0,
            "annotation": ANNOTATION,
        },
    ),
}


def as_events(body: bytes) -> list[object]:
    with client(body) as openai:
        return list(openai.responses.create(model="m", input="x", stream=True))


def as_helper_events(body: bytes) -> list[object]:
    with client(body) as openai, openai.responses.stream(model="m", input="x") as stream:
        return list(stream)


RESPONSE_SHAPES = pytest.mark.parametrize("shape", [as_dicts, as_events, as_helper_events])


@RESPONSE_SHAPES
@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_becomes_the_message_that_its_last_event_holds(name: str, shape: Shape) -> None:
    body = sse(RESPONSES[name])
    theirs = as_events(body)[-1].response  # type: ignore[attr-defined]
    ours = message_of(shape(body))
    assert ours.text == theirs.output_text
    assert ours.refusal == "".join(
        part.refusal
        for item in theirs.output
        if item.type == "message"
        for part in item.content
        if part.type == "refusal"
    )
    assert [(call.id, call.name, call.arguments) for call in ours.tool_calls] == [
        (item.call_id, item.name, item.arguments)
        for item in theirs.output
        if item.type == "function_call"
    ]
    assert ours.usage == Usage(10, 5, 4, 3)


@RESPONSE_SHAPES
@pytest.mark.parametrize(
    ("name", "reason", "native"),
    [
        ("text", "stop", "completed"),
        ("parallel tool calls", "tool_calls", "completed"),
        ("too long", "length", "max_output_tokens"),
        ("filtered", "content_filter", "content_filter"),
        ("a tool that OpenAI runs", "stop", "completed"),
    ],
)
def test_why_a_response_ended_is_told_in_our_words(
    name: str, reason: str, native: str, shape: Shape
) -> None:
    body = sse(RESPONSES[name])
    message = message_of(shape(body))
    assert (message.finish_reason, message.native_finish_reason) == (reason, native)
    assert through_openai(shape(body)).choices[0].finish_reason == reason


@RESPONSE_SHAPES
def test_each_summary_is_a_paragraph_of_the_reasoning(shape: Shape) -> None:
    assert message_of(shape(sse(RESPONSES["reasoning in summaries"]))).reasoning == "One.\n\nTwo."
    assert message_of(shape(sse(RESPONSES["reasoning in full"]))).reasoning == "One."


@RESPONSE_SHAPES
def test_a_tool_that_openai_runs_leaves_its_sources_and_no_call(shape: Shape) -> None:
    message = message_of(shape(sse(RESPONSES["a tool that OpenAI runs"])))
    assert message.sources == [Source("https://example.org", "Example")]
    assert message.tool_calls == []
    (search,) = ran_by_provider(message)
    assert search[:2] == ("ws_0", "web_search")
    assert json.loads(search[2])["action"]["query"] == "x"
    assert message.tool_results == [ToolResult("ws_0")]


def test_a_provider_that_asks_for_an_approval_asks_the_client() -> None:
    asked = {"type": "mcp_approval_request", "id": "mcpr_0", "server_label": "dice"}
    asked |= {"name": "roll", "arguments": '{"n":6}'}
    message = message_of([item_added(0, **asked), item_done(0, asked)])
    assert ran_by_provider(message) == [("mcpr_0", "roll", '{"n":6}')]
    assert message.approvals == [Approval("mcpr_0")]


def test_what_came_of_a_call_that_waited_for_an_approval_is_its_result() -> None:
    ran = {**MCP_CALL, "arguments": "{}", "approval_request_id": "mcpr_0", "error": None}
    message = message_of([item_added(0, **ran), item_done(0, {**ran, "output": "4"})])
    assert message.tool_results == [ToolResult("mcp_0", "4"), ToolResult("mcpr_0", "4")]


MCP_CALL = {"type": "mcp_call", "id": "mcp_0", "name": "roll", "server_label": "dice"}
OPENAI_RUNS: dict[str, tuple[list[Event], tuple[str, str, str], ToolResult]] = {
    "MCP": (
        [
            item_added(0, **MCP_CALL, arguments=""),
            delta("mcp_call_arguments", 0, "mcp_0", '{"n":'),
            delta("mcp_call_arguments", 0, "mcp_0", "6}"),
            item_done(0, {**MCP_CALL, "arguments": '{"n":6}', "output": "4", "error": None}),
        ],
        ("mcp_0", "roll", '{"n":6}'),
        ToolResult("mcp_0", "4"),
    ),
    "MCP that failed": (
        [
            item_added(0, **MCP_CALL, arguments=""),
            item_done(
                0,
                {
                    **MCP_CALL,
                    "arguments": "",
                    "output": None,
                    "error": {"type": "http_error", "code": 500, "message": "Oh."},
                },
            ),
        ],
        ("mcp_0", "roll", "{}"),
        ToolResult("mcp_0", {"type": "http_error", "code": 500, "message": "Oh."}, error=True),
    ),
    "code": (
        [
            item_done(
                0,
                {
                    "type": "code_interpreter_call",
                    "id": "ci_0",
                    "status": "completed",
                    "code": "1 + 1",
                    "container_id": "c",
                    "outputs": [{"type": "logs", "logs": "2"}],
                },
            )
        ],
        ("ci_0", "code_interpreter", '{"code":"1 + 1"}'),
        ToolResult("ci_0", [{"type": "logs", "logs": "2"}]),
    ),
    "files, failed": (
        [
            item_done(
                0,
                {
                    "type": "file_search_call",
                    "id": "fs_0",
                    "status": "failed",
                    "queries": ["x"],
                    "results": None,
                },
            )
        ],
        ("fs_0", "file_search", '{"queries":["x"]}'),
        ToolResult("fs_0", None, error=True),
    ),
}


@pytest.mark.parametrize("shape", [as_dicts, as_events])
@pytest.mark.parametrize("name", OPENAI_RUNS)
def test_what_openai_runs_is_the_providers_with_what_it_found(name: str, shape: Shape) -> None:
    events, call, result = OPENAI_RUNS[name]
    message = message_of(shape(sse(stream(*events))))
    assert ran_by_provider(message) == [call]
    assert message.tool_results == [result]


def test_calls_are_told_apart_by_their_items_where_a_server_leaves_the_index_out() -> None:
    events = [
        {k: v for k, v in event.items() if k != "output_index"} for event in interleaved_calls()
    ]
    for items in (events, as_events(sse(stream(*events)))):
        assert [(call.id, call.arguments) for call in message_of(items).tool_calls] == [
            ("call_a", '{"city":"Oslo"}'),
            ("call_b", "{}"),
        ]


def test_a_custom_tools_input_is_its_arguments() -> None:
    item = {
        "type": "custom_tool_call",
        "id": "ct_0",
        "call_id": "call_a",
        "name": "run",
        "input": "",
    }
    events = stream(
        item_added(0, **item),
        delta("custom_tool_call_input", 0, "ct_0", "any "),
        delta("custom_tool_call_input", 0, "ct_0", "text"),
    )
    for shape in (as_dicts, as_events):
        (call,) = message_of(shape(sse(events))).tool_calls
        assert (call.id, call.name, call.arguments) == ("call_a", "run", "any text")


@pytest.mark.parametrize("shape", [as_dicts, as_events])
@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"type": "error", "code": "server_error", "message": "sk-secret", "param": None}, 502),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "sk-secret"}, 429),
        ({"type": "error", "code": None, "message": "sk-secret"}, 502),
        (
            {
                "type": "response.failed",
                "response": response(
                    "failed", [], error={"code": "server_error", "message": "sk-secret"}
                ),
            },
            502,
        ),
        (
            {
                "type": "response.failed",
                "response": response(
                    "failed", [], error={"code": "rate_limit_exceeded", "message": "sk-secret"}
                ),
            },
            429,
        ),
    ],
)
def test_a_response_that_failed_is_an_error_without_the_providers_text(
    event: Event, status: int, shape: Shape
) -> None:
    openai = module("openai")
    try:
        (item,) = shape(sse([{**event, "sequence_number": 0}]))
    except openai.APIError:
        return  # the SDK raises at some of them, and `public_error` makes it safe
    (said,) = read(item)
    assert isinstance(said, Error)
    assert said.status == status
    assert "sk-secret" not in said.message


@pytest.mark.parametrize("shape", [as_dicts, as_events])
def test_a_recorded_response_becomes_the_message_that_it_holds(shape: Shape) -> None:
    body = recorded("openai_responses_text.jsonl")
    last = list(events_of(body))[-1]["response"]
    message = message_of(shape(body))
    assert len(message.text) > 100
    assert message.text == last["output"][0]["content"][0]["text"]
    assert message.usage == Usage(39, 60, 24)
    assert message.finish_reason == "stop"


def test_every_event_of_the_sdk_is_read_or_known_to_say_nothing() -> None:
    events = module("openai.types.responses")
    union = events.ResponseStreamEvent.__origin__.__args__
    for cls in union:
        kind = cls.model_fields["type"].annotation.__args__[0]
        item = cls.construct(type=kind, delta="x", response=None, item=None, annotation=None)
        assert isinstance(read(item), list)


def test_as_history_it_is_what_the_sdks_types_accept() -> None:
    import pydantic

    types = module("openai.types.chat")
    adapter = pydantic.TypeAdapter(types.ChatCompletionMessageParam)
    for name, events in {**CHATS, **RESPONSES}.items():
        history = message_of(events).to_openai()
        assert history, name
        for said in history:
            adapter.validate_python(json.loads(json.dumps(said)))
