"""The AI SDK's own providers, which check every event against a schema, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asgi_llmstream import ChatApp, StreamOptions
from tests.support.node import Run, node
from tests.support.scripted import TEXT, Silence, killing, scripted
from tests.support.servers import serve

__all__ = ["node"]

KINDS = ["compatible", "chat", "responses", "anthropic"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(ChatApp(scripted, models=["m"])) as address:
        yield address


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("prompt", "text", "reason"),
    [
        ("text", TEXT, "stop"),
        ("length", "Hel", "length"),
        ("refuse", "I would rather not.", "content-filter"),
        ("nothing", "", "stop"),
        ("items", "See", "stop"),
    ],
)
def test_the_text_and_why_it_ended_arrive(
    node: Run, url: str, prompt: str, text: str, reason: str, kind: str
) -> None:
    out = node("providers.mjs", url, prompt, kind)
    assert out["errors"] == []
    assert (out["text"], out["finishReason"]) == (text, reason)


@pytest.mark.parametrize("kind", ["compatible", "responses", "anthropic"])
def test_reasoning_arrives_where_the_provider_reads_it(node: Run, url: str, kind: str) -> None:
    out = node("providers.mjs", url, "reason", kind)
    assert (out["reasoning"], out["text"], out["errors"]) == ("Let me think.", "42", [])


@pytest.mark.parametrize("kind", KINDS)
def test_parallel_calls_and_usage_arrive(node: Run, url: str, kind: str) -> None:
    out = node("providers.mjs", url, "call", kind)
    assert out["toolCalls"] == [
        {"id": "call_a", "name": "weather", "input": {"city": "Oslo"}, "isTheProviders": False},
        {"id": "call_b", "name": "time", "input": {"zone": 1}, "isTheProviders": False},
    ]
    assert (out["finishReason"], out["errors"]) == ("tool-calls", [])
    usage = out["usage"]
    assert (usage["inputTokens"], usage["outputTokens"], usage["totalTokens"]) == (5, 7, 12)
    assert usage["inputTokenDetails"]["cacheReadTokens"] == 2
    assert usage["outputTokenDetails"]["reasoningTokens"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_server_ran_is_not_for_the_client_to_run(node: Run, url: str, kind: str) -> None:
    out = node("providers.mjs", url, "own agent", kind)
    assert (out["text"], out["finishReason"], out["errors"]) == ("I look. Cold.", "stop", [])
    assert [call for call in out["toolCalls"] if not call["isTheProviders"]] == []
    assert len(out["toolCalls"]) == (2 if kind == "responses" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_mid_stream_is_one(node: Run, url: str, kind: str) -> None:
    out = node("providers.mjs", url, "break openly", kind)
    assert (out["text"], out["finishReason"]) == ("Hel", "error")
    assert out["errors"][0]["message"] == "The cat sat on the GPU."


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_before_the_first_chunk_keeps_its_status(node: Run, url: str, kind: str) -> None:
    [error] = node("providers.mjs", url, "limit", kind)["errors"]
    assert error == {"message": "Too many requests. Try again later.", "status": 429}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_in_mid_stream_is_an_error(node: Run, kind: str) -> None:
    with serve(killing(ChatApp(scripted), b'"Hel"')) as url:
        out = node("providers.mjs", url, "hang", kind)
    assert out["errors"]
    assert out.get("finishReason") not in ("stop", "length", "tool-calls")


@pytest.mark.parametrize("kind", KINDS)
def test_heartbeats_are_no_events(node: Run, kind: str) -> None:
    silence = Silence(enough=5)
    options = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
    silence.app = ChatApp(silence.answer, options=options)
    with serve(silence) as url:
        out = node("providers.mjs", url, "hi", kind)
    assert (out["text"], out["errors"]) == ("Hello!", [])
