"""Whoever is not answered with a stream: what was to be streamed is closed all the same."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_llmstream import LLMStream, LLMStreamMiddleware, StreamOptions
from asgi_llmstream.formats import Events
from asgi_llmstream.producers import threads
from asgi_llmstream.starlette import LLMStreamResponse
from asgi_llmstream.testing import Client, check_stream
from tests.support.servers import KINDS, serve


class SyncStream:
    """A provider's stream, as sync clients return it."""

    closed_in: int | None = None

    def __iter__(self) -> SyncStream:
        return self

    def __next__(self) -> str:
        raise AssertionError("nobody is to begin it")

    def close(self) -> None:
        self.closed_in = threading.get_ident()

    @property
    def closed(self) -> bool:
        return self.closed_in is not None


class AsyncStream:
    """The same of async clients, which call it `close` too."""

    closed = False

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> str:
        raise AssertionError("nobody is to begin it")

    async def close(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed = True


STREAMS = [SyncStream, AsyncStream]


async def until_released(release: anyio.Event) -> Any:
    yield "Hel"
    await release.wait()


@asynccontextmanager
async def turning_away(app: Any) -> Any:
    """A `LLMStreamMiddleware` around the app whose one place is taken."""
    release = anyio.Event()
    busy = LLMStream(lambda: until_released(release))

    async def either(scope: Any, receive: Any, send: Any) -> None:
        await (busy if scope["path"] == "/busy" else app)(scope, receive, send)

    limited = LLMStreamMiddleware(either, StreamOptions(max_streams=1))
    async with Client(limited).stream("GET", "/busy") as response:
        await response.started()
        yield limited
        release.set()


@pytest.mark.anyio
@pytest.mark.parametrize("make", STREAMS)
class TestWhatWasHandedOverIsClosed:
    async def test_for_a_head(self, make: Callable[[], Any]) -> None:
        given = make()
        response = await Client(LLMStream(given)).request("HEAD", "/")
        assert (response.status, response.body) == (200, b"")
        assert given.closed

    async def test_for_a_head_of_a_route(self, make: Callable[[], Any]) -> None:
        given = make()
        app = Starlette(routes=[Route("/", lambda request: LLMStreamResponse(given))])
        assert (await Client(app).request("HEAD", "/")).status == 200
        assert given.closed

    async def test_while_the_process_drains(self, make: Callable[[], Any], drain: Any) -> None:
        given = make()
        await Client(LLMStream(["Hel"])).request("GET", "/")  # only loops with one are told
        drain()
        assert (await Client(LLMStream(given)).request("GET", "/")).status == 503
        assert given.closed

    async def test_where_there_are_enough_streams(self, make: Callable[[], Any]) -> None:
        given = make()
        async with turning_away(LLMStream(given)) as app:
            assert (await Client(app).request("GET", "/")).status == 503
        assert given.closed


@pytest.mark.anyio
async def test_a_sync_stream_is_closed_in_a_thread_because_that_may_block() -> None:
    given = SyncStream()
    await Client(LLMStream(given)).request("HEAD", "/")
    assert given.closed_in not in (None, threading.get_ident())


@pytest.mark.anyio
async def test_a_sync_stream_that_gets_no_thread_of_its_own_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_free_threads", threading.BoundedSemaphore(1))
    threads._free_threads.acquire()
    given = SyncStream()
    assert (await Client(LLMStream(given)).request("GET", "/")).status == 503
    assert given.closed


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_a_task_that_fetches_the_stream_is_cancelled() -> None:
    task = asyncio.ensure_future(anyio.sleep_forever())
    await Client(LLMStream(task)).request("HEAD", "/")
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.anyio
async def test_a_server_that_starts_and_stops_begins_no_answer() -> None:
    asked: list[str] = []
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await LLMStream(lambda: asked.append("model") or ["Hel"])({"type": "lifespan"}, receive, send)
    assert (asked, sent) == ([], ["lifespan.startup.complete", "lifespan.shutdown.complete"])


# WebSockets.

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def denying(answer: Callable[[], Any]) -> Any:
    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(LLMStreamResponse(answer(), format=Events()))

    return Starlette(routes=[WebSocketRoute("/", deny)])


def shake_hands(url: str) -> Iterator[bytes]:
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), 10) as sock:
        sock.sendall(HANDSHAKE)
        while piece := sock.recv(65536):
            yield piece


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "granian"])  # which cannot
def test_a_websocket_may_be_denied_with_a_stream(kind: str) -> None:
    with serve(denying(lambda: ["Hel", "lo"]), kind) as url:
        head, _, body = b"".join(shake_hands(url)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"text/event-stream" in head.lower()
    assert b"run-finished" in body


@pytest.mark.anyio
async def test_a_client_that_leaves_while_its_websocket_is_denied_ends_the_stream() -> None:
    left, closed = anyio.Event(), anyio.Event()
    sent: list[Any] = []

    async def answer() -> Any:
        try:
            yield "Hel"
            await anyio.sleep_forever()
        finally:
            closed.set()

    async def receive() -> Any:
        if not sent:
            return {"type": "websocket.connect"}
        await left.wait()
        return {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if b"Hel" in message.get("body", b""):
            left.set()

    scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {}}
    with anyio.fail_after(10):
        await LLMStream(answer, format=Events())(scope, receive, send)
    assert closed.is_set()
    assert {message["type"] for message in sent} == {
        "websocket.http.response.start",
        "websocket.http.response.body",
    }
    check_stream(b"".join(message.get("body", b"") for message in sent))
