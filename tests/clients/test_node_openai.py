"""The official `openai` client for Node, over a socket: chat completions and Responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.node import Run, node
from tests.support.scripted import SILENT, TEXT, serving

__all__ = ["node"]

APIS = ("chat", "responses")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as address:
        yield address


def said(answer: dict[str, Any]) -> Any:
    """The answer without what differs between any two, and what only the helpers add."""
    run = answer["id"].partition("_" if "output" in answer else "-")[2]

    def prune(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if v is not None and k not in IGNORED}
            return {k: prune(v) for k, v in kept.items() if (k, v) != ("annotations", [])}
        return [prune(item) for item in value] if isinstance(value, list) else value

    return prune(json.loads(json.dumps(answer).replace(run, "run")))


IGNORED = {
    "created",
    "created_at",
    "completed_at",
    "parsed",
    "parsed_arguments",
    "output_parsed",
    "output_text",
    # A whole answer does not know where in its text a source was cited.
    "start_index",
    "end_index",
    # The helper keeps only the last delta of a field that it does not know.
    "reasoning_content",
    # The helper asks for it, and gets null where there is none.
    "usage",
}


def texts(api: str, events: list[dict[str, Any]]) -> list[str]:
    if api == "chat":
        deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
        return [delta["content"] for delta in deltas if delta.get("content")]
    return [e["delta"] for e in events if e["type"] == "response.output_text.delta"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("prompt", ["everything", "loop", "decline", "length", "filter"])
def test_the_helper_accumulates_to_the_same_as_the_whole_answer(
    node: Run, url: str, api: str, prompt: str
) -> None:
    helped = node("openai.mjs", url, api, "helper", prompt)
    whole = node("openai.mjs", url, api, "whole", prompt)
    assert "error" not in helped
    assert said(helped["answer"]) == said(whole["answer"])


def test_chat_has_text_reasoning_parallel_calls_and_usage(node: Run, url: str) -> None:
    events = node("openai.mjs", url, "chat", "raw", "everything")["events"]
    assert "".join(texts("chat", events)) == TEXT
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Let me think."
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert events[-1]["usage"]["total_tokens"] == 12
    (choice,) = node("openai.mjs", url, "chat", "helper", "everything")["answer"]["choices"]
    assert [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in choice["message"]["tool_calls"]
    ] == [("call_a", "add", '{"x":1}'), ("call_b", "sub", '{"y":2}'), ("call_c", "mul", '{"z":3}')]


def test_responses_have_text_reasoning_parallel_calls_and_usage(node: Run, url: str) -> None:
    answer = node("openai.mjs", url, "responses", "helper", "everything")["answer"]
    reasoning, message, *calls = answer["output"]
    assert reasoning["summary"][0]["text"] == "Let me think."
    assert message["content"][0]["text"] == answer["output_text"] == TEXT
    assert message["content"][0]["annotations"][0]["url"] == "https://example.org/a"
    assert [(call["call_id"], call["name"], call["arguments"]) for call in calls] == [
        ("call_a", "add", '{"x":1}'),
        ("call_b", "sub", '{"y":2}'),
        ("call_c", "mul", '{"z":3}'),
    ]
    assert answer["usage"]["total_tokens"] == 12


def test_the_helper_adds_the_responses_events_up_to_the_last_ones_response(
    node: Run, url: str
) -> None:
    events = node("openai.mjs", url, "responses", "raw", "everything")["events"]
    helped = node("openai.mjs", url, "responses", "helper", "everything")["answer"]
    assert events[-1]["type"] == "response.completed"
    assert said(events[-1]["response"]) == said(helped)


def test_a_tools_result_arrives_with_responses(node: Run, url: str) -> None:
    answer = node("openai.mjs", url, "responses", "helper", "loop")["answer"]
    call, _said = answer["output"]
    assert (call["type"], call["name"], call["output"]) == ("mcp_call", "add", '{"sum":2}')


def test_a_cut_response_says_why(node: Run, url: str) -> None:
    answer = node("openai.mjs", url, "responses", "helper", "length")["answer"]
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("mode", ["raw", "helper", "whole"])
def test_an_error_before_the_first_chunk_is_the_clients_own(
    node: Run, url: str, api: str, mode: str
) -> None:
    error = node("openai.mjs", url, api, mode, "limit")["error"]
    assert (error["name"], error["status"]) == ("RateLimitError", 429)
    assert error["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("mode", ["raw", "helper"])
@pytest.mark.parametrize(
    ("prompt", "said"), [("break", "could not finish"), ("break openly", "The cat sat")]
)
def test_an_error_in_mid_stream_throws_and_shows_only_what_is_safe(
    node: Run, url: str, api: str, mode: str, prompt: str, said: str
) -> None:
    out = node("openai.mjs", url, api, mode, prompt)
    assert out["error"]["name"] == "APIError"
    assert said in out["error"]["message"]
    assert "hunter2" not in json.dumps(out)
    assert texts(api, out["events"]) == (["Hel"] if mode == "raw" else [])


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("mode", ["raw", "helper"])
def test_a_line_that_is_cut_in_mid_stream_throws(node: Run, url: str, api: str, mode: str) -> None:
    out = node("openai.mjs", url, api, mode, "kill")
    assert out["error"]["message"] == "terminated"
    assert out["answer"] is None


@pytest.mark.parametrize("api", APIS)
def test_heartbeats_lose_nothing_and_add_no_event(node: Run, api: str) -> None:
    with serving(SILENT) as url:
        events = node("openai.mjs", url, api, "raw", "silence")["events"]
    assert texts(api, events) == ["Hel", "lo", "!"]
    assert len(events) == {"chat": 5, "responses": 11}[api]
