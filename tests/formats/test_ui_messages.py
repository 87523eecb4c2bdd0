"""The AI SDK's UI message stream, byte by byte, and its requests."""

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
from asgi_llmstream.errors import BadRequest, RateLimited
from asgi_llmstream.formats.ui_messages.stream import UIMessages
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.request import ChatMessage, ChatRequest
from asgi_llmstream.sse import ServerSentEvent
from tests.support.strategies import ENDINGS, SEQUENCES
from tests.support.ui_grammar import chunks_of, read
from tests.support.wire import ESCAPES, wire


def transcript(*chunks: str) -> bytes:
    """A whole stream of these chunks between its first one and `[DONE]`."""
    lines = ['{"type":"start","messageId":"msg-run"}', *chunks, "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def step(*chunks: str, finish: str = '{"type":"finish","finishReason":"stop"}') -> bytes:
    """A stream of one step."""
    return transcript('{"type":"start-step"}', *chunks, '{"type":"finish-step"}', finish)


def test_a_text_is_its_start_deltas_and_end_in_a_step() -> None:
    assert wire(UIMessages(), Text("Hel"), Text("lo, Tromsø"), Finish("stop")) == (
        b'data: {"type":"start","messageId":"msg-run"}\n\n'
        b'data: {"type":"start-step"}\n\n'
        b'data: {"type":"text-start","id":"text_run_0"}\n\n'
        b'data: {"type":"text-delta","id":"text_run_0","delta":"Hel"}\n\n'
        b'data: {"type":"text-delta","id":"text_run_0","delta":"lo, Troms\xc3\xb8"}\n\n'
        b'data: {"type":"text-end","id":"text_run_0"}\n\n'
        b'data: {"type":"finish-step"}\n\n'
        b'data: {"type":"finish","finishReason":"stop"}\n\n'
        b"data: [DONE]\n\n"
    )


def test_an_answer_of_nothing_is_whole_all_the_same() -> None:
    assert wire(UIMessages()) == transcript('{"type":"finish","finishReason":"stop"}')


def test_reasoning_has_parts_of_its_own_and_a_refusal_is_text() -> None:
    chunks = Reasoning("Hm."), Refusal("No."), Finish("content_filter")
    assert wire(UIMessages(), *chunks) == step(
        '{"type":"reasoning-start","id":"reasoning_run_0"}',
        '{"type":"reasoning-delta","id":"reasoning_run_0","delta":"Hm."}',
        '{"type":"reasoning-end","id":"reasoning_run_0"}',
        '{"type":"text-start","id":"refusal_run_0"}',
        '{"type":"text-delta","id":"refusal_run_0","delta":"No."}',
        '{"type":"text-end","id":"refusal_run_0"}',
        finish='{"type":"finish","finishReason":"content-filter"}',
    )


def test_a_signature_stands_where_anthropics_provider_puts_it() -> None:
    assert wire(UIMessages(), Reasoning("Hm.", "sealed")) == step(
        '{"type":"reasoning-start","id":"reasoning_run_0"}',
        '{"type":"reasoning-delta","id":"reasoning_run_0","delta":"Hm."}',
        '{"type":"reasoning-end","id":"reasoning_run_0",'
        '"providerMetadata":{"anthropic":{"signature":"sealed"}}}',
    )


def test_seals_stand_where_the_sdks_own_providers_put_them_and_come_back() -> None:
    chunks = [Reasoning("", "opaque", redacted=True), ToolCall("a", "f", signature="c2ln")]
    told = {chunk["type"]: chunk for chunk in chunks_of(wire(UIMessages(), *chunks))}
    hidden = told["reasoning-end"]["providerMetadata"]
    assert hidden == {"anthropic": {"redactedData": "opaque"}}
    sealed = told["tool-input-available"]["providerMetadata"]
    assert sealed == {"google": {"thoughtSignature": "c2ln"}}
    tool = {"type": "tool-f", "toolCallId": "a", "state": "input-available", "input": {}}
    (message,) = decode(
        assistant(
            {"type": "reasoning", "text": "", "providerMetadata": hidden},
            {**tool, "callProviderMetadata": sealed},
        )
    ).messages
    assert message.thinking == [{"type": "redacted_thinking", "data": "opaque"}]
    assert message.tool_calls[0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def test_parallel_tool_calls_interleave_and_their_results_follow() -> None:
    chunks = [
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
    assert wire(UIMessages(), *chunks) == transcript(
        '{"type":"start-step"}',
        '{"type":"tool-input-start","toolCallId":"a","toolName":"weather"}',
        '{"type":"tool-input-start","toolCallId":"b","toolName":"time"}',
        '{"type":"tool-input-delta","toolCallId":"b","inputTextDelta":"{}"}',
        '{"type":"tool-input-delta","toolCallId":"a","inputTextDelta":"{\\"city\\":"}',
        '{"type":"tool-input-delta","toolCallId":"a","inputTextDelta":" \\"Oslo\\"}"}',
        '{"type":"tool-input-available","toolCallId":"a","toolName":"weather",'
        '"input":{"city":"Oslo"}}',
        '{"type":"tool-input-available","toolCallId":"b","toolName":"time","input":{}}',
        '{"type":"tool-output-available","toolCallId":"b","output":"noon"}',
        '{"type":"tool-output-error","toolCallId":"a",'
        '"errorText":"{\\"error\\":\\"no such city\\"}"}',
        '{"type":"finish-step"}',
        '{"type":"start-step"}',
        '{"type":"text-start","id":"text_run_0"}',
        '{"type":"text-delta","id":"text_run_0","delta":"Noon."}',
        '{"type":"text-end","id":"text_run_0"}',
        '{"type":"finish-step"}',
        '{"type":"finish","finishReason":"stop"}',
    )


def test_a_call_without_arguments_has_an_empty_input() -> None:
    stream = wire(UIMessages(), ToolCallDelta(0, "a", "now"), Finish("tool_calls"))
    assert stream == step(
        '{"type":"tool-input-start","toolCallId":"a","toolName":"now"}',
        '{"type":"tool-input-delta","toolCallId":"a","inputTextDelta":"{}"}',
        '{"type":"tool-input-available","toolCallId":"a","toolName":"now","input":{}}',
        finish='{"type":"finish","finishReason":"tool-calls"}',
    )


@pytest.mark.parametrize(
    "arguments", ['{"city":', "Oslo", "[1,]", "NaN", '{"x":Infinity}', "[" * 100_000]
)
def test_arguments_that_are_not_json_are_an_error_of_the_call(arguments: str) -> None:
    read_by = read(wire(UIMessages(), ToolCall("a", "f", arguments), ToolResult("a", 1)))
    assert read_by.calls[0]["text"] == arguments
    assert read_by.calls[0]["errorText"] == "The model wrote arguments that are not JSON."
    assert read_by.calls[0]["output"] == 1


def test_strict_v5_knows_that_error_only_as_one_of_the_output() -> None:
    assert wire(UIMessages(strict_v5=True), ToolCall("a", "f", "{")) == step(
        '{"type":"tool-input-start","toolCallId":"a","toolName":"f"}',
        '{"type":"tool-input-delta","toolCallId":"a","inputTextDelta":"{"}',
        '{"type":"tool-output-error","toolCallId":"a",'
        '"errorText":"The model wrote arguments that are not JSON."}',
        finish='{"type":"finish"}',
    )


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ('{"n":123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        ('{"a":"\\ud83d"}', {"a": "\ufffd"}),
        ('\n{"a" :\n1}\n', {"a": 1}),
        ("null", None),
        ('"\u2028"', "\u2028"),
    ],
    ids=ascii,
)
def test_arguments_arrive_as_what_they_mean(arguments: str, input: object) -> None:
    assert read(wire(UIMessages(), ToolCall("a", "f", arguments))).calls[0]["input"] == input


def test_a_result_of_a_call_that_the_client_does_not_know_is_data() -> None:
    stream = wire(UIMessages(), ToolResult("a", [1]), ToolResult("b", "no", error=True))
    assert stream == step(
        '{"type":"data-tool-result","data":{"toolCallId":"a","output":[1]}}',
        '{"type":"data-tool-result","data":{"toolCallId":"b","errorText":"no"}}',
    )


def test_a_result_of_a_call_that_the_message_held_before_is_its_output() -> None:
    stream = wire(UIMessages(known_calls=frozenset({"a"})), ToolResult("a", None))
    assert stream == step('{"type":"tool-output-available","toolCallId":"a","output":null}')


def test_sources_files_and_data_are_parts_and_leave_the_text_open() -> None:
    chunks = [
        Text("See"),
        Source("https://a"),
        Source("https://b", "B"),
        File("data:image/png;base64,AA==", "image/png"),
        Data("weather", None),
        Text("!"),
    ]
    assert wire(UIMessages(), *chunks) == step(
        '{"type":"text-start","id":"text_run_0"}',
        '{"type":"text-delta","id":"text_run_0","delta":"See"}',
        '{"type":"source-url","sourceId":"source_run_5","url":"https://a"}',
        '{"type":"source-url","sourceId":"source_run_6","url":"https://b","title":"B"}',
        '{"type":"file","url":"data:image/png;base64,AA==","mediaType":"image/png"}',
        '{"type":"data-weather","data":null}',
        '{"type":"text-delta","id":"text_run_0","delta":"!"}',
        '{"type":"text-end","id":"text_run_0"}',
    )


def test_a_step_has_no_name_and_raw_events_are_not_carried() -> None:
    assert wire(UIMessages(), Step("plan"), Raw(ServerSentEvent("x"))) == step()


USAGE = (
    '{"type":"message-metadata","messageMetadata":{"usage":{"inputTokens":10,'
    '"inputTokenDetails":{"cacheReadTokens":4,"cacheWriteTokens":0},"outputTokens":5,'
    '"outputTokenDetails":{"reasoningTokens":3},"totalTokens":15}}}'
)


def test_the_usage_is_metadata_of_the_message() -> None:
    usage = Usage(10, 5, 4, 3)
    assert wire(UIMessages(), Usage(1, 1), usage, Finish("length")) == transcript(
        USAGE, '{"type":"finish","finishReason":"length"}'
    )
    assert wire(UIMessages(include_usage=False), usage) == wire(UIMessages())


def test_a_broken_answer_ends_in_an_error_and_no_finish() -> None:
    chunks = Text("half"), Usage(10, 5, 4, 3), Error("Too many.", "slow_down", 429)
    assert wire(UIMessages(), *chunks) == transcript(
        '{"type":"start-step"}',
        '{"type":"text-start","id":"text_run_0"}',
        '{"type":"text-delta","id":"text_run_0","delta":"half"}',
        '{"type":"text-end","id":"text_run_0"}',
        '{"type":"finish-step"}',
        USAGE,
        '{"type":"error","errorText":"Too many."}',
    )


@pytest.mark.parametrize("arguments", ["", "{}", '{"city":'])
def test_a_call_that_broke_off_is_never_run(arguments: str) -> None:
    chunks = ToolCallDelta(0, "a", "f", arguments), Error("Too many.")
    [call] = read(wire(UIMessages(), *chunks)).calls
    assert (call["state"], call["errorText"]) == ("error", "The answer broke off.")
    [call] = read(wire(UIMessages(strict_v5=True), *chunks), strict_v5=True).calls
    assert (call["state"], call["errorText"]) == ("error", "The answer broke off.")


def test_an_answer_that_was_aborted_is_an_error_too() -> None:
    assert wire(UIMessages(), abort="shutdown") == transcript(
        '{"type":"error","errorText":"The answer was aborted: shutdown."}'
    )


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("content_filter", "content-filter"),
        ("other", "other"),
    ],
)
def test_finish_reasons_have_the_protocols_spelling(reason: Any, word: str, strict: bool) -> None:
    stream = wire(UIMessages(strict_v5=strict), Finish(reason, "native"))
    last = '{"type":"finish"}' if strict else f'{{"type":"finish","finishReason":"{word}"}}'
    assert stream == transcript(last)


@pytest.mark.parametrize(("text", "escaped"), ESCAPES, ids=ascii)
def test_no_text_can_cut_the_line_that_it_stands_in(text: str, escaped: bytes) -> None:
    chunks = [
        Text(text),
        ToolCall(text, text, {"x": text}),
        ToolResult(text, text),
        Source(text, text),
        File(text, text),
        Data(text, text),
        Error(text, text),
    ]
    stream = wire(UIMessages(), *chunks)
    assert stream.count(escaped) >= 10
    read(stream)


@settings(deadline=None, max_examples=300)
@given(SEQUENCES, ENDINGS, st.booleans())
def test_whatever_order_a_producer_yields_the_stream_is_valid(
    chunks: list[Chunk], ending: str | Error, strict_v5: bool
) -> None:
    if isinstance(ending, Error):
        chunks = [*chunks, ending]
    format = UIMessages(strict_v5=strict_v5)
    abort = "gone" if ending in ("fail", "abort") else None
    stream = wire(format, *chunks, abort=abort)
    assert stream == wire(format, *chunks, abort=abort)
    reader = read(stream, strict_v5=strict_v5)
    assert reader.terminal["type"] == ("finish" if ending == "finish" else "error")
    texts = "".join(c.text for c in chunks if isinstance(c, Text | Refusal))
    assert reader.text_of("text") == texts
    assert reader.text_of("reasoning") == "".join(
        c.text for c in chunks if isinstance(c, Reasoning)
    )


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        transcript(),
        transcript('{"type":"text-delta","id":"x","delta":"a"}'),
        step('{"type":"text-delta","id":"x","delta":"a"}'),
        step('{"type":"text-start","id":"x"}'),
        step('{"type":"tool-output-available","toolCallId":"x","output":1}'),
        step('{"type":"text-start","id":null}'),
        step('{"type":"surprise"}'),
        step('{"type":"file","url":"a","mediaType":"b","new":1}'),
        step(finish='{"type":"finish","finishReason":"tool_calls"}'),
        step().removesuffix(b"\n"),
        step().replace(b"data: [DONE]\n\n", b""),
        step() + b"data: {}\n\n",
    ],
)
def test_the_grammar_refuses_what_a_client_would(stream: bytes) -> None:
    with pytest.raises((AssertionError, KeyError)):
        read(stream)


# Errors before the stream


def test_an_error_body_is_code_and_message() -> None:
    assert UIMessages().error_body(RateLimited("No.")) == (
        b'{"code":"rate_limit_exceeded","message":"No."}'
    )
    assert UIMessages().error_body(BadRequest("No.", param="messages")) == (
        b'{"code":"invalid_request","message":"No.","param":"messages"}'
    )


# Requests


def decode(*messages: Any, **fields: Any) -> ChatRequest:
    body = json.dumps({"id": "c", "messages": messages, **fields}).encode()
    return UIMessages().decode(decode_json(body))


def user(*parts: Any) -> dict[str, Any]:
    return {"id": "u", "role": "user", "parts": parts}


def assistant(*parts: Any) -> dict[str, Any]:
    return {"id": "m", "role": "assistant", "parts": parts}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "state": "done"}


def test_a_request_is_a_stream_with_the_chats_id_and_keeps_everything_in_its_body() -> None:
    request = decode(user(text("Hi")), trigger="submit-message", temperature=1, model="m")
    assert request.prompt == "Hi"
    assert (request.stream, request.chat_id, request.model) == (True, "c", "m")
    assert request.body["temperature"] == 1
    assert request.body["trigger"] == "submit-message"


@pytest.mark.parametrize("model", [None, {"name": "m"}, 7])
def test_a_model_that_is_no_name_is_the_applications_own(model: Any) -> None:
    assert decode(user(text("Hi")), model=model).model == ""


def call(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def said(content: str | None, *calls: Any, **fields: Any) -> ChatMessage:
    return ChatMessage(role="assistant", content=content, tool_calls=list(calls), **fields)


def result(id: str, content: str, failed: bool = False) -> ChatMessage:
    return ChatMessage(role="tool", content=content, tool_call_id=id, failed=failed)


def tool(state: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool-f", "toolCallId": "a", "state": state, "input": {"x": 1}, **fields}


CALLED = call("a", '{"x":1}')
STEP = {"type": "step-start"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (user(text("a"), text("b")), [ChatMessage(role="user", content="ab")]),
        (user(), [ChatMessage(role="user", content="")]),
        (
            {"role": "system", "parts": [text("Be brief.")]},
            [ChatMessage(role="system", content="Be brief.")],
        ),
        (
            user(
                text("Look:"),
                {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="},
                {"type": "file", "mediaType": "image", "url": "https://a/b.png"},
                {
                    "type": "file",
                    "mediaType": "application/pdf",
                    "url": "data:application/pdf;base64,AA==",
                    "filename": "a.pdf",
                },
                {"type": "data-mood", "data": "good"},
            ),
            [
                ChatMessage(
                    role="user",
                    content=[
                        {"type": "text", "text": "Look:"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                        {
                            "type": "file",
                            "file": {
                                "filename": "a.pdf",
                                "file_data": "data:application/pdf;base64,AA==",
                            },
                        },
                    ],
                )
            ],
        ),
        (assistant(STEP, text("a"), STEP, text("b")), [said("a"), said("b")]),
        (assistant(STEP, {"type": "reasoning", "text": "Hm."}), []),
        (
            assistant(
                STEP,
                {
                    "type": "reasoning",
                    "text": "Hm.",
                    "providerMetadata": {"anthropic": {"signature": "s"}},
                },
                text("a"),
            ),
            [said("a", thinking=[{"type": "thinking", "thinking": "Hm.", "signature": "s"}])],
        ),
        (
            assistant(
                STEP,
                text("One moment."),
                tool("output-available", output={"y": 2}),
                STEP,
                text("2"),
            ),
            [said("One moment.", CALLED), result("a", '{"y":2}'), said("2")],
        ),
        (assistant(tool("output-available", output="2")), [said(None, CALLED), result("a", "2")]),
        (
            assistant(tool("output-error", errorText="broke")),
            [said(None, CALLED), result("a", "broke", failed=True)],
        ),
        (
            assistant({**tool("output-error", errorText="broke"), "input": '{"x":'}),
            [said(None, call("a", '{"x":')), result("a", "broke", failed=True)],
        ),
        (
            assistant(
                {
                    "type": "tool-f",
                    "toolCallId": "a",
                    "state": "output-error",
                    "rawInput": "{",
                    "errorText": "broke",
                }
            ),
            [said(None, call("a", "{")), result("a", "broke", failed=True)],
        ),
        (
            assistant(tool("output-denied", approval={"id": "x", "approved": False})),
            [said(None, CALLED), result("a", "Tool call execution denied.", failed=True)],
        ),
        (
            assistant(tool("approval-responded", approval={"approved": False, "reason": "No!"})),
            [said(None, CALLED), result("a", "No!", failed=True)],
        ),
        (assistant(tool("approval-responded", approval={"approved": True})), [said(None, CALLED)]),
        (assistant(tool("input-available")), [said(None, CALLED)]),
        (assistant(tool("input-streaming")), []),
        (
            assistant({**tool("input-available"), "type": "dynamic-tool", "toolName": "f"}),
            [said(None, CALLED)],
        ),
        (
            assistant(
                text("a"), {"type": "steering-message", "id": "s", "parts": [text("No")]}, text("b")
            ),
            [said("a"), ChatMessage(role="user", content="No"), said("b")],
        ),
        (assistant({"type": "source-url", "url": "https://a"}, {"type": "of the future"}), []),
    ],
)
def test_ui_messages_become_openais(message: Any, expected: list[ChatMessage]) -> None:
    assert decode(message).messages == expected


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"parts": []}, "messages[0].role", "missing_field"),
        ({"role": "user"}, "messages[0].parts", "missing_field"),
        ({"role": "tool", "parts": []}, "messages[0].role", "invalid_field"),
        (user({"text": "a"}), "messages[0].parts[0].type", "missing_field"),
        (user(text("a"), {"type": "text"}), "messages[0].parts[1].text", "missing_field"),
        (user({"type": "text", "text": 1}), "messages[0].parts[0].text", "invalid_field"),
        (user({"type": "file"}), "messages[0].parts[0].url", "missing_field"),
        (assistant({"type": "tool-f"}), "messages[0].parts[0].toolCallId", "missing_field"),
        (
            assistant({"type": "dynamic-tool", "toolCallId": "a"}),
            "messages[0].parts[0].toolName",
            "missing_field",
        ),
        ("hello", "messages[0]", "invalid_field"),
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
        (b"{}", "messages"),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":7}', "messages"),
        (b'{"messages":[{"role":"user","parts":[]}],"id":7}', "id"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        UIMessages().decode(decode_json(body))
    assert caught.value.param == param


def test_use_completion_asks_with_a_prompt() -> None:
    request = UIMessages().decode({"prompt": "Hi", "model": "m"})
    assert (request.prompt, request.model, request.stream) == ("Hi", "m", True)
    assert request.body == {"prompt": "Hi", "model": "m"}


def test_assistant_uis_chat_transport_brings_system_tools_and_settings() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    request = decode(
        user(text("Hi")),
        system="Be brief.",
        tools={"weather": {"description": "Of a city.", "parameters": schema}},
        callSettings={"maxTokens": 9, "temperature": 0.5, "headers": {}},
        config={"modelName": "m", "reasoningEffort": "low", "apiKey": "secret"},
    )
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.tools == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Of a city.", "parameters": schema},
        }
    ]
    assert request.settings == {"max_tokens": 9, "temperature": 0.5, "reasoning_effort": "low"}
    assert request.model == "m"


@pytest.mark.parametrize(
    "own",
    [
        {"tools": ["search"], "system": {"dark": True}, "config": 7},
        {"tools": {"search": True}, "callSettings": "x", "temperature": "hot", "seed": True},
    ],
)
def test_an_applications_own_fields_of_the_same_names_stay_in_the_body(own: Any) -> None:
    request = decode(user(text("Hi")), **own)
    assert [message.role for message in request.messages] == ["user"]
    assert (request.tools, request.settings, request.model) == ([], {}, "")


def test_assistant_uis_data_stream_has_content_where_others_have_parts() -> None:
    request = UIMessages().decode(
        {
            "system": "Be brief.",
            "threadId": "t",
            "temperature": 1,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "file", "data": "AA==", "mediaType": "image/png"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Let me see."},
                        {
                            "type": "tool-call",
                            "toolCallId": "a",
                            "toolName": "f",
                            "input": {"x": 1},
                        },
                    ],
                },
                {
                    "role": "tool",
                    "content": [
                        {
                            "type": "tool-result",
                            "toolCallId": "a",
                            "toolName": "f",
                            "output": {"type": "error-json", "value": {"no": 1}},
                        }
                    ],
                },
                {"role": "user", "content": "So?"},
            ],
        }
    )
    assert request.messages == [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(
            role="user",
            content=[
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ],
        ),
        ChatMessage(
            role="assistant",
            content="Let me see.",
            tool_calls=[
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x":1}'},
                }
            ],
        ),
        ChatMessage(role="tool", content='{"no":1}', tool_call_id="a", failed=True),
        ChatMessage(role="user", content="So?"),
    ]
    assert (request.thread_id, request.settings) == ("t", {"temperature": 1})


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (7, "messages[0].content"),
        ([{"type": "tool-result"}], "messages[0].content[0].toolCallId"),
        ([{"type": "text", "text": 7}], "messages[0].content[0].text"),
    ],
)
def test_bad_content_is_named(content: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        UIMessages().decode({"messages": [{"role": "tool", "content": content}]})
    assert caught.value.param == param


def test_the_client_goes_on_with_an_assistants_message_that_comes_last() -> None:
    request = decode(user(text("Hi")), assistant(tool("output-available", output=1)))
    format = UIMessages(strict_v5=True).for_request(request)
    assert format == UIMessages(strict_v5=True, message_id="m", known_calls=frozenset({"a"}))
    stream = wire(format, ToolResult("a", 1))
    assert chunks_of(stream)[0] == {"type": "start", "messageId": "m"}
    read(stream, strict_v5=True, known_calls=frozenset({"a"}))


@pytest.mark.parametrize(
    "request_",
    [
        decode(assistant(tool("output-available", output=1)), user(text("Hi"))),
        decode(user(text("Hi")), assistant(text("a")), trigger="regenerate-message"),
        ChatRequest(messages=[]),
        ChatRequest(messages=[], body={"messages": []}),
    ],
)
def test_otherwise_it_begins_a_message_of_its_own(request_: ChatRequest) -> None:
    assert UIMessages().for_request(request_) == UIMessages()


def test_a_message_id_of_ones_own_stays_unless_the_client_goes_on_with_another() -> None:
    format = UIMessages(message_id="mine")
    assert format.for_request(decode(user(text("Hi")))).message_id == "mine"
    assert format.for_request(decode(assistant(text("Hi")))).message_id == "m"
