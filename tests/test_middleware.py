"""`LLMStreamMiddleware` around event streams that others write, and around everything else.

What it adds is tested together with its absence: each of these fails without it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse as FastAPIEvents
from fastapi.sse import ServerSentEvent as FastAPIEvent
from litestar import Litestar, get
from litestar.response import ServerSentEvent as LitestarEvents
from sse_starlette.sse import EventSourceResponse as StarletteEvents
from starlette.applications import Starlette
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    StreamingResponse,
)
from starlette.routing import Route

from asgi_llmstream import LLMStream, LLMStreamMiddleware, StreamOptions
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, ManualClock, check_stream, settle

pytestmark = [
    pytest.mark.anyio,
    # sse-starlette and FastAPI leave generators to trio's finalizer, with and without us.
    pytest.mark.filterwarnings("ignore:Async generator 'test_middleware:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning"),
]


class Source:
    """A producer that says one word and is then silent, and knows when it was closed."""

    def __init__(self, then: Callable[[], Any] | None = None) -> None:
        self.closed = False
        self.release = anyio.Event()
        self._then = then

    async def words(self) -> AsyncIterator[str]:
        try:
            yield "one"
            if self._then is None:
                await self.release.wait()
            else:
                await anyio.lowlevel.checkpoint()
                self._then()
            yield "two"
        finally:
            self.closed = True


def sse_starlette(source: Source) -> Any:
    async def endpoint(request: Any) -> Any:
        return StarletteEvents(({"data": word} async for word in source.words()), ping=0)

    return Starlette(routes=[Route("/", endpoint)])


def fastapis_own(source: Source) -> Any:
    app = FastAPI()

    @app.get("/", response_class=FastAPIEvents)
    async def endpoint() -> AsyncIterator[FastAPIEvent]:
        async for word in source.words():
            yield FastAPIEvent(data=word)

    return app


def litestars_own(source: Source) -> Any:
    @get("/")
    async def endpoint() -> LitestarEvents:
        return LitestarEvents(source.words())

    return Litestar([endpoint])


def hand_written(source: Source) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for word in source.words():
            body = f"data: {word}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


# Those whose framework cancels them when the client has left.
LISTENING = [sse_starlette, fastapis_own, litestars_own]
ALL = [*LISTENING, hand_written]


def wrapped(app: Any, clock: ManualClock, **options: Any) -> Any:
    return LLMStreamMiddleware(app, StreamOptions(clock=clock, **options))


@pytest.mark.parametrize("write", ALL)
@pytest.mark.parametrize("with_it", [True, False])
async def test_silence_gets_heartbeats_and_only_with_it(write: Any, with_it: bool) -> None:
    clock, source = ManualClock(), Source()
    app = write(source)
    if with_it:
        app = wrapped(app, clock, heartbeat_interval=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        await settle()
        before = response.comments
        await clock.advance(5)
        await clock.advance(5)
        beats = response.comments - before
        response.disconnect()
        source.release.set()
    if write is not fastapis_own or with_it:  # it pings by itself, on the wall clock
        assert beats == (2 if with_it else 0)


@pytest.mark.parametrize("write", ALL)
async def test_event_streams_get_headers_against_buffering(write: Any) -> None:
    app = wrapped(write(Source(lambda: None)), ManualClock())
    response = await Client(app).request("GET", "/")
    assert response.headers["x-accel-buffering"] == "no"
    assert "cache-control" in response.headers
    assert response.body.count(b"data: ") == 2


async def test_a_heartbeat_never_stands_inside_an_event() -> None:
    clock, more = ManualClock(), anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: on", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"e\r\n\r\n", "more_body": True})
        await anyio.sleep_forever()

    async with Client(wrapped(app, clock, heartbeat_interval=1)).stream(
        "GET", "/", raise_app_exceptions=False
    ) as response:
        await response.chunk()
        await clock.advance(1)
        await clock.advance(1)
        assert response.body == b"data: on"
        more.set()
        await settle()
        await clock.advance(1)
        assert response.body in (
            b"data: one\r\n\r\n: ping\n",
            b"data: one\r\n\r\n: ping\n: ping\n",  # the one that was due stood back until then
        )
        response.disconnect()
        await settle()
        await clock.advance(5)


@pytest.mark.parametrize("write", LISTENING)
async def test_a_disconnect_still_reaches_the_application(write: Any) -> None:
    source = Source()
    app = wrapped(write(source), ManualClock())
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert source.closed


@pytest.mark.parametrize("with_it", [True, False])
async def test_who_never_listens_is_cancelled_after_its_client_has_left(with_it: bool) -> None:
    clock, source = ManualClock(), Source()
    app = hand_written(source)
    if with_it:
        app = wrapped(app, clock, close_timeout=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        response.disconnect()
        await settle()
        await clock.advance(5)
        assert source.closed is with_it
        source.release.set()
        await response.returned()


@pytest.mark.parametrize("write", ALL)
async def test_an_application_that_dies_in_mid_stream_aborts_the_connection(write: Any) -> None:
    def die() -> None:
        raise RuntimeError("dead")

    app = wrapped(write(Source(die)), ManualClock())
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.returned()
    # FastAPI has a buffer of its own, which it drops.
    assert b"one" in response.body or write is fastapis_own
    assert response.aborted


@pytest.mark.parametrize("with_it", [True, False])
async def test_an_application_that_returns_in_mid_stream_aborts_the_connection(
    with_it: bool,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})

    async with Client(wrapped(app, ManualClock())).stream("GET", "/") as response:
        await response.returned()
    assert response.body == b"data: a\n\n"
    assert response.aborted


@pytest.mark.parametrize("write", ALL)
async def test_a_reader_that_stalls_is_given_up(write: Any) -> None:
    clock = ManualClock()

    class Endless(Source):
        async def words(self) -> AsyncIterator[str]:
            try:
                while True:
                    yield "x" * 1000
            finally:
                self.closed = True

    app = wrapped(write(Endless()), clock, send_timeout=30, close_timeout=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        response.stall()
        with anyio.fail_after(20):  # Litestar begins in a thread, which `settle` does not wait for
            while not response.aborted:
                await clock.advance(10)
        await response.returned()
    assert response.aborted


async def test_a_stream_may_last_so_long_and_no_longer() -> None:
    clock = ManualClock()
    app = wrapped(sse_starlette(Source()), clock, total_timeout=60, close_timeout=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        await clock.advance(59)
        assert not response.aborted
        await clock.advance(1)
        await clock.advance(5)
        await response.returned()
    assert response.aborted


async def test_streams_of_ours_below_take_its_options_and_nothing_is_done_twice() -> None:
    clock = ManualClock()

    async def silent() -> AsyncIterator[str]:
        yield "Hel"
        await anyio.sleep_forever()

    app = wrapped(LLMStream(silent, format=Events()), clock, heartbeat_interval=3)
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        await clock.advance(3)
        assert response.comments == 1
        response.disconnect()
        await response.returned()
    own = StreamOptions(clock=clock, heartbeat_interval=7)
    app = wrapped(LLMStream(silent, options=own), clock, heartbeat_interval=3)
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        await clock.advance(3)
        assert response.comments == 0


# Everything else: the same, byte for byte.


def ordinary(tmp_path: Any) -> Any:
    file = tmp_path / "file.txt"
    file.write_text("a file\n" * 100)

    async def streamed(request: Any) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            for n in range(5):
                yield b"%d," % n

        return StreamingResponse(pieces(), media_type="text/plain")

    async def compressed(request: Any) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            yield gzip.compress(b"data: x\n\n", mtime=0)

        headers = {"content-encoding": "gzip"}
        return StreamingResponse(pieces(), headers=headers, media_type="text/event-stream")

    async def broken(request: Any) -> Any:
        raise ValueError("broken")

    async def echo(request: Any) -> Any:
        return PlainTextResponse(await request.body())

    async def json_response(request: Any) -> Any:
        return JSONResponse({"a": [1, 2]}, headers={"x-a": "b"})

    routes = [
        Route("/streamed", streamed),
        Route("/compressed", compressed),
        Route("/file", lambda request: FileResponse(file)),
        Route("/broken", broken),
        Route("/echo", echo, methods=["POST"]),
        Route("/json", json_response),
    ]
    return Starlette(routes=routes)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/streamed"),
        ("GET", "/compressed"),
        ("GET", "/file"),
        ("HEAD", "/file"),
        ("GET", "/broken"),
        ("POST", "/echo"),
        ("GET", "/json"),
        ("GET", "/none"),
    ],
)
async def test_everything_else_is_the_same_with_and_without_it(
    tmp_path: Any, method: str, path: str
) -> None:
    app = ordinary(tmp_path)
    messages = []
    for candidate in (app, LLMStreamMiddleware(app)):
        async with Client(candidate).stream(
            method, path, body=b"x" * 1000, raise_app_exceptions=False
        ) as response:
            await response.returned()
        messages.append((response.sends, repr(response.error)))
    assert messages[0] == messages[1]


async def test_websockets_and_the_lifespan_pass_through() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    for type in ("websocket", "lifespan"):
        scope: Any = {"type": type}
        arguments = (scope, object(), object())
        await LLMStreamMiddleware(app)(*arguments)  # type: ignore[arg-type]
        assert seen.pop() == arguments


async def test_an_event_stream_of_plain_events_is_still_well_formed() -> None:
    async def words() -> AsyncIterator[str]:
        yield "Hello"

    app = wrapped(LLMStream(words, format=Events()), ManualClock())
    response = await Client(app).request("GET", "/")
    events = check_stream(response.body, "events")
    assert [json.loads(e.data).get("text") for e in events if e.event == "part-delta"] == ["Hello"]
