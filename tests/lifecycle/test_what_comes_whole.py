"""Questions to a human, shared state and the message's metadata: as events, in the message, as
stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    Finish,
    Metadata,
    StateDelta,
    Text,
    ToolCall,
    ToolResult,
)
from asgi_llmstream.events import ItemAdded
from asgi_llmstream.message import Message
from tests.support.history import check_anthropic, check_openai
from tests.support.lifecycles import run, started, told

CALL = ToolCall("a", "rm", by="server")


def message_of(*chunks: Chunk) -> Message:
    message = Message()
    for chunk in chunks:
        message += chunk
    return message


def asked(*chunks: Chunk) -> list[str]:
    items = [event.item for event in run(*chunks) if isinstance(event, ItemAdded)]
    return [item.call_id for item in items if isinstance(item, Approval)]


def test_a_question_stands_in_its_calls_step_also_behind_that_model_calls_end() -> None:
    assert told(Text("May I?"), CALL, Finish("tool_calls"), Approval("a")) == [
        "step 0",
        "text 0 opens",
        "text 0 + May I?",
        "text 0 = May I?",
        "tool_call 0 opens as rm",
        "tool_call 0 + {}",
        "tool_call 0 = {}",
        "item Approval",
        "step 0 ends",
    ]


def test_the_last_call_of_an_id_is_asked_about() -> None:
    assert asked(CALL, ToolResult("a"), CALL, Approval("a")) == ["a_2"]


def test_a_call_that_has_its_result_is_not_asked_about() -> None:
    assert asked(CALL, ToolResult("a"), Approval("a")) == []


@pytest.mark.parametrize(
    ("offered", "call"),
    [({"rm"}, ToolCall("a", "rm")), (None, ToolCall("a", "rm", by="client"))],
)
def test_a_call_that_the_client_runs_cannot_be_asked_about(
    offered: set[str] | None, call: ToolCall
) -> None:
    lifecycle = started(offered)
    lifecycle.feed(call)
    with pytest.raises(ValueError, match="the client's, which asks its own human"):
        lifecycle.feed(Approval("a"))


def test_where_nobody_knows_who_runs_a_call_it_may_be_asked_about() -> None:
    assert asked(ToolCall("a", "rm"), Approval("a")) == ["a"]


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "add", "path": "/a", "value": None}],
        [{"op": "remove", "path": ""}],
        [{"op": "move", "path": "/a", "from": "/b"}],
        [],
    ],
)
def test_a_patch_of_the_state_passes_as_it_is(patch: Any) -> None:
    [event] = [event for event in run(StateDelta(patch)) if isinstance(event, ItemAdded)]
    assert event.item == StateDelta(patch)


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "add", "path": "/a"}],
        [{"op": "copy", "path": "/a", "from": "b"}],
        [{"op": "put", "path": "/a", "value": 1}],
        [{"op": "remove", "path": "a"}],
        [{"path": "/a", "value": 1}],
        [7],
        {"op": "remove", "path": "/a"},
    ],
)
def test_a_patch_that_a_client_could_not_apply_is_an_error(patch: Any) -> None:
    with pytest.raises(ValueError, match="RFC 6902"):
        run(StateDelta(patch))


@pytest.mark.parametrize(
    "chunk",
    [
        Approval(7),  # type: ignore[arg-type]
        Approval("a", 7),  # type: ignore[arg-type]
        ToolResult("a", denied="no"),  # type: ignore[arg-type]
        Data("n", id=7),  # type: ignore[arg-type]
        Data("n", transient=1),  # type: ignore[arg-type]
        Document("t", None),  # type: ignore[arg-type]
        Metadata([1]),  # type: ignore[arg-type]
    ],
)
def test_a_field_of_another_type_is_an_error(chunk: Chunk) -> None:
    with pytest.raises(TypeError):
        run(chunk)


def test_the_message_knows_which_calls_wait_for_a_human() -> None:
    other = ToolCall("b", "rm", by="server")
    message = message_of(CALL, other, Approval("a", "It is final."), Approval("b"))
    assert message.approvals == [Approval("a", "It is final."), Approval("b")]
    stored = Message.from_dict(json.loads(json.dumps(message.to_dict())))
    assert stored.approvals == message.approvals
    stored.content.append(ToolResult("a", "Not now.", denied=True))
    assert stored.approvals == [Approval("b")]


@pytest.mark.parametrize(
    ("denied", "told"),
    [(ToolResult("a", "Not now.", denied=True), "Not now."),
     (ToolResult("a", denied=True), "Tool call execution denied.")],
)  # fmt: skip
def test_a_denied_call_is_told_to_the_model_as_its_result(denied: ToolResult, told: str) -> None:
    message = message_of(CALL, Approval("a"), denied)
    check_openai(message.to_openai())
    check_anthropic(message.to_anthropic())
    assert message.to_openai()[-1] == {"role": "tool", "tool_call_id": "a", "content": told}
    [result] = message.to_anthropic()[-1]["content"]
    assert (result["content"], result["is_error"]) == (told, True)


def test_a_call_that_still_waits_has_a_result_that_says_that_there_is_none() -> None:
    message = message_of(CALL, Approval("a"))
    check_openai(message.to_openai())
    check_anthropic(message.to_anthropic())


def test_a_named_value_takes_the_place_of_the_one_before_and_a_transient_one_none() -> None:
    message = message_of(
        Data("bar", 1, "x"),
        Data("bar", 1, "y"),
        Data("baz", 1, "x"),
        Text("Hi."),
        Data("bar", 2, "x"),
        Data("bar", 9, "x", transient=True),
        Data("bar", 3),
    )
    assert [(data.name, data.id, data.value) for data in message.data] == [
        ("bar", "x", 2),
        ("bar", "y", 1),
        ("baz", "x", 1),
        ("bar", None, 3),
    ]


def test_metadata_go_into_those_before_them() -> None:
    message = message_of(
        Metadata({"model": "a", "cost": {"in": 1, "out": 2}}),
        Metadata({"cost": {"out": 3}, "model": {"name": "b"}}),
    )
    assert message.metadata == {"model": {"name": "b"}, "cost": {"in": 1, "out": 3}}


def test_a_message_that_is_yielded_again_asks_again() -> None:
    message = message_of(CALL, Approval("a", "It is final."), Document("Rules", "text/plain"))
    again = message_of(*message.to_chunks())
    assert again.approvals == message.approvals
    assert again.documents == message.documents == [Document("Rules", "text/plain")]
