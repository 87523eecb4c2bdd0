"""npm `eventsource` and `@microsoft/fetch-event-source`, over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from asgi_llmstream import ChatApp, StreamOptions
from asgi_llmstream.formats import Events, OpenAIChat
from tests.support.node import Run, node
from tests.support.scripted import TEXT, Silence, killing, scripted
from tests.support.servers import serve

__all__ = ["node"]

# Milliseconds, so that the reconnections come soon.
FORMATS = (OpenAIChat(), Events(retry=20))
HEARTBEATS = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(ChatApp(scripted, models=["m"], formats=FORMATS)) as address:
        yield address


def types_of(out: dict[str, Any]) -> list[str]:
    return [event["type"] for event in out["events"]]


def text_of(out: dict[str, Any], kind: str = "text") -> str:
    deltas = [event["data"] for event in out["events"] if event["type"] == "part-delta"]
    return "".join(delta["text"] for delta in deltas if delta["kind"] == kind)


@pytest.mark.parametrize(
    ("prompt", "kind", "text", "reason"),
    [
        ("text", "text", TEXT, "stop"),
        ("reason", "reasoning", "Let me think.", "stop"),
        ("length", "text", "Hel", "length"),
        ("refuse", "refusal", "I would rather not.", "content_filter"),
        ("nothing", "text", "", "stop"),
    ],
)
def test_an_event_source_gets_every_event_once_and_stops_after_the_end(
    node: Run, url: str, prompt: str, kind: str, text: str, reason: str
) -> None:
    out = node("eventsource.mjs", url, prompt)
    assert text_of(out, kind) == text
    assert out["events"][-1]["type"] == "run-finished"
    assert out["events"][-1]["data"]["reason"] == reason
    ids = [event["id"] for event in out["events"]]
    numbers = [int(id.rpartition(":")[2]) for id in ids]
    assert numbers[0] == 1
    # A delta that others were merged into has the last one's number.
    assert numbers == sorted(set(numbers))
    assert out["opened"] == 1
    assert out["errors"][-1]["code"] == 204


def test_an_event_source_gets_parallel_calls_results_and_usage(node: Run, url: str) -> None:
    out = node("eventsource.mjs", url, "agent")
    calls = [e["data"] for e in out["events"] if e["type"] == "part-ended"]
    assert [(c["part"]["id"], c["text"]) for c in calls if c["part"]["kind"] == "tool_call"] == [
        ("call_a", '{"city":"Oslo"}'),
        ("call_b", '{"zone":1}'),
    ]
    items = [e["data"]["item"] for e in out["events"] if e["type"] == "item-added"]
    assert [(item["id"], item["output"]) for item in items] == [
        ("call_b", "noon"),
        ("call_a", {"degrees": 3}),
    ]
    assert out["events"][-1]["data"]["usage"]["output_tokens"] == 2


def test_an_error_in_mid_stream_is_the_last_event(node: Run, url: str) -> None:
    out = node("eventsource.mjs", url, "break")
    assert text_of(out) == "Hel"
    last = out["events"][-1]
    assert last["type"] == "run-failed"
    assert last["data"]["message"] == "The server could not finish the answer."


def test_an_error_before_the_first_chunk_is_an_http_status(node: Run, url: str) -> None:
    out = node("eventsource.mjs", url, "limit")
    assert out["events"] == []
    assert [error["code"] for error in out["errors"]] == [429]


def test_a_kill_in_mid_stream_does_not_run_the_model_again(node: Run) -> None:
    with serve(killing(ChatApp(scripted, formats=FORMATS), b'"Hel"')) as url:
        out = node("eventsource.mjs", url, "hang")
    assert out["opened"] == 1
    assert types_of(out).count("run-started") == 1
    assert "run-finished" not in types_of(out)
    assert out["errors"][-1]["code"] == 204


def test_an_event_source_does_not_hear_heartbeats(node: Run) -> None:
    silence = Silence(enough=5)
    silence.app = ChatApp(silence.answer, options=HEARTBEATS, formats=FORMATS)
    with serve(silence) as url:
        out = node("eventsource.mjs", url, "hi")
    assert text_of(out) == "Hello!"
    assert "message" not in types_of(out)
    assert types_of(out).count("part-delta") == 3


def deltas_of(out: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a stream of chat completion chunks that ended as it should."""
    assert "error" not in out, out["error"]
    *messages, done = out["messages"]
    assert done["data"] == "[DONE]"
    return [json.loads(message["data"])["choices"][0]["delta"] for message in messages]


def test_fetch_event_source_reads_a_posted_stream(node: Run, url: str) -> None:
    deltas = deltas_of(node("fetch_event_source.mjs", url, "text"))
    assert "".join(delta.get("content", "") for delta in deltas) == TEXT


def test_fetch_event_source_gets_reasoning_and_parallel_calls(node: Run, url: str) -> None:
    reasoned = deltas_of(node("fetch_event_source.mjs", url, "reason"))
    assert "".join(d.get("reasoning_content", "") for d in reasoned) == "Let me think."
    called = deltas_of(node("fetch_event_source.mjs", url, "call"))
    pieces = [call for delta in called for call in delta.get("tool_calls", [])]
    arguments = ["", ""]
    for piece in pieces:
        arguments[piece["index"]] += piece["function"]["arguments"]
    assert arguments == ['{"city":"Oslo"}', '{"zone":1}']


def test_fetch_event_source_sees_an_error_in_mid_stream(node: Run, url: str) -> None:
    *_, error, done = node("fetch_event_source.mjs", url, "break")["messages"]
    assert json.loads(error["data"])["error"]["type"] == "server_error"
    assert done["data"] == "[DONE]"


def test_fetch_event_source_sees_a_status_before_the_first_chunk(node: Run, url: str) -> None:
    out = node("fetch_event_source.mjs", url, "limit")
    assert out["status"] == 429
    assert out["messages"] == []


def test_fetch_event_source_sees_a_kill_in_mid_stream(node: Run) -> None:
    with serve(killing(ChatApp(scripted), b'"Hel"')) as url:
        out = node("fetch_event_source.mjs", url, "hang")
    assert out["error"]["name"] == "TypeError"
    assert all(message["data"] != "[DONE]" for message in out["messages"])


def test_fetch_event_source_gets_no_message_for_a_heartbeat(node: Run) -> None:
    silence = Silence(enough=5)
    silence.app = ChatApp(silence.answer, options=HEARTBEATS)
    with serve(silence) as url:
        out = node("fetch_event_source.mjs", url, "hi")
    assert [delta.get("content") for delta in deltas_of(out)] == ["", "Hel", "lo", "!", None]
    assert all(message["data"] for message in out["messages"])
