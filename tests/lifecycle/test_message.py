"""`Message`: built up from chunks, whole or not yet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    Error,
    File,
    Finish,
    Metadata,
    Raw,
    Reasoning,
    Refusal,
    Source,
    State,
    StateDelta,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.events import RunAborted, RunFailed, RunFinished, RunStarted
from asgi_llmstream.message import Message, MessagePart, MessageToolCall
from asgi_llmstream.sse import ServerSentEvent
from tests.support.history import check_anthropic, check_openai
from tests.support.providers import module
from tests.support.strategies import SEQUENCES


def built(*chunks: object) -> Message:
    message = Message()
    for chunk in chunks:
        message += chunk
    return message


def test_an_empty_message_has_nothing_in_it() -> None:
    message = Message()
    assert (message.text, message.reasoning, message.refusal) == ("", "", "")
    assert message.content == []
    assert message.tool_calls == []
    assert message.tool_results == []
    assert message.sources == []
    assert message.files == []
    assert message.data == []
    assert message.usage is None
    assert message.finish_reason is None
    assert message.native_finish_reason is None


def test_adding_chunks_changes_the_message_in_place() -> None:
    message = alias = Message()
    message += "Hel"
    message += Text("lo")
    assert alias is message
    assert alias.text == "Hello"


def test_text_reasoning_and_refusal_are_told_apart_and_joined_over_all_steps() -> None:
    message = built(
        Reasoning("Hm. "), "A", Reasoning("Ah."), "B", Refusal("No"), Step(), "C", Refusal("!")
    )
    assert message.text == "ABC"
    assert message.reasoning == "Hm. Ah."
    assert message.refusal == "No!"


def test_the_text_can_be_read_between_chunks() -> None:
    message, seen = Message(), []
    for piece in ("a", "b", "c"):
        message += piece
        seen.append(message.text)
    assert seen == ["a", "ab", "abc"]


def test_content_keeps_the_order_in_which_parts_and_items_began() -> None:
    source = Source("https://example.org", "Example")
    file = File("data:,x", "text/plain")
    message = built(
        Reasoning("r"),
        "te",
        source,
        "xt",
        ToolCallDelta(0, "a", "f", "{"),
        ToolCallDelta(1, "b", "g", "[]"),
        ToolCallDelta(0, arguments="}"),
        ToolResult("a", {"x": (1, 2)}),
        file,
        Data("n", None),
    )
    assert [
        (item.kind, item.text) if isinstance(item, MessagePart) else item
        for item in message.content
    ] == [
        ("reasoning", "r"),
        ("text", "text"),
        source,
        ("tool_call", "{}"),
        ("tool_call", "[]"),
        ToolResult("a", {"x": (1, 2)}),
        file,
        Data("n", None),
    ]
    assert message.sources == [source]
    assert message.files == [file]
    assert message.data == [Data("n", None)]


def test_tool_calls_can_be_read_while_their_arguments_still_come() -> None:
    message = built(ToolCallDelta(0, "a", "f", '{"x":'))
    assert message.tool_calls == [MessageToolCall("a", "f", '{"x":')]
    message += ToolCallDelta(0, arguments="1}")
    assert message.tool_calls == [MessageToolCall("a", "f", '{"x":1}')]
    assert message.tool_calls[0].parse() == {"x": 1}


def test_a_tool_call_without_a_name_is_not_in_the_message_yet() -> None:
    message = built(ToolCallDelta(0, "a", None, "{"))
    assert message.tool_calls == []
    message += ToolCallDelta(0, name="f")
    assert message.tool_calls == [MessageToolCall("a", "f", "{")]


def test_whole_and_streamed_tool_calls_read_the_same() -> None:
    whole = built(ToolCall("a", "f", {"x": 1}))
    streamed = built(ToolCallDelta(3, "a", "f"), ToolCallDelta(3, arguments='{"x":1}'))
    assert whole.tool_calls == streamed.tool_calls == [MessageToolCall("a", "f", '{"x":1}')]


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [('{"x": [1, null]}', {"x": [1, None]}), ("", {}), ("[1]", [1]), ('"x"', "x")],
)
def test_parse_reads_the_arguments_and_empty_ones_are_no_arguments(
    arguments: str, parsed: object
) -> None:
    assert MessageToolCall("a", "f", arguments).parse() == parsed


@pytest.mark.parametrize("arguments", ['{"x": 1', "{'x': 1}", "nope", "{} {}", " ", "NaN"])
def test_arguments_that_are_not_json_are_a_value_error_that_names_the_tool(arguments: str) -> None:
    with pytest.raises(ValueError, match="arguments for 'weather' that are not JSON"):
        MessageToolCall("a", "weather", arguments).parse()


def test_a_model_that_got_stuck_in_an_open_bracket_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="arguments for 'f'"):
        MessageToolCall("a", "f", "[" * 100_000).parse()


def test_tool_results_are_kept_with_their_errors() -> None:
    message = built(ToolCall("a", "f"), ToolResult("a", 1), ToolResult("b", "down", error=True))
    assert message.tool_results == [ToolResult("a", 1), ToolResult("b", "down", error=True)]


def test_usage_is_that_of_the_whole_answer() -> None:
    message = built("a", Usage(1, 1), Usage(10, 2), Finish(), "b")
    assert message.usage == Usage(10, 2)
    message += Usage(5, 1)
    assert message.usage == Usage(15, 3)


def test_a_finish_that_is_added_is_the_messages_finish_reason() -> None:
    message = built("a")
    assert message.finish_reason is None
    message += Finish("length", "max_tokens")
    assert (message.finish_reason, message.native_finish_reason) == ("length", "max_tokens")


def test_raw_server_sent_events_leave_no_trace() -> None:
    assert built(ServerSentEvent("x"), Raw(ServerSentEvent("y")), {"data": "z"}).content == []


def test_an_error_ends_the_message_which_keeps_what_it_had() -> None:
    message = built("half", Usage(1, 2), Error("broken"))
    assert (message.text, message.usage, message.finish_reason) == ("half", Usage(1, 2), None)
    with pytest.raises(RuntimeError, match="has ended"):
        message += "more"
    assert message.text == "half"


@pytest.mark.parametrize("thing", [None, 5, object(), ["a"], {}])
def test_what_no_producer_may_yield_cannot_be_added(thing: object) -> None:
    message = built("a")
    with pytest.raises(TypeError, match=f"cannot stream .*{type(thing).__name__}"):
        message += thing
    assert message.text == "a"


def test_the_events_of_a_run_say_who_answered_and_why_it_ended() -> None:
    message = Message()
    message.apply(RunStarted(1, "run", 1700000000, "m"))
    assert (message.id, message.created, message.model) == ("run", 1700000000, "m")
    message.apply(RunFinished(2, Usage(1, 2), "content_filter", "safety"))
    assert message.usage == Usage(1, 2)
    assert (message.finish_reason, message.native_finish_reason) == ("content_filter", "safety")


@pytest.mark.parametrize(
    "terminal",
    [RunFailed(2, Usage(1, 2), "m", "c", 500), RunAborted(2, Usage(1, 2), "gone")],
    ids=["failed", "aborted"],
)
def test_an_answer_that_broke_off_has_usage_but_no_finish_reason(terminal: Any) -> None:
    message = Message()
    message.apply(RunStarted(1, "run", 0, "m"))
    message.apply(terminal)
    assert (message.usage, message.finish_reason) == (Usage(1, 2), None)


def test_the_repr_shows_the_text() -> None:
    assert repr(built("Hello")) == ("Message([MessagePart('text', 'Hello')], finish_reason=None)")


# OpenAI's own objects


def chunk(**choice: Any) -> Any:
    types = module("openai.types.chat")
    choices = [{"index": 0, "finish_reason": None, "delta": {}, **choice}]
    usage = choice.pop("usage", None)
    return types.ChatCompletionChunk.model_validate(
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [] if usage else choices,
            "usage": usage,
        }
    )


def test_openais_chunks_can_be_added_as_they_are() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    message = built(
        chunk(delta={"role": "assistant", "content": None}),
        chunk(delta={"reasoning_content": "Hm."}),
        chunk(delta={"content": "Hel"}),
        chunk(delta={"content": "lo"}),
        chunk(delta={"tool_calls": [call]}),
        chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
        chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        chunk(finish_reason="tool_calls"),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
    )
    assert message.text == "Hello"
    assert message.reasoning == "Hm."
    assert [(call.id, call.name, call.parse()) for call in message.tool_calls] == [
        ("a", "f", {"x": 1})
    ]
    assert message.usage == Usage(3, 4)


# Signatures, and how it ended


def test_reasoning_keeps_its_signature() -> None:
    message = built(Reasoning("Hm."), Reasoning("", "sig"), "a")
    reasoning, text = message.content
    assert isinstance(reasoning, MessagePart)
    assert isinstance(text, MessagePart)
    assert (reasoning.signature, text.signature) == ("sig", None)


def test_a_finish_counts_until_the_model_says_more() -> None:
    message = built(ToolCall("c", "f"), Finish(None, "STOP"))
    assert (message.finish_reason, message.native_finish_reason) == ("tool_calls", "STOP")
    message += ToolResult("c", 1)
    assert message.finish_reason == "tool_calls"
    message += "so"
    assert (message.finish_reason, message.native_finish_reason) == (None, None)
    message += Finish("length")
    assert message.finish_reason == "length"


# As history


CALLS = [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]

HISTORIES: dict[str, tuple[list[object], list[dict[str, Any]], list[dict[str, Any]]]] = {
    "nothing": ([], [], []),
    "text": (
        ["Hel", "lo"],
        [{"role": "assistant", "content": "Hello"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}],
    ),
    "reasoning with its signature": (
        [Reasoning("Hm.", "sig"), Reasoning("", "sig2"), Reasoning("unsigned"), "Hi"],
        [{"role": "assistant", "content": "Hi"}],
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                    {"type": "thinking", "thinking": "", "signature": "sig2"},
                    {"type": "text", "text": "Hi"},
                ],
            }
        ],
    ),
    "nothing but reasoning": ([Reasoning("Hm.")], [], []),
    "a refusal": (
        [Refusal("No.")],
        [{"role": "assistant", "content": None, "refusal": "No."}],
        [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}],
    ),
    "parallel calls and their results": (
        [
            "I look.",
            ToolCallDelta(0, "a", "f", '{"x":'),
            ToolCallDelta(1, "b", "g"),
            ToolCallDelta(0, arguments="1}"),
            Finish("tool_calls"),
            ToolResult("b", "down", error=True),
            ToolResult("a", {"y": ["ø", None]}),
            "Done.",
        ],
        [
            {"role": "assistant", "content": "I look.", "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "b", "content": "down"},
            {"role": "tool", "tool_call_id": "a", "content": '{"y":["ø",null]}'},
            {"role": "assistant", "content": "Done."},
        ],
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "b", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": "down",
                        "is_error": True,
                    },
                    {"type": "tool_result", "tool_use_id": "a", "content": '{"y":["ø",null]}'},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
        ],
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_as_history_each_model_call_is_followed_by_its_results(name: str) -> None:
    chunks, openai, anthropic = HISTORIES[name]
    message = built(*chunks)
    assert message.to_openai() == openai
    assert message.to_anthropic() == anthropic


@pytest.mark.parametrize("name", HISTORIES)
def test_the_providers_own_types_accept_the_history(name: str) -> None:
    pydantic = module("pydantic")
    for_openai = pydantic.TypeAdapter(module("openai.types.chat").ChatCompletionMessageParam)
    for_anthropic = pydantic.TypeAdapter(module("anthropic.types").MessageParam)
    message = built(*HISTORIES[name][0])
    for said in message.to_openai():
        for_openai.validate_python(json.loads(json.dumps(said)))
    for said in message.to_anthropic():
        for_anthropic.validate_python(json.loads(json.dumps(said)))


def roles(message: Message) -> list[str]:
    return [said["role"] for said in message.to_openai()]


def test_what_a_model_says_after_a_result_is_another_message_also_without_a_boundary() -> None:
    assert roles(built(ToolCall("a", "f"), ToolResult("a"), "so")) == [
        "assistant",
        "tool",
        "assistant",
    ]


def test_a_result_that_comes_late_stands_with_its_call() -> None:
    message = built(ToolCall("a", "f"), ToolCall("b", "f"), ToolResult("b"), "so", ToolResult("a"))
    assert [said.get("tool_call_id") for said in message.to_openai()] == [None, "b", "a", None]


def test_of_two_results_of_one_call_the_last_counts() -> None:
    message = built(ToolCall("a", "f"), ToolResult("a", "soon"), ToolResult("a", "now"))
    assert [said["content"] for said in message.to_openai()[1:]] == ["now"]


# Providers refuse a call without its result, and a result without its call.


@pytest.mark.parametrize(
    "chunks",
    [
        (ToolCall("a", "f"),),
        ("Hm.", ToolCall("a", "f"), ToolCall("b", "f"), ToolResult("b", 1), "so"),
        (ToolResult("a", 1), ToolResult("b", 2)),
        ("so", ToolResult("a", 1), ToolCall("a", "f"), "then"),
        (Reasoning("Hm.", "sig"), ToolCall("a", "f"), Finish("tool_calls"), "so"),
        (ToolCall("a", "f", by="server"), ToolCall("b", "g", by="provider"), ToolResult("b", 1)),
    ],
)
def test_calls_and_results_go_back_in_pairs(chunks: tuple[Any, ...]) -> None:
    message = built(*chunks)
    check_openai(message.to_openai())
    check_anthropic(message.to_anthropic())


@settings(deadline=None)
@given(SEQUENCES)
def test_of_any_answer_calls_and_results_go_back_in_pairs(chunks: list[Chunk]) -> None:
    message = built(*chunks)
    check_openai(message.to_openai())
    check_anthropic(message.to_anthropic())


def test_a_call_without_a_result_says_so_as_an_error() -> None:
    message = built(ToolCall("a", "f"), Finish("tool_calls"))
    none = "There is no result of this call."
    assert message.to_openai()[1:] == [{"role": "tool", "tool_call_id": "a", "content": none}]
    result = {"type": "tool_result", "tool_use_id": "a", "content": none, "is_error": True}
    assert message.to_anthropic()[1:] == [{"role": "user", "content": [result]}]
    message.content.append(ToolResult("a", 7))  # as it comes in a later request
    assert message.to_openai()[1]["content"] == "7"


def test_a_result_of_no_call_is_left_out_and_parts_no_messages() -> None:
    assert built("so", ToolResult("a", 1), " then").to_openai() == [
        {"role": "assistant", "content": "so then"}
    ]
    assert built(ToolResult("a", 1)).to_openai() == []


def test_what_the_provider_ran_itself_is_neither_a_call_nor_history() -> None:
    search = ToolCall("srv", "search", {"q": 1}, by="provider")
    message = built("Look:", search, ToolResult("srv", ["x"]), " found.", ToolCall("a", "f"))
    assert [(call.id, call.by) for call in message.tool_calls] == [("a", "client")]
    (said, _result) = message.to_openai()
    assert said["content"] == "Look: found."
    assert [call["id"] for call in said["tool_calls"]] == ["a"]
    assert "srv" not in json.dumps(message.to_anthropic())
    assert message.tool_results == [ToolResult("srv", ["x"])]


@pytest.mark.parametrize("arguments", ['{"x": 1', "[1]", "nope"])
def test_arguments_that_are_no_object_go_back_as_what_they_are(arguments: str) -> None:
    message = built(ToolCall("a", "f", arguments))
    assert message.to_openai()[0]["tool_calls"][0]["function"]["arguments"] == arguments
    (block,) = message.to_anthropic()[0]["content"]
    assert block["input"] == {"invalid_json": arguments}


def test_text_that_is_blank_is_no_block_of_anthropics() -> None:
    assert built("\n\n", ToolCall("a", "f")).to_anthropic()[0]["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    ]


def test_half_an_emoji_never_reaches_the_next_request() -> None:
    message = built("\ud83d", ToolCall("a", "f", '"\ud83d"'), ToolResult("a", ["\ud83d"]))
    for history in (message.to_openai(), message.to_anthropic()):
        json.dumps(history, ensure_ascii=False).encode()
    assert built("\ud83d", "\ude00").to_openai()[0]["content"] == "\U0001f600"


# As stored


def eventful() -> Message:
    message = Message(id="run", model="m", created=7)
    for chunk in (
        Reasoning("Hm.", "sig"),
        "I look.",
        Source("https://example.org", "Example"),
        ToolCallDelta(0, "a", "f", '{"x":'),
        ToolCallDelta(0, arguments="1}"),
        Finish("tool_calls"),
        ToolResult("a", {"y": [1, None]}, error=True),
        ToolCall("s", "g", by="server"),
        ToolCall("p", "h", by="provider"),
        Usage(1, 2, 3, 4),
        Step("next"),
        Data("n", {"deep": [True]}),
        Data("n", 1, id="i"),
        ToolCall("r", "rm", by="server"),
        Approval("r", "It is final."),
        ToolCall("k", "rm", by="server"),
        Approval("k"),
        ToolResult("k", "Not now.", denied=True),
        Document("Rules", "application/pdf", "rules.pdf"),
        Metadata({"tags": {"a": 1}}),
        State({"n": 1}),
        StateDelta([{"op": "remove", "path": "/n"}]),
        File("data:,x", "text/plain"),
        Refusal("No."),
        "Yes.",
        Finish("content_filter", "refusal"),
    ):
        message += chunk
    return message


@pytest.mark.parametrize("make", [Message, lambda: built("a"), eventful])
def test_a_message_comes_back_from_json_exactly(make: Any) -> None:
    message = make()
    fields = message.to_dict()
    back = Message.from_dict(json.loads(json.dumps(fields)))
    assert back.to_dict() == fields
    assert repr(back) == repr(message)
    for name in ("id", "model", "created", "text", "reasoning", "refusal", "usage", "tool_calls"):
        assert getattr(back, name) == getattr(message, name)
    for name in ("tool_results", "approvals", "sources", "documents", "files", "data", "metadata"):
        assert getattr(back, name) == getattr(message, name)
    assert back.finish_reason == message.finish_reason
    assert [p.part for p in parts(back)] == [p.part for p in parts(message)]
    assert [p.signature for p in parts(back)] == [p.signature for p in parts(message)]
    assert back.to_openai() == message.to_openai()
    assert back.to_anthropic() == message.to_anthropic()


def parts(message: Message) -> list[MessagePart]:
    return [part for part in message.content if isinstance(part, MessagePart)]


def test_what_is_stored_can_be_read_by_people() -> None:
    assert built(Reasoning("Hm.", "sig"), ToolCall("a", "f"), ToolResult("a", 1)).to_dict() == {
        "id": "",
        "model": "",
        "created": 0,
        "completed": None,
        "content": [
            {
                "type": "part",
                "kind": "reasoning",
                "text": "Hm.",
                "id": "reasoning__0",
                "step": 0,
                "signature": "sig",
            },
            {"type": "part", "kind": "tool_call", "text": "{}", "id": "a", "step": 0, "name": "f"},
            {"type": "tool-result", "id": "a", "output": 1, "error": False, "denied": False},
        ],
        "usage": None,
        "finish_reason": None,
        "native_finish_reason": None,
        "finish_details": None,
    }


@pytest.mark.parametrize("fields", [{}, {"content": "x"}, {"content": [{"type": "nope"}]}])
def test_what_is_no_stored_message_is_a_value_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"required field|Expected|Invalid"):
        Message.from_dict(fields)


def test_a_message_that_came_whole_cannot_grow() -> None:
    back = Message.from_dict(built("a").to_dict())
    with pytest.raises(RuntimeError, match="came whole"):
        back += "b"
    assert back.text == "a"
