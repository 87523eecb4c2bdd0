"""Every example runs as it stands, over a socket."""

from __future__ import annotations

import json
import re
import runpy
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from asgi_llmstream import (
    Answer,
    ChatApp,
    ChatRequest,
    RateLimited,
    Reasoning,
    Source,
    ToolCall,
    ToolCallDelta,
    Usage,
    collect,
)
from asgi_llmstream.testing import check_stream
from tests.support.providers import events_of, module
from tests.support.servers import serve

EXAMPLES = Path(__file__).parents[2] / "examples"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Ada"}], "stream": True}
QUESTION = {"text": "Ada"}
SECRET = {"authorization": "Bearer secret"}


@contextmanager
def running(example: str) -> Iterator[httpx.Client]:
    """The example's `app`, served by uvicorn."""
    app = runpy.run_path(str(EXAMPLES / example))["app"]
    with serve(app) as url, httpx.Client(base_url=url, timeout=15, trust_env=False) as client:
        yield client


@contextmanager
def by_command(example: str) -> Iterator[httpx.Client]:
    """The same by the command of the README: for a library that keeps connections open between
    requests, and so wants its event loop to live as long as the process."""
    folder, name = (EXAMPLES / example).parent, Path(example).stem
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = ["--app-dir", str(folder), f"{name}:app", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *command], pass_fds=[listener.fileno()]
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def text(body: bytes) -> str:
    """What the answer says."""
    chunks = [json.loads(event.data) for event in check_stream(body, "openai")[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def usage(body: bytes) -> dict[str, int]:
    """The tokens that the stream counts."""
    (used,) = [chunk["usage"] for chunk in events_of(body) if chunk.get("usage")]
    return {name: used[name] for name in ("prompt_tokens", "completion_tokens")}


def test_every_example_is_listed_with_how_to_run_it_and_tested() -> None:
    listed = re.findall(r"--app-dir (\w+) (\w+):app", (EXAMPLES / "README.md").read_text())
    there = [f"{path.parent.name}/{path.name}" for path in EXAMPLES.glob("*/*.py")]
    assert sorted(f"{folder}/{name}.py" for folder, name in listed) == sorted(there)
    dispatchers = Path(__file__).parents[1] / "frameworks" / "test_dispatchers.py"
    tested = Path(__file__).read_text() + dispatchers.read_text()
    assert [example for example in there if f'"{example}"' not in tested] == []


@pytest.mark.parametrize("example", ["fastapi/mounted.py", "litestar/plugin.py"])
def test_the_chat_streams(example: str) -> None:
    with running(example) as client:
        response = client.post("/v1/chat/completions", json=CHAT, headers=SECRET)
        assert text(response.content) == "Hello, Ada!"
        assert client.get("/v1/models", headers=SECRET).status_code == 200


@pytest.mark.parametrize("example", ["fastapi/save_sqlite.py", "litestar/plugin.py"])
def test_strangers_are_kept_out(example: str) -> None:
    with running(example) as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 401


def test_the_mounted_apps_own_routes_are_still_there() -> None:
    with running("fastapi/mounted.py") as client:
        assert client.get("/").json() == {"chat": "/v1/chat/completions"}


@pytest.mark.parametrize(
    ("example", "document"),
    [("fastapi/route.py", "/openapi.json"), ("litestar/handler.py", "/schema/openapi.json")],
)
def test_one_route_streams_and_is_documented(example: str, document: str) -> None:
    with running(example) as client:
        response = client.post("/ask", json=QUESTION)
        assert response.status_code == 200
        assert text(response.content) == "Hello, Ada!"
        responses = client.get(document).json()["paths"]["/ask"]["post"]["responses"]
        assert [*responses["200"]["content"]] == ["text/event-stream"]
        assert client.post("/ask", json={}).status_code in (400, 422)


@pytest.mark.parametrize("example", ["fastapi/save_sqlite.py", "litestar/save_sqlite.py"])
def test_answers_are_saved_also_when_the_client_has_left(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.sqlite3"
    monkeypatch.setenv("DATABASE", str(path))
    long = {"messages": [{"role": "user", "content": "Ada" * 1000}], "stream": True}
    with running(example) as client:
        client.headers.update(SECRET)
        client.post("/v1/chat/completions", json=CHAT)
        with client.stream("POST", "/v1/chat/completions", json=long) as response:
            next(line for line in response.iter_lines() if '"H"' in line)
    # The server has ended, and with it every request.
    with closing(sqlite3.connect(path)) as database:
        saved = dict(database.execute("SELECT outcome, text FROM answers"))
    assert saved["finished"] == "Hello, Ada!"
    assert saved["disconnected"].startswith("H")
    assert not saved["disconnected"].endswith("!")


@pytest.mark.parametrize("example", ["fastapi/resume.py", "litestar/resume.py"])
def test_an_answer_goes_on_without_its_client_who_gets_the_rest_when_he_is_back(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAUSE", "0.02")
    with running(example) as client:
        client.headers.update(SECRET)
        with client.stream("POST", "/v1/events", json=CHAT) as response:
            lines = response.iter_lines()
            cursor = next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")
            stream = response.headers["location"]
        rest = client.get(stream, headers={"last-event-id": cursor}).content
        assert b"run-started" not in rest
        assert b"Ada" in rest
        assert rest.rstrip().split(b"\n\n")[-1].startswith(f"id: {cursor[:32]}".encode())
        assert b"event: run-finished" in rest
        assert client.post(f"{stream}/stop").json()["outcome"] == "finished"


def test_nobody_follows_the_answers_of_another() -> None:
    with running("litestar/resume.py") as client:
        assert client.post("/v1/events", json=CHAT).status_code == 401
        stream = client.post("/v1/events", json=CHAT, headers=SECRET).headers["location"]
        assert client.get(stream, headers=SECRET).status_code == 200
        assert client.get(stream, headers={"authorization": "Bearer other"}).status_code == 404


@contextmanager
def model(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model behind an OpenAI-compatible API, which the examples that begin now call."""
    with serve(ChatApp(answer)) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "-")
        monkeypatch.setenv("OPENAI_MODEL", "small")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield


async def greeter(request: ChatRequest) -> AsyncIterator[Any]:
    """A model that may be asked too much."""
    assert request.model == "small"
    if request.prompt == "too much":
        raise RateLimited(retry_after=7)
    yield f"Hello, {request.prompt}!"
    yield Usage(input_tokens=3, output_tokens=5)


def test_the_proxy_passes_answers_and_refusals_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with model(greeter, monkeypatch), running("fastapi/proxy_openai.py") as client:
        response = client.post("/v1/chat/completions", json=CHAT)
        assert text(response.content) == "Hello, Ada!"
        refused = {"messages": [{"role": "user", "content": "too much"}], "stream": True}
        response = client.post("/v1/chat/completions", json=refused)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "7"


WEATHER = {"name": "weather", "description": "Now.", "parameters": {"type": "object"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}}
WISHES: dict[str, Any] = {
    "temperature": 0,
    "max_completion_tokens": 7,
    "stop": ["."],
    "tools": [{"type": "function", "function": WEATHER}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "response_format": SCHEMA,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "user": "ada",
    "metadata": {"a": "b"},
    "own_field": [1],
}


@contextmanager
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The bodies that the proxy's model is asked with."""
    asked: list[dict[str, Any]] = []

    async def listening(request: ChatRequest) -> AsyncIterator[str]:
        asked.append(request.body)
        yield "Hello!"

    with model(listening, monkeypatch):
        yield asked


def test_the_proxy_passes_on_everything_that_a_client_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream(monkeypatch) as asked, running("fastapi/proxy_openai.py") as client:
        assert client.post("/v1/chat/completions", json=CHAT | WISHES).status_code == 200
        assert client.post("/v1/chat/completions", json=CHAT | {"stream": False}).is_success
        legacy = CHAT | {"functions": [WEATHER], "function_call": {"name": "weather"}}
        assert client.post("/v1/chat/completions", json=legacy).is_success
    ours = {"model": "small", "stream": True, "stream_options": {"include_usage": True}}
    tools = {name: WISHES[name] for name in ("tools", "tool_choice")}
    assert asked == [CHAT | WISHES | ours, CHAT | ours, CHAT | tools | ours]


def test_the_proxy_passes_on_what_clients_of_other_protocols_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool = {"name": "weather", "description": "Now.", "input_schema": {"type": "object"}}
    anthropic = {**CHAT, "model": "small", "max_tokens": 7, "temperature": 0, "tools": [tool]}
    anthropic |= {"stop_sequences": ["."], "tool_choice": {"type": "tool", "name": "weather"}}
    responses = {"model": "small", "input": "Ada", "max_output_tokens": 7, "temperature": 0}
    responses |= {"tools": [{"type": "function", **WEATHER}]}
    responses |= {"text": {"format": {"type": "json_schema", **SCHEMA["json_schema"]}}}
    with upstream(monkeypatch) as asked, running("fastapi/proxy_openai.py") as client:
        assert client.post("/v1/messages", json=anthropic).is_success
        assert client.post("/v1/responses", json=responses).is_success
    for body in asked:
        assert (body["max_tokens"], body["temperature"]) == (7, 0)
        assert body["tools"][0]["function"]["name"] == "weather"
        assert body["stream_options"] == {"include_usage": True}
    first, second = asked
    assert first["stop"] == ["."]
    assert first["tool_choice"] == WISHES["tool_choice"]
    assert second["response_format"]["json_schema"]["name"] == "city"
    assert "tool_choice" not in second


@pytest.mark.parametrize("example", ["fastapi/langchain_chat.py", "litestar/callbacks.py"])
def test_langchain_streams_token_by_token_and_with_its_usage(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module("langchain_openai")
    go_on = threading.Event()

    async def slow(request: ChatRequest) -> AsyncIterator[Any]:
        yield "Hello, "
        # Nothing more before the client has that.
        assert await anyio.to_thread.run_sync(go_on.wait, 10)
        yield f"{request.prompt}!"
        yield Usage(input_tokens=3, output_tokens=5)

    with model(slow, monkeypatch), by_command(example) as client:
        asked = {**CHAT, "stream_options": {"include_usage": True}}
        with client.stream("POST", "/v1/chat/completions", json=asked) as response:
            assert response.status_code == 200
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if b"Hello, " in body:
                    go_on.set()
    assert text(body) == "Hello, Ada!"
    assert usage(body) == {"prompt_tokens": 3, "completion_tokens": 5}


@pytest.mark.parametrize("example", ["fastapi/langchain_chat.py", "litestar/callbacks.py"])
def test_langchain_passes_refusals_on(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module("langchain_openai")
    refused = {"messages": [{"role": "user", "content": "too much"}], "stream": True}
    with model(greeter, monkeypatch), by_command(example) as client:
        response = client.post("/v1/chat/completions", json=refused)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "7"


def test_the_agent_answers_with_what_its_tool_said(monkeypatch: pytest.MonkeyPatch) -> None:
    histories: list[Any] = []

    async def scripted(request: ChatRequest) -> AsyncIterator[Any]:
        histories.append(request.to_openai())
        assert request.tools[0]["function"]["name"] == "weather"
        if len(histories) == 1:
            yield "I look. "
            yield ToolCall("call_1", "weather", {"city": "Rome"})
            yield ToolCall("call_2", "weather", "no JSON")
        else:
            yield "It is hot."

    with model(scripted, monkeypatch), running("fastapi/agent.py") as client:
        response = client.post("/v1/chat/completions", json=CHAT)
        assert text(response.content) == "I look. It is hot."
        histories.clear()
        plain = client.get("/v1/events", params={"prompt": "Ada"})
    results = [
        json.loads(event.data)["item"]
        for event in check_stream(plain.content, "events")
        if event.event == "item-added"
    ]
    assert [(result["id"], result.get("error", False)) for result in results] == [
        ("call_1", False),
        ("call_2", True),
    ]
    asked, said, first, second = histories[1]
    assert asked == {"role": "user", "content": "Ada"}
    assert said["content"] == "I look. "
    assert [call["id"] for call in said["tool_calls"]] == ["call_1", "call_2"]
    assert (first["tool_call_id"], json.loads(first["content"])["celsius"]) == ("call_1", 31)
    assert second["content"].startswith("bad arguments")


async def talkative(request: ChatRequest) -> AsyncIterator[Any]:
    """A model with all that the recipes take away, cut where it hurts."""
    yield Reasoning("The user is Ada, born 1815.")
    for token in ("Call ", "me at 0", "30 1234", "56. ", "I love ", "cats. ", "Buy", " now!"):
        yield token
    yield ToolCallDelta(0, "call_1", "crm_lookup_v2", '{"name":')
    yield ToolCallDelta(0, arguments='"Ada"}')


ANSWER = {
    "said": "Call me at 030 123456. I love cats. Buy now!",
    "thought": "The user is Ada, born 1815.",
    "calls": ["crm_lookup_v2"],
    "reason": "tool_calls",
}


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("filtered", {}),
        ("without_reasoning", {"thought": None}),
        ("renamed", {"calls": ["lookup"]}),
        ("redacted", {"said": "Call me at [number]. I love cats. Buy now!"}),
        (
            "moderated",
            {
                "said": "Call me at 030 123456. I love cats. ",
                "calls": [],
                "reason": "content_filter",
            },
        ),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_recipe_changes_what_it_says_and_nothing_else(
    recipe: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = [{"type": "function", "function": {"name": n}} for n in ("crm_lookup_v2", "lookup")]
    asked = {**CHAT, "stream": False, "tools": offered}
    with model(talkative, monkeypatch), running("fastapi/recipes.py") as client:
        (choice,) = client.post(f"/{recipe}/v1/chat/completions", json=asked).json()["choices"]
    message = choice["message"]
    assert ANSWER | changes == {
        "said": message["content"],
        "thought": message.get("reasoning_content"),
        "calls": [call["function"]["name"] for call in message.get("tool_calls", [])],
        "reason": choice["finish_reason"],
    }


def test_an_advertisement_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "-")
    # What OpenAI chat has no word for comes from a provider that does: here as our own chunks.
    example = runpy.run_path(str(EXAMPLES / "fastapi/recipes.py"))
    sources = [Source("https://ads.example/cats"), Source("https://cats.example")]
    message = anyio.run(collect, example["filtered"](sources))
    assert [source.url for source in message.sources] == ["https://cats.example"]


def test_a_page_of_another_origin_asks_with_its_visitors_cookie() -> None:
    origin = {"origin": "http://localhost:5173"}
    asks = {**origin, "access-control-request-method": "POST"}
    with running("fastapi/other_origin.py") as client:
        preflight = client.options("/v1/chat/completions", headers=asks)
        assert preflight.is_success
        assert preflight.headers["access-control-allow-origin"] == origin["origin"]
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert client.post("/v1/chat/completions", json=CHAT, headers=origin).status_code in (
            401,
            403,
        )
        client.cookies.set("session", "ada")
        response = client.post("/v1/chat/completions", json=CHAT, headers=origin)
        assert text(response.content) == "Hello, Ada!"
        assert response.headers["access-control-allow-origin"] == origin["origin"]


def test_an_agent_that_never_comes_to_an_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def scripted(request: ChatRequest) -> AsyncIterator[Any]:
        nonlocal asked
        asked += 1
        yield ToolCall(f"call_{asked}", "weather", {"city": "Rome"})

    with model(scripted, monkeypatch), running("fastapi/agent.py") as client:
        client.post("/v1/chat/completions", json=CHAT)
    assert asked == 5
