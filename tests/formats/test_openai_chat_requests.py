"""Requests of OpenAI chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream.errors import BadRequest
from asgi_llmstream.formats import OpenAIChat
from asgi_llmstream.formats.openai_chat.request import decode_request
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.request import ChatMessage, ChatRequest
from tests.support.history import check_request
from tests.support.strategies import JSON, MESSAGE

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
    check_request(got)
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


def test_the_request_decides_about_usage_and_the_rest_stays() -> None:
    format = OpenAIChat(reasoning_field="reasoning", done_after_error=False)
    request = ChatRequest(messages=[], include_usage=True)
    assert format.for_request(request) == OpenAIChat(
        include_usage=True,
        reasoning_field="reasoning",
        done_after_error=False,
        offered=frozenset(),
    )
    assert OpenAIChat(include_usage=True).for_request(ChatRequest(messages=[])) == OpenAIChat(
        offered=frozenset()
    )
