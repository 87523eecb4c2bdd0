"""Who runs a tool: the client, the server, or the provider; and whether an answer ends because of
its calls."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from asgi_llmstream.chunks import (
    Chunk,
    Finish,
    Reasoning,
    Refusal,
    RunBy,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from asgi_llmstream.events import PartStarted, RunFinished
from tests.support.lifecycles import started, words


def who_runs(*chunks: Chunk, offered: Collection[str] | None = None) -> dict[str, RunBy | None]:
    """Of each call of these chunks, by its id."""
    lifecycle = started(offered)
    events = [event for chunk in chunks for event in lifecycle.feed(chunk)]
    return {e.part.id: e.part.by for e in events if isinstance(e, PartStarted)}


def reason_of(*chunks: Chunk, offered: Collection[str] | None = None) -> str:
    lifecycle = started(offered)
    for chunk in chunks:
        lifecycle.feed(chunk)
    *_, finished = lifecycle.finish()
    assert isinstance(finished, RunFinished)
    return finished.reason


@pytest.mark.parametrize(
    ("offered", "by"), [(None, "client"), ({"f"}, "client"), ({"g"}, "server"), ((), "server")]
)
def test_a_call_of_what_the_client_did_not_offer_is_the_servers(
    offered: Collection[str] | None, by: str
) -> None:
    assert who_runs(ToolCall("a", "f"), offered=offered) == {"a": by}
    assert who_runs(
        ToolCallDelta(0, "a", None, "{"), ToolCallDelta(0, None, "f", "}"), offered=offered
    ) == {"a": by}


@pytest.mark.parametrize("offered", [None, {"f"}, {"g"}])
@pytest.mark.parametrize("by", ["client", "server", "provider"])
def test_the_producers_own_word_decides_who_runs_a_tool(
    offered: Collection[str] | None, by: RunBy
) -> None:
    assert who_runs(ToolCall("a", "f", by=by), offered=offered) == {"a": by}
    assert who_runs(ToolCallDelta(0, "a", by=by), ToolCallDelta(0, None, "f"), offered=offered) == {
        "a": by
    }


def test_of_what_is_no_call_nobody_says_who_runs_it() -> None:
    lifecycle = started(())
    texts: list[Chunk] = [Text("a"), Reasoning("b"), Refusal("c")]
    events = [event for chunk in texts for event in lifecycle.feed(chunk)]
    parts = [event.part for event in events if isinstance(event, PartStarted)]
    assert [(part.by, part.runs_elsewhere) for part in parts] == [(None, False)] * len(texts)


@pytest.mark.parametrize("chunk", [ToolCall("a", "f", by="me"), ToolCallDelta(0, "a", by="me")])  # type: ignore[arg-type]
def test_somebody_else_runs_no_tools_and_changes_nothing(chunk: Chunk) -> None:
    lifecycle = started()
    lifecycle.feed(Text("a"))
    with pytest.raises(ValueError, match="by"):
        lifecycle.feed(chunk)
    assert words(lifecycle.feed(Text("b"))) == ["text 0 + b"]


@pytest.mark.parametrize("between", [[], [Finish()], [Step()]])
def test_another_call_at_the_index_of_a_providers_is_who_it_says(between: list[Chunk]) -> None:
    search = ToolCallDelta(0, "srv", "search", by="provider")
    calls = who_runs(search, *between, ToolCallDelta(0, "a", "f"), ToolCallDelta(0, arguments="{}"))
    assert calls == {"srv": "provider", "a": "client"}


@pytest.mark.parametrize("said", ["tool_calls", None])
@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([ToolCall("a", "mine")], "tool_calls"),
        ([ToolCall("a", "its")], "stop"),
        ([ToolCall("a", "its"), ToolCall("b", "mine")], "tool_calls"),
        ([ToolCall("a", "mine", by="provider")], "stop"),
        ([ToolCall("a", "mine"), Finish("tool_calls"), ToolCall("b", "its")], "stop"),
        ([ToolCall("a", "its"), Finish("tool_calls"), ToolCall("b", "mine")], "tool_calls"),
    ],
)
def test_an_answer_ends_because_of_calls_only_if_the_client_is_to_answer_some(
    calls: list[Chunk], reason: str, said: Any
) -> None:
    assert reason_of(*calls, Finish(said), offered={"mine"}) == reason


def test_without_a_finish_it_ends_because_of_calls_if_one_of_the_clients_waits() -> None:
    assert reason_of(ToolCall("a", "its"), offered=()) == "stop"
    mixed = [ToolCall("a", "mine"), ToolCall("b", "its"), ToolResult("b", 1)]
    assert reason_of(*mixed, offered={"mine"}) == "tool_calls"
    assert reason_of(*mixed, ToolResult("a", 1), offered={"mine"}) == "stop"


@pytest.mark.parametrize("reason", ["length", "content_filter", "other", "stop"])
def test_another_reason_stays_whoever_is_called(reason: Any) -> None:
    assert reason_of(ToolCall("a", "its"), Finish(reason), offered=()) == reason
