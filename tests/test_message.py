"""`Message`: built up from chunks, whole or not yet."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_llmstream.chunks import (
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
from asgi_llmstream.events import RunAborted, RunFailed, RunFinished, RunStarted
from asgi_llmstream.message import Message, MessagePart, MessageToolCall
from asgi_llmstream.sse import ServerSentEvent


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
    assert built(ServerSentEvent("x"), Raw(b": y\n"), {"data": "z"}).content == []


def test_an_error_ends_the_message_which_keeps_what_it_had() -> None:
    message = built("half", Usage(1, 2), Error("broken"))
    assert (message.text, message.usage, message.finish_reason) == ("half", Usage(1, 2), None)
    with pytest.raises(RuntimeError, match="has ended"):
        message += "more"
    assert message.text == "half"


@pytest.mark.parametrize("thing", [None, 5, b"bytes", object(), ["a"], {}])
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
    types = pytest.importorskip("openai.types.chat")
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
