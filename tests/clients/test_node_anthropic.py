"""The official `@anthropic-ai/sdk` client for Node, over a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_llmstream import ChatApp, ChatRequest, ToolCall
from tests.support.node import Run, node
from tests.support.scripted import SILENT, TEXT, serving
from tests.support.servers import serve

__all__ = ["node"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as address:
        yield address


def said(message: dict[str, Any]) -> Any:
    """The message without its id and what only the helper adds."""
    added = ("id", "parsed_output")
    blocks = [{k: v for k, v in b.items() if k not in added[1:]} for b in message["content"]]
    return {k: v for k, v in message.items() if k not in added} | {"content": blocks}


def texts(events: list[dict[str, Any]]) -> list[str]:
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    return [delta["text"] for delta in deltas if delta["type"] == "text_delta"]


@pytest.mark.parametrize("prompt", ["everything", "loop", "decline", "length", "filter"])
def test_the_helper_accumulates_to_the_same_as_the_whole_answer(
    node: Run, url: str, prompt: str
) -> None:
    helped = node("anthropic.mjs", url, "helper", prompt)
    whole = node("anthropic.mjs", url, "whole", prompt)
    assert "error" not in helped
    assert said(helped["answer"]) == said(whole["answer"])


def test_text_thinking_parallel_calls_and_usage_arrive(node: Run, url: str) -> None:
    message = node("anthropic.mjs", url, "helper", "everything")["answer"]
    thinking, text, *calls = message["content"]
    assert (thinking["thinking"], thinking["signature"]) == ("Let me think.", "sealed")
    assert text["text"] == TEXT
    assert text["citations"][0]["url"] == "https://example.org/a"
    assert [(call["id"], call["name"], call["input"]) for call in calls] == [
        ("call_a", "add", {"x": 1}),
        ("call_b", "sub", {"y": 2}),
        ("call_c", "mul", {"z": 3}),
    ]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["output_tokens"] == 7
    assert message["usage"]["cache_read_input_tokens"] == 2


def test_the_raw_stream_has_the_same_events(node: Run, url: str) -> None:
    events = node("anthropic.mjs", url, "raw", "everything")["events"]
    assert "".join(texts(events)) == TEXT
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("prompt", "reason"), [("length", "max_tokens"), ("decline", "refusal"), ("filter", "refusal")]
)
def test_endings_say_why(node: Run, url: str, prompt: str, reason: str) -> None:
    answer = node("anthropic.mjs", url, "helper", prompt)["answer"]
    assert answer["stop_reason"] == reason


@pytest.mark.parametrize("mode", ["raw", "helper", "whole"])
def test_an_error_before_the_first_chunk_is_the_clients_own(node: Run, url: str, mode: str) -> None:
    error = node("anthropic.mjs", url, mode, "limit")["error"]
    assert (error["name"], error["status"]) == ("RateLimitError", 429)
    assert error["type"] == "rate_limit_error"


@pytest.mark.parametrize("mode", ["raw", "helper"])
@pytest.mark.parametrize(
    ("prompt", "said"), [("break", "could not finish"), ("break openly", "The cat sat")]
)
def test_an_error_in_mid_stream_throws_and_shows_only_what_is_safe(
    node: Run, url: str, mode: str, prompt: str, said: str
) -> None:
    out = node("anthropic.mjs", url, mode, prompt)
    assert (out["error"]["name"], out["error"]["type"]) == ("APIError", "api_error")
    assert said in out["error"]["message"]
    assert "hunter2" not in json.dumps(out)
    assert texts(out["events"]) == (["Hel"] if mode == "raw" else [])


@pytest.mark.parametrize("mode", ["raw", "helper"])
def test_a_line_that_is_cut_in_mid_stream_throws(node: Run, url: str, mode: str) -> None:
    out = node("anthropic.mjs", url, mode, "kill")
    assert out["error"]["message"] == "terminated"
    assert out["answer"] is None


def test_heartbeats_lose_nothing_and_add_no_event(node: Run) -> None:
    with serving(SILENT) as url:
        events = node("anthropic.mjs", url, "raw", "silence")["events"]
    assert texts(events) == ["Hel", "lo", "!"]
    assert len(events) == 8


def test_a_tool_runner_sends_everything_again_when_it_wants_a_thread(node: Run) -> None:
    conversations: list[list[str]] = []

    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        conversations.append([message.role for message in request.messages])
        if request.messages[-1].role == "tool":
            yield f"It is {request.messages[-1].text}."
        else:
            yield ToolCall("call_a", "add", {"x": 1, "y": 2})

    app = Starlette(routes=[Mount("/v1", ChatApp(answer))])
    with serve(app) as url:
        message = node("anthropic.mjs", url, "tools", "1 + 2")["answer"]
    assert message["content"][0]["text"] == "It is 3."
    assert conversations == [["user"], ["user", "assistant", "tool"]]
