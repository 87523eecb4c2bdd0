"""`ChatRequest`: what a chat client sent, on its way to a provider."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream.errors import BadRequest
from asgi_llmstream.formats import AnthropicMessages, OpenAIChat, OpenAIResponses
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.request import ChatMessage, ChatRequest
from tests.support.history import check_request
from tests.support.providers import module
from tests.support.strategies import MESSAGE, OBJECT


def decoded(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    body = json.dumps({"messages": messages, **fields}).encode()
    return OpenAIChat().decode(decode_json(body))


USER = {"role": "user", "content": "Hi"}


def test_unknown_fields_of_a_message_go_on_to_openai() -> None:
    message = {
        "role": "assistant",
        "content": "Yes.",
        "refusal": None,
        "reasoning_content": "Hm.",
        "annotations": [],
    }
    got = decoded(USER, message)
    assert got.to_openai() == [USER, message]
    assert got.messages[1].extra["reasoning_content"] == "Hm."
    assert got.to_anthropic() == {"messages": [USER, {"role": "assistant", "content": "Yes."}]}


def test_settings_and_tools_of_a_chat_request_have_one_place_each() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    got = decoded(
        USER,
        tools=tools,
        tool_choice="required",
        max_completion_tokens=9,
        temperature=0,
        stop="x",
        top_p=None,
        logit_bias={},
    )
    assert got.settings == {"temperature": 0, "stop": "x", "max_tokens": 9}
    assert got.tools == tools
    assert got.to_anthropic() == {
        "messages": [USER],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
    }
    assert decoded(USER, max_tokens=5).settings == {"max_tokens": 5}


def test_a_tool_without_parameters_gets_the_schema_that_anthropic_demands() -> None:
    got = decoded(USER, tools=[{"type": "function", "function": {"name": "f"}}])
    (tool,) = got.to_anthropic()["tools"]
    assert tool == {"name": "f", "input_schema": {"type": "object", "properties": {}}}


BROKEN = {"invalid_json": '{"x":'}


def test_results_of_parallel_calls_stand_in_one_message_for_anthropic() -> None:
    def call(id: str, arguments: str) -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}

    got = decoded(
        {"role": "system", "content": "Be brief."},
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("a", '{"x":1}'), call("b", ""), call("c", '{"x":')],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "developer", "content": [{"type": "text", "text": "In verse."}]},
        {"role": "user", "content": [{"type": "text", "text": "So?"}]},
    )
    assert got.to_anthropic() == {
        "system": "Be brief.\n\nIn verse.",
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                    {
                        "type": "tool_use",
                        "id": "c",
                        "name": "f",
                        "input": {"invalid_json": '{"x":'},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [{"type": "text", "text": "1"}],
                    },
                    {"type": "tool_result", "tool_use_id": "b", "content": []},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "content": [{"type": "text", "text": "There is no result of this call."}],
                        "is_error": True,
                    },
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
    }


PDF = "data:application/pdf;base64,AA=="


def test_images_and_files_get_the_source_that_their_address_means() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {
            "type": "file",
            "file": {"filename": "a", "file_data": "data:application/pdf;base64,AA=="},
        },
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "input_audio", "input_audio": {}},
    ]
    (message,) = decoded({"role": "user", "content": parts}).to_anthropic()["messages"]
    base64 = {"type": "base64", "data": "AA=="}
    assert message["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "image", "source": {**base64, "media_type": "image/png"}},
        {
            "type": "document",
            "source": {**base64, "media_type": "application/pdf"},
            "title": "a",
        },
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "input_audio", "input_audio": {}},
    ]


def test_thinking_without_its_seal_and_blank_texts_do_not_go_to_anthropic() -> None:
    request = ChatRequest(
        messages=[
            ChatMessage(role="user", content="Hi"),
            ChatMessage(
                role="assistant",
                content=" ",
                thinking=[{"type": "thinking", "thinking": "Hm.", "signature": ""}],
            ),
            ChatMessage(role="user", content="Well?"),
        ]
    )
    assert request.to_anthropic()["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Well?"}],
        }
    ]


@settings(deadline=None, max_examples=300)
@given(st.lists(MESSAGE, max_size=3), st.lists(OBJECT, max_size=3))
def test_whatever_was_decoded_can_be_written_for_both(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    try:
        request = decoded(*messages, tools=tools)
    except BadRequest:
        return
    check_request(request)
    roles = [message["role"] for message in request.to_anthropic()["messages"]]
    assert all(a != b for a, b in pairwise(roles))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ({"type": "allowed_tools"}, None),
        (None, None),
    ],
    ids=str,
)
def test_the_choice_of_tools_in_anthropics_words(choice: Any, expected: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    got = decoded(USER, tools=tools, tool_choice=choice)
    assert got.to_anthropic().get("tool_choice") == expected
    assert "tool_choice" not in decoded(USER, tool_choice=choice).to_anthropic()


def test_legacy_functions_are_tools_and_their_calls_have_ids_of_ours() -> None:
    def called(x: int) -> dict[str, Any]:
        function = {"name": "f", "arguments": f'{{"x":{x}}}'}
        return {"role": "assistant", "content": None, "function_call": function}

    got = decoded(
        USER,
        called(1),
        {"role": "function", "name": "f", "content": "one"},
        called(2),
        {"role": "function", "name": "f", "content": "two"},
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    function = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert got.tools == [function]
    assert got.tool_choice == {"type": "function", "function": {"name": "f"}}
    _, first, one, second, two = got.to_openai()
    assert first["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert "function_call" not in first
    assert one == {
        "role": "tool",
        "name": "f",
        "content": "one",
        "tool_call_id": first["tool_calls"][0]["id"],
    }
    assert two["tool_call_id"] == second["tool_calls"][0]["id"] != one["tool_call_id"]
    anthropic = got.to_anthropic()
    assert anthropic["tool_choice"] == {"type": "tool", "name": "f"}
    assert [turn["role"] for turn in anthropic["messages"]] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_legacy_choice_is_the_same_word(choice: str) -> None:
    assert decoded(USER, functions=[{"name": "f"}], function_call=choice).tool_choice == choice


def test_custom_tools_take_one_argument_at_anthropic() -> None:
    custom = {"type": "custom", "custom": {"name": "patch", "description": "Any text."}}
    call = {"id": "a", "type": "custom", "custom": {"name": "patch", "input": "+1"}}
    got = decoded(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
        tools=[custom],
        tool_choice={"type": "custom", "custom": {"name": "patch"}},
    )
    written = got.to_anthropic()
    assert written["tools"][0]["input_schema"]["properties"] == {"input": {"type": "string"}}
    assert written["tool_choice"] == {"type": "tool", "name": "patch"}
    (used,) = written["messages"][1]["content"]
    assert used == {"type": "tool_use", "id": "a", "name": "patch", "input": {"input": "+1"}}


SCHEMA = {"type": "object", "properties": {}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
ASKED = [
    (OpenAIChat(), {"response_format": FORMAT}, {"response_format": FORMAT}),
    (OpenAIChat(), {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    (OpenAIChat(), {"verbosity": "low"}, {"verbosity": "low"}),
    (
        OpenAIResponses(),
        {
            "text": {
                "format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}
            }
        },
        {"response_format": FORMAT},
    ),
    (
        OpenAIResponses(),
        {"text": {"format": {"type": "json_object"}, "verbosity": "high"}},
        {"response_format": {"type": "json_object"}, "verbosity": "high"},
    ),
    (
        OpenAIResponses(),
        {"reasoning": {"effort": "xhigh", "summary": "auto"}},
        {"reasoning_effort": "xhigh"},
    ),
    (
        AnthropicMessages(),
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    (AnthropicMessages(), {"output_config": {"effort": "max"}}, {"reasoning_effort": "max"}),
    (AnthropicMessages(), {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
    (AnthropicMessages(), {"thinking": {"type": "adaptive"}}, {}),
    (
        AnthropicMessages(),
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"reasoning_effort": "low"},
    ),
    (
        AnthropicMessages(),
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        {"reasoning_effort": "medium"},
    ),
    (
        AnthropicMessages(),
        {"thinking": {"type": "enabled", "budget_tokens": 32000}},
        {"reasoning_effort": "high"},
    ),
    (
        AnthropicMessages(),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"reasoning_effort": "low"},
    ),
]


@pytest.mark.parametrize(("format", "asked", "settings"), ASKED, ids=str)
def test_the_answers_form_and_effort_are_settings_in_the_words_of_chat(
    format: Any, asked: dict[str, Any], settings: dict[str, Any]
) -> None:
    got = format.decode({"messages": [USER], "input": "Hi", **asked})
    assert got.settings == settings


def test_settings_are_fit_for_the_official_clients_create() -> None:
    takes = inspect.signature(module("openai").OpenAI(api_key="-").chat.completions.create)
    for _, _, wanted in ASKED:
        takes.bind(messages=[], model="m", **wanted)
