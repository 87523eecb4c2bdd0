"""The same promises below every framework, on every server, over a socket."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import fastapi
import httpx
import litestar
import pytest
from litestar.params import JSONBody
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

import asgi_llmstream.fastapi
import asgi_llmstream.litestar
import asgi_llmstream.starlette
from asgi_llmstream import ChatApp, ChatRequest, RateLimited, StreamOptions, StreamResult
from asgi_llmstream.testing import Client, check_stream
from tests.support.servers import KINDS, serve

# Headers wait for the first token, however slow the machine is; heartbeats soon follow it.
OPTIONS = StreamOptions(commit_after=10, heartbeat_interval=0.05)

# Seconds after which something that should have happened never will.
PATIENCE = 15


class Turn:
    """One request, and what its producer is told to do by the test's thread.

    Attributes:
        go: one for every token: the producer waits for it before it goes on.
        closed: set by the producer's `finally`.
        refused: whether the producer raises instead of answering.
    """

    def __init__(self, tokens: int = 3, refused: bool = False) -> None:
        self.key = f"turn-{next(_numbers)}"
        self.go = [threading.Event() for _ in range(tokens)]
        self.closed = threading.Event()
        self.refused = refused
        self.body = {"messages": [{"role": "user", "content": self.key}], "stream": True}
        TURNS[self.key] = self


TURNS: dict[str, Turn] = {}
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def no_thread_waits_on() -> Iterator[None]:
    """A wait that was abandoned for a disconnect still holds its thread."""
    yield
    for turn in TURNS.values():
        for event in turn.go:
            event.set()
    TURNS.clear()


async def produce(key: str) -> AsyncIterator[str]:
    turn = TURNS[key]
    try:
        if turn.refused:
            raise RateLimited(retry_after=7)
        for number, event in enumerate(turn.go):
            yield f"<{number}>"
            await anyio.to_thread.run_sync(event.wait, PATIENCE, abandon_on_cancel=True)
    finally:
        turn.closed.set()


def answer(request: ChatRequest) -> AsyncIterator[str]:
    return produce(request.prompt)


def chat_app() -> ChatApp:
    return ChatApp(answer, options=OPTIONS)


def prompt(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


# The frameworks. Each app answers `PATH`, or says which path it does.


def fastapi_mount() -> Any:
    chat = chat_app()
    app = fastapi.FastAPI(lifespan=chat.lifespan)
    app.mount("/v1", chat)
    return app


def fastapi_router() -> Any:
    app = fastapi.FastAPI()
    app.include_router(asgi_llmstream.fastapi.chat_router(answer, options=OPTIONS), prefix="/v1")
    return app


def fastapi_route() -> Any:
    app = fastapi.FastAPI()

    @app.post("/chat")
    async def chat(body: dict[str, Any]) -> asgi_llmstream.fastapi.LLMStreamResponse:
        return asgi_llmstream.fastapi.LLMStreamResponse(produce(prompt(body)), options=OPTIONS)

    return app


def litestar_plugin() -> Any:
    plugin = asgi_llmstream.litestar.LLMStreamPlugin(answer, options=OPTIONS)
    return litestar.Litestar(plugins=[plugin])


def litestar_handler() -> Any:
    @litestar.post("/chat")
    async def chat(data: JSONBody[dict[str, Any]]) -> asgi_llmstream.litestar.LLMStreamResponse:
        return asgi_llmstream.litestar.LLMStreamResponse(produce(prompt(data)), options=OPTIONS)

    return litestar.Litestar([chat])


def litestar_mount() -> Any:
    chat = chat_app()
    mount = litestar.asgi("/v1", is_mount=True, copy_scope=True)(chat)
    return litestar.Litestar([mount], lifespan=[chat.lifespan])


def starlette_mount() -> Any:
    chat = chat_app()
    return Starlette(routes=[Mount("/v1", chat)], lifespan=chat.lifespan)


def starlette_route() -> Any:
    async def chat(request: Request) -> Response:
        producer = produce(prompt(await request.json()))
        return asgi_llmstream.starlette.LLMStreamResponse(producer, options=OPTIONS)

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


class Framework(NamedTuple):
    """One way to have the chat in an app.

    Attributes:
        build: makes the app.
        prefix: where the chat's paths are; None if there is one route, at `/chat`.
        owned: whether `ChatApp` answers every path below the prefix, also those that are none.
    """

    build: Callable[[], Any]
    prefix: str | None = "/v1"
    owned: bool = False

    @property
    def path(self) -> str:
        return "/chat" if self.prefix is None else f"{self.prefix}/chat/completions"


FRAMEWORKS = {
    "fastapi-mount": Framework(fastapi_mount, owned=True),
    "fastapi-router": Framework(fastapi_router),
    "fastapi-route": Framework(fastapi_route, prefix=None),
    "litestar-plugin": Framework(litestar_plugin),
    "litestar-handler": Framework(litestar_handler, prefix=None),
    "litestar-mount": Framework(litestar_mount, owned=True),
    "starlette-mount": Framework(starlette_mount, owned=True),
    "starlette-route": Framework(starlette_route, prefix=None),
    "bare": Framework(chat_app, prefix="", owned=True),
}


class Served(NamedTuple):
    framework: Framework
    client: httpx.Client

    def ask(self, turn: Turn) -> Any:
        return self.client.stream("POST", self.framework.path, json=turn.body)


@contextmanager
def served(framework: Framework, kind: str, **settings: Any) -> Iterator[Served]:
    with serve(framework.build(), kind, **settings) as url:
        with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
            yield Served(framework, client)


@pytest.fixture(
    scope="module",
    params=[(name, kind) for kind in KINDS for name in FRAMEWORKS],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    """Every framework on every server, started once for all tests here.

    No pair is left out: FastAPI, Starlette and Litestar all run on trio, too.
    """
    name, kind = request.param
    with served(FRAMEWORKS[name], kind) as running:
        yield running


def wait_for_line(lines: Iterator[str], part: str) -> None:
    for line in lines:
        if part in line:
            return
    raise AssertionError(f"the stream ended without {part!r}")


def test_every_token_is_there_before_the_next_is_made(server: Served) -> None:
    turn = Turn()
    with server.ask(turn) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = response.iter_lines()
        for number, event in enumerate(turn.go):
            wait_for_line(lines, f'"<{number}>"')
            event.set()
        wait_for_line(lines, "data: [DONE]")
        assert list(lines) == [""]
    assert turn.closed.wait(PATIENCE)


def test_a_silent_producer_is_covered_by_heartbeats(server: Served) -> None:
    turn = Turn(tokens=1)
    with server.ask(turn) as response:
        lines = response.iter_lines()
        wait_for_line(lines, '"<0>"')
        for _ in range(2):
            wait_for_line(lines, ": ping")
        turn.go[0].set()
        wait_for_line(lines, "data: [DONE]")


def test_a_client_that_leaves_closes_the_producer(server: Served) -> None:
    turn = Turn()
    with server.ask(turn) as response:
        wait_for_line(response.iter_lines(), '"<0>"')
    assert turn.closed.wait(PATIENCE)
    assert not turn.go[0].is_set()


def test_a_failure_before_the_first_token_is_an_http_status(server: Served) -> None:
    turn = Turn(refused=True)
    with server.ask(turn) as response:
        response.read()
        assert response.status_code == 429
        assert response.headers["retry-after"] == "7"
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert turn.closed.wait(PATIENCE)


def test_other_paths_and_methods_are_404_and_405(server: Served) -> None:
    prefix = server.framework.prefix
    nowhere = server.client.get(f"{prefix or ''}/nothing/here")
    assert nowhere.status_code == 404
    wrong = server.client.put(server.framework.path)
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]
    if server.framework.owned:
        assert nowhere.json()["error"]["code"] == "not_found"
        assert wrong.json()["error"]["code"] == "method_not_allowed"


def test_head_is_answered_like_get_without_a_body(server: Served) -> None:
    prefix = server.framework.prefix
    if prefix is None:
        return  # one route of the user's own, for POST
    head, get = (server.client.request(method, f"{prefix}/models") for method in ("HEAD", "GET"))
    assert (head.status_code, get.status_code) == (200, 200)
    assert (head.content, head.headers["content-type"]) == (b"", "application/json")
    assert get.json()["object"] == "list"


# `root_path`, which says where a proxy has put the app.


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_server_that_puts_root_path_before_every_path_changes_nothing(name: str) -> None:
    with served(FRAMEWORKS[name], "uvicorn", root_path="/api") as running:
        turn = Turn(tokens=1)
        turn.go[0].set()
        with running.ask(turn) as response:
            assert response.status_code == 200
            wait_for_line(response.iter_lines(), "data: [DONE]")


@pytest.mark.anyio
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("stripped", [True, False])
async def test_a_proxy_may_strip_the_root_path_or_leave_it(name: str, stripped: bool) -> None:
    framework = FRAMEWORKS[name]
    turn = Turn(tokens=1)
    turn.go[0].set()
    client = Client(framework.build(), root_path="/api")
    path = framework.path if stripped else f"/api{framework.path}"
    response = await client.request("POST", path, json=turn.body)
    assert response.status == 200
    assert check_stream(response.body, "openai")


# The lifespan, for those that get none of their own.


@pytest.mark.anyio
async def test_after_its_lifespan_a_chat_answers_503_until_the_next_begins() -> None:
    chat = chat_app()
    client = Client(chat)
    async with chat.lifespan():
        assert (await client.request("GET", "/models")).status == 200
    stopped = await client.request("POST", "/chat/completions", json=Turn().body)
    assert (stopped.status, stopped.json()["error"]["code"]) == (503, "shutting_down")
    assert int(stopped.headers["retry-after"]) > 0
    async with chat.lifespan():
        assert (await client.request("GET", "/models")).status == 200


@pytest.mark.anyio
async def test_a_chat_without_a_lifespan_and_one_that_two_servers_share_are_open() -> None:
    chat = chat_app()
    client = Client(chat)
    assert (await client.request("GET", "/models")).status == 200
    async with chat.lifespan():
        async with chat.lifespan():
            pass
        assert (await client.request("GET", "/models")).status == 200


def test_the_chats_lifespan_goes_into_a_lifespan_of_ones_own() -> None:
    chat = chat_app()
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with chat.lifespan(app):
            log.append("up")
            yield
            log.append("down")

    app = Starlette(routes=[Mount("/v1", chat)], lifespan=lifespan)
    with serve(app) as url:
        assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 200
    assert log == ["up", "down"]


# docs/frameworks.md: what runs when, where no framework stands between.


user: ContextVar[str] = ContextVar("user", default="nobody")


def authenticate(app: Any) -> Any:
    """Middleware that knows the user."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            user.set("ada")
            scope["state"] = {"user": "ada"}
        await app(scope, receive, send)

    return middleware


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["starlette-route", "starlette-mount", "bare"])
@pytest.mark.parametrize("outcome", ["finished", "disconnected"])
async def test_the_background_task_comes_last_and_the_producer_sees_the_middlewares_context(
    how: str, outcome: str
) -> None:
    log: list[str] = []
    go = anyio.Event()

    async def producer(request: Any) -> AsyncIterator[str]:
        try:
            yield "Hel"
            await go.wait()
        finally:
            log.append(f"producer closes: {user.get()}, {request.scope['state']['user']}")

    def on_finish(result: StreamResult) -> None:
        log.append(f"on_finish: {result.outcome}")

    async def route(request: Request) -> Response:
        return asgi_llmstream.starlette.LLMStreamResponse(
            producer(request),
            on_finish=on_finish,
            background=BackgroundTask(log.append, "background task"),
        )

    chat = ChatApp(producer, on_finish=on_finish)
    app: Any = {
        "starlette-route": Starlette(
            routes=[Route("/v1/chat/completions", route, methods=["POST"])]
        ),
        "starlette-mount": Starlette(routes=[Mount("/v1", chat)]),
        "bare": chat,
    }[how]
    path = "/chat/completions" if how == "bare" else "/v1/chat/completions"
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with Client(authenticate(app)).stream("POST", path, json=body) as response:
        await response.started()
        await response.chunk()
        if outcome == "disconnected":
            response.disconnect()
        else:
            go.set()
        await response.returned()
    expected = ["producer closes: ada, ada", f"on_finish: {outcome}"]
    if how == "starlette-route":
        expected.append("background task")
    assert log == expected
