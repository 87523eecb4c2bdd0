"""Every example runs as it stands, over a socket."""

from __future__ import annotations

import json
import re
import runpy
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from asgi_llmstream import ChatApp, ChatRequest, RateLimited
from asgi_llmstream.testing import check_stream
from servers import serve

EXAMPLES = Path(__file__).parent.parent / "examples"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Ada"}], "stream": True}
QUESTION = {"text": "Ada"}
SECRET = {"authorization": "Bearer secret"}


@contextmanager
def running(example: str) -> Iterator[httpx.Client]:
    """The example's `app`, served by uvicorn."""
    app = runpy.run_path(str(EXAMPLES / example))["app"]
    with serve(app) as url, httpx.Client(base_url=url, timeout=15, trust_env=False) as client:
        yield client


def text(body: bytes) -> str:
    """What the answer says."""
    chunks = [json.loads(event.data) for event in check_stream(body, "openai")[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_every_example_is_listed_with_how_to_run_it_and_tested() -> None:
    listed = re.findall(r"--app-dir (\w+) (\w+):app", (EXAMPLES / "README.md").read_text())
    there = [f"{path.parent.name}/{path.name}" for path in EXAMPLES.glob("*/*.py")]
    assert sorted(f"{folder}/{name}.py" for folder, name in listed) == sorted(there)
    tested = Path(__file__).read_text()
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


def test_the_proxy_passes_answers_and_refusals_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def upstream(request: ChatRequest) -> AsyncIterator[str]:
        assert request.model == "small"
        if request.prompt == "too much":
            raise RateLimited(retry_after=7)
        yield f"Hello, {request.prompt}!"

    with serve(ChatApp(upstream)) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "-")
        monkeypatch.setenv("OPENAI_MODEL", "small")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with running("fastapi/proxy_openai.py") as client:
            response = client.post("/v1/chat/completions", json=CHAT)
            assert text(response.content) == "Hello, Ada!"
            refused = {"messages": [{"role": "user", "content": "too much"}], "stream": True}
            response = client.post("/v1/chat/completions", json=refused)
            assert response.status_code == 429
            assert response.headers["retry-after"] == "7"
