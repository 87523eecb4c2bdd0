"""`LLMStreamMiddleware` around event streams that others write, and around everything else."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse as FastAPIEvents
from fastapi.sse import ServerSentEvent as FastAPIEvent
from litestar import Litestar, get
from litestar.response import ServerSentEvent as LitestarEvents
from sse_starlette.sse import EventSourceResponse as StarletteEvents
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    StreamingResponse,
)
from starlette.routing import Route

from asgi_llmstream import LLMStream, LLMStreamMiddleware, StreamOptions, StreamResult
from asgi_llmstream.errors import LimitExceeded, TotalTimeout
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, ManualClock, Response, check_stream, settle

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


class Flood(Source):
    """Says more than any reader takes."""

    async def words(self) -> AsyncIterator[str]:
        try:
            while not self.release.is_set():
                yield "x" * 1000
                await anyio.lowlevel.checkpoint()
        finally:
            self.closed = True


def die() -> None:
    raise RuntimeError("dead")


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


# What runs below may have the same deadlines, and a word for them.
LAG = 0.1

# What it adds is shown with its absence: the same test, and the opposite of what it asserts.
both = pytest.mark.parametrize("with_it", [True, False], ids=["with", "without"])


def wrapped(app: Any, clock: ManualClock, with_it: bool = True, **options: Any) -> Any:
    return LLMStreamMiddleware(app, StreamOptions(clock=clock, **options)) if with_it else app


def below_another_middleware(app: Any) -> Any:
    """Starlette's, which `@app.middleware("http")` uses: it ends what broke off as if whole."""

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    return BaseHTTPMiddleware(app, pass_on)


async def aborted(clock: ManualClock, response: Response, *, wanted: bool) -> bool:
    """Whether the connection is, with much time on the clock."""
    if wanted:
        with anyio.fail_after(20):  # Litestar begins in a thread, which `settle` does not wait for
            while not response.aborted:
                await clock.advance(5)
    for _ in range(20):
        await clock.advance(5)
    return response.aborted


@pytest.mark.parametrize("write", ALL)
@both
async def test_silence_gets_heartbeats_and_only_with_it(write: Any, with_it: bool) -> None:
    clock, source = ManualClock(), Source()
    app = wrapped(write(source), clock, with_it, heartbeat_interval=5)
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
@both
async def test_event_streams_get_headers_against_buffering(write: Any, with_it: bool) -> None:
    app = wrapped(write(Source(lambda: None)), ManualClock(), with_it)
    response = await Client(app).request("GET", "/")
    wanted = {"x-accel-buffering", "cache-control"} <= set(response.headers)
    assert wanted or not with_it
    if write is hand_written:  # the others set them, too
        assert wanted is with_it
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


@both
async def test_who_never_listens_is_cancelled_after_its_client_has_left(with_it: bool) -> None:
    clock, source = ManualClock(), Source()
    app = wrapped(hand_written(source), clock, with_it, close_timeout=5)
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
    app = wrapped(write(Source(die)), ManualClock())
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.returned()
    # FastAPI has a buffer of its own, which it drops.
    assert b"one" in response.body or write is fastapis_own
    assert response.aborted


@pytest.mark.parametrize("write", ALL)
@both
async def test_it_does_so_also_below_a_middleware_that_would_end_it_cleanly(
    write: Any, with_it: bool
) -> None:
    app = wrapped(below_another_middleware(write(Source(die))), ManualClock(), with_it)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.returned()
    assert response.aborted is with_it
    assert response.complete is not with_it


async def test_work_after_the_last_message_holds_the_end_up_only_shortly() -> None:
    clock, worked = ManualClock(), anyio.Event()
    results: list[StreamResult] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": False})
        await worked.wait()
        raise RuntimeError("in a background task")

    options = StreamOptions(clock=clock)
    app = LLMStreamMiddleware(app, options, on_finish=results.append)  # type: ignore[assignment]
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        await clock.advance(0.1)
        await response.read_to_end()
        assert response.complete
        await settle()
        assert [result.outcome for result in results] == ["finished"]
        response.disconnect()
        await clock.advance(1000)
        worked.set()
    assert str(response.error) == "in a background task"


async def test_an_application_that_returns_in_mid_stream_aborts_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})

    async with Client(wrapped(app, ManualClock())).stream("GET", "/") as response:
        await response.returned()
    assert response.body == b"data: a\n\n"
    assert response.aborted


# Whoever is stopped is told, and at once.


@pytest.mark.parametrize("write", ALL)
@both
async def test_a_reader_that_stalls_is_given_up(write: Any, with_it: bool) -> None:
    clock, source = ManualClock(), Flood()
    app = wrapped(write(source), clock, with_it, send_timeout=30, close_timeout=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        response.stall()
        assert await aborted(clock, response, wanted=with_it) is with_it
        if with_it:
            await response.returned()
        else:
            source.release.set()
            response.disconnect()
            response.resume()


@pytest.mark.parametrize("write", ALL)
@both
async def test_a_stream_may_last_so_long_and_no_longer(write: Any, with_it: bool) -> None:
    clock, source = ManualClock(), Source()
    app = wrapped(write(source), clock, with_it, total_timeout=60, close_timeout=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        await clock.advance(59)
        assert not response.aborted
        await clock.advance(1 + LAG)
        if with_it:
            await response.returned()  # at once, also who listens to nothing
            assert source.closed
        assert response.aborted is with_it
        response.disconnect()
        source.release.set()


@pytest.mark.parametrize("write", ALL)
@both
async def test_a_drain_ends_every_stream_and_lets_none_begin(
    write: Any, with_it: bool, drain: Callable[[], None]
) -> None:
    clock, source = ManualClock(), Source()
    app = wrapped(write(source), clock, with_it, shutdown_grace=5, close_timeout=5)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        drain()
        await clock.advance(0)
        assert not response.aborted
        if with_it:
            refused = await Client(wrapped(write(Source(lambda: None)), clock)).request("GET", "/")
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert b"shutting down" in refused.body
        await clock.advance(5 + LAG)
        if with_it:
            await response.returned()
        assert response.aborted is with_it
        response.disconnect()
        source.release.set()
    assert source.closed


@pytest.mark.parametrize("write", LISTENING)
async def test_who_listens_is_told_at_once_and_may_clean_up(write: Any) -> None:
    clock, source = ManualClock(), Source()
    results: list[StreamResult] = []
    options = StreamOptions(clock=clock, total_timeout=60)
    app = LLMStreamMiddleware(write(source), options, on_finish=results.append)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        await clock.advance(60 + LAG)
        await response.returned()  # not a second later on the clock
    assert source.closed
    assert response.error is None
    (result,) = results
    assert result.outcome == "error"
    assert isinstance(result.error, TotalTimeout)


@pytest.mark.parametrize("version", ["2.3", "2.4"])
async def test_who_only_sends_is_told_by_that_where_the_server_would_too(version: str) -> None:
    clock, source = ManualClock(), Flood()
    app = wrapped(hand_written(source), clock, send_timeout=30, close_timeout=5)
    client = Client(app, spec_version=version)
    async with client.stream("GET", "/") as response:
        await response.chunk()
        response.stall()
        await settle()
        await clock.advance(30)
        assert source.closed is (version == "2.4")
        await clock.advance(5)
        await response.returned()
    assert response.aborted
    assert response.error is None  # an OSError that it was told by is no error of its own


async def test_a_finally_may_await_when_its_application_is_cancelled() -> None:
    clock, saved = ManualClock(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})
        try:
            await anyio.sleep_forever()
        finally:
            # As everywhere, trio wants it said.
            with anyio.CancelScope(shield=sniffio.current_async_library() == "trio"):
                await anyio.lowlevel.checkpoint()
                saved.append("answer")

    app = wrapped(app, clock, total_timeout=60, close_timeout=5)
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        await clock.advance(60 + LAG)
        await response.returned()
    assert saved == ["answer"]


async def test_an_application_that_ignores_cancellation_is_cancelled_once_more_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, cancelled, stop = ManualClock(), [], anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})
        while not stop.is_set():
            try:
                with anyio.CancelScope(shield=len(cancelled) > 0):
                    await stop.wait()
            except anyio.get_cancelled_exc_class():
                cancelled.append(clock.now())

    app = wrapped(app, clock, total_timeout=60, close_timeout=5)
    async with Client(app).stream("GET", "/stubborn", raise_app_exceptions=False) as response:
        await response.chunk()
        await clock.advance(60 + LAG)
        for _ in range(4):
            await clock.advance(5)
        assert "/stubborn" in caplog.text
        stop.set()
        await response.returned()
    assert cancelled


async def test_its_server_may_still_cancel_it() -> None:
    cancelled = anyio.Event()
    results: list[StreamResult] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    app = LLMStreamMiddleware(app, on_finish=results.append)  # type: ignore[assignment]
    with anyio.CancelScope() as scope:
        async with Client(app).stream("GET", "/") as response:
            await response.chunk()
            await settle()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert cancelled.is_set()
    assert [result.outcome for result in results] == ["cancelled"]


async def test_its_server_gets_its_task_back_though_a_send_is_stuck() -> None:
    results: list[StreamResult] = []
    app = LLMStreamMiddleware(hand_written(Flood()), on_finish=results.append)
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        async with Client(app).stream("GET", "/") as response:
            await response.chunk()
            response.stall()
            await settle()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert [(result.outcome, result.disconnected) for result in results] == [("cancelled", True)]


async def test_a_send_that_raises_ends_the_stream_and_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    results: list[StreamResult] = []
    app = LLMStreamMiddleware(hand_written(Flood()), on_finish=results.append)

    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def broken(message: Any) -> None:
            if message["type"] == "http.response.body":
                raise RuntimeError("a server's bug")
            await send(message)

        await app(scope, receive, broken)

    async with Client(server).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.returned()
    assert response.aborted
    (result,) = results
    assert (result.outcome, result.disconnected) == ("error", True)
    assert str(result.error) == "a server's bug"
    assert "send raised" in caplog.text


# `receive` has two readers.


async def test_a_body_that_arrives_while_it_streams_reaches_the_application() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        more = True
        while more:
            await settle()  # the watch reads meanwhile
            message = await receive()
            more = message["more_body"]
            body = b"data: %d\n\n" % len(message["body"])
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    pieces = [b"x" * size for size in range(1, 41)]

    async def server(scope: Any, receive: Any, send: Any) -> None:
        """Gives the body in pieces, and counts how far it is read ahead."""

        async def in_pieces() -> Any:
            if not pieces:
                return await receive()
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        await receive()
        await LLMStreamMiddleware(echo)(scope, in_pieces, send)

    response = await Client(server).request("GET", "/")
    assert response.body == b"".join(b"data: %d\n\n" % size for size in range(1, 41))


async def test_a_body_that_nobody_reads_is_not_heaped_up() -> None:
    read = 0

    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def endless() -> Any:
            nonlocal read
            read += 1
            await anyio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

        app = wrapped(hand_written(Source()), ManualClock())
        await app(scope, endless, send)

    with anyio.CancelScope() as over:
        async with Client(server).stream("GET", "/") as response:
            await response.chunk()
            await settle()
            assert 0 < read < 20
            over.cancel()
            await anyio.lowlevel.checkpoint()


async def test_several_tasks_may_send_at_once_and_none_is_forgotten() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def say(what: bytes) -> None:
            for _ in range(5):
                await send({"type": "http.response.body", "body": what, "more_body": True})

        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with anyio.create_task_group() as tasks:
            for what in (b"data: a\n\n", b": ping\n\n", b"data: b\n\n"):
                tasks.start_soon(say, what)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    response = await Client(LLMStreamMiddleware(app, StreamOptions(buffer_events=1))).request(
        "GET", "/"
    )
    assert response.complete
    for what in (b"data: a\n\n", b": ping\n\n", b"data: b\n\n"):
        assert response.body.count(what) == 5


async def test_several_tasks_may_ask_whether_the_client_has_left() -> None:
    told = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            told.append(True)

        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(listen)

    async with Client(LLMStreamMiddleware(app)).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert told == [True] * 3


# Hooks, and limits.


@pytest.mark.parametrize("write", ALL)
async def test_on_finish_is_told_once_how_and_where_each_stream_ended(write: Any) -> None:
    results: list[StreamResult] = []

    async def on_finish(result: StreamResult) -> None:
        await anyio.lowlevel.checkpoint()
        results.append(result)

    source, clock = Source(), ManualClock()
    app = LLMStreamMiddleware(write(source), StreamOptions(clock=clock), on_finish=on_finish)
    async with Client(app).stream("GET", "/?n=1") as response:
        await response.chunk()
        await clock.advance(3)
        source.release.set()
        await response.returned()
    source.release = anyio.Event()
    async with Client(app).stream("GET", "/?n=2", raise_app_exceptions=False) as response:
        await response.chunk()
        response.disconnect()
        await settle()
        source.release.set()
    ordinary = await Client(app).request("POST", "/nothing")
    first, *others = results
    assert (first.outcome, first.disconnected) == ("finished", False)
    assert first.duration == 3
    assert first.time_to_first_chunk == 0
    assert first.events >= 1
    assert first.scope["query_string"] == b"n=1"
    if write is not hand_written:  # it answers everything with a stream
        assert ordinary.status in (404, 405)
        (second,) = others
        assert second.scope["query_string"] == b"n=2"
        assert second.disconnected
        assert second.outcome == "disconnected"


async def test_on_finish_is_told_of_streams_of_ours_too_after_their_own() -> None:
    calls: list[tuple[str, StreamResult]] = []

    async def words() -> AsyncIterator[str]:
        yield "Hello"

    stream = LLMStream(words, on_finish=lambda result: calls.append(("own", result)))
    app = LLMStreamMiddleware(stream, on_finish=lambda result: calls.append(("all", result)))
    await Client(app).request("GET", "/a")
    assert [name for name, _ in calls] == ["own", "all"]
    assert calls[1][1].message.text == "Hello"
    assert calls[1][1].scope["path"] == "/a"


async def test_an_error_in_on_finish_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def on_finish(result: StreamResult) -> None:
        raise ValueError("my own fault")

    app = LLMStreamMiddleware(hand_written(Source(lambda: None)), on_finish=on_finish)
    response = await Client(app).request("GET", "/")
    assert response.complete
    assert "my own fault" in caplog.text


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
async def test_there_are_only_so_many_streams_at_a_time(ours: bool) -> None:
    sources = [Source(), Source(lambda: None), Source(lambda: None)]

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        source = sources.pop(0)
        stream = LLMStream(source.words) if ours else hand_written(source)
        await stream(scope, receive, send)

    first = sources[0]
    app = wrapped(endpoint, ManualClock(), max_streams=1)
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        refused = await Client(app).request("GET", "/")
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert ("json" if ours else "text") in refused.headers["content-type"]
        first.release.set()
        await response.returned()
        assert response.complete
    assert (await Client(app).request("GET", "/")).status == 200


async def test_a_stream_may_be_so_large_and_no_larger() -> None:
    results: list[StreamResult] = []
    options = StreamOptions(clock=ManualClock(), max_stream_size=5000)
    app = LLMStreamMiddleware(sse_starlette(Flood()), options, on_finish=results.append)
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.returned()
    assert response.aborted
    assert len(response.body) < 20_000
    (result,) = results
    assert result.outcome == "error"
    assert isinstance(result.error, LimitExceeded)


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
