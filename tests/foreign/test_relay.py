"""What an application below `LLMStreamMiddleware` may do, and what becomes of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from asgi_llmstream import (
    ChatApp,
    LLMStream,
    LLMStreamMiddleware,
    StreamOptions,
    StreamResult,
    encode_stream,
)
from asgi_llmstream.asgi.admission import Around
from asgi_llmstream.errors import LimitExceeded
from asgi_llmstream.foreign.relay import Relay
from asgi_llmstream.foreign.run import ForeignRun
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, ManualClock, check_stream, settle

pytestmark = pytest.mark.anyio

SSE = (b"content-type", b"text/event-stream")


def start(*headers: Any, **rest: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [SSE, *headers], **rest}


def body(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def saying(*messages: dict[str, Any]) -> Any:
    """An application that sends just these."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    return app


class Wrapped:
    """An application below the middleware.

    Attributes:
        app: both.
        clock: of its options.
        results: what `on_finish` was told.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self.clock = ManualClock()
        self.results: list[StreamResult] = []
        self.app = LLMStreamMiddleware(
            app, StreamOptions(clock=self.clock, **options), on_finish=self.results.append
        )

    def stream(self, method: str = "GET", path: str = "/", **client: Any) -> Any:
        return Client(self.app, **client).stream(method, path, raise_app_exceptions=False)

    @property
    def outcomes(self) -> list[str]:
        return [result.outcome for result in self.results]


# What it sends.


@pytest.mark.parametrize("name", [b"content-type", bytearray(b"content-type")])
@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize("all", [list, tuple, iter])
async def test_headers_may_have_any_shape_that_servers_take(name: Any, pair: Any, all: Any) -> None:
    headers = [pair((name, b"text/event-stream")), pair((b"x-a", b"b"))]
    wrapped = Wrapped(
        saying({**start(), "headers": all(headers)}, body(b"data: a\n\n"), body(b"", more=False))
    )
    async with wrapped.stream() as response:
        await response.returned()
    assert response.complete
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-a"] == "b"


async def test_headers_that_can_be_read_once_reach_the_server_of_other_responses_too() -> None:
    headers = iter([(b"content-type", b"text/html"), (b"x-a", b"b")])
    wrapped = Wrapped(saying({**start(), "headers": headers}, body(b"<p>", more=False)))
    async with wrapped.stream() as response:
        await response.returned()
    assert response.headers == {"content-type": "text/html", "x-a": "b"}


@pytest.mark.parametrize(
    ("method", "beginning"),
    [
        ("GET", start((b"content-length", b"9"))),
        ("GET", start(trailers=True)),
        ("GET", {**start(), "status": 204}),
        ("HEAD", start()),
    ],
)
async def test_what_nothing_can_be_put_into_passes_as_it_is(
    method: str, beginning: dict[str, Any]
) -> None:
    silence = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(beginning)
        await silence.wait()
        await send({"type": "http.response.pathsend", "path": "/tmp/x"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    wrapped = Wrapped(app, heartbeat_interval=1)
    async with anyio.create_task_group() as tasks:
        scope = {"type": "http", "method": method, "path": "/"}
        tasks.start_soon(wrapped.app, scope, anyio.sleep_forever, send)
        await settle()
        await wrapped.clock.advance(5)
        silence.set()
    assert sent == [beginning, {"type": "http.response.pathsend", "path": "/tmp/x"}]
    assert wrapped.results == []


async def test_a_file_of_events_is_sent_as_a_file(tmp_path: Any) -> None:
    file = tmp_path / "events"
    file.write_text("data: a\n\n")

    async def endpoint(request: Request) -> FileResponse:
        return FileResponse(file, media_type="text/event-stream")

    wrapped = Wrapped(Starlette(routes=[Route("/", endpoint)]))
    async with wrapped.stream() as response:
        await response.returned()
    assert response.body == b"data: a\n\n"
    assert response.headers["content-length"] == "9"


async def test_a_message_that_is_no_part_of_a_stream_is_the_applications_error() -> None:
    wrapped = Wrapped(saying(start(), {"type": "http.response.pathsend", "path": "/tmp/x"}))
    async with wrapped.stream() as response:
        await response.returned()
    assert "pathsend" in str(response.error)
    assert wrapped.outcomes == ["error"]


@pytest.mark.parametrize("key", ["status", "type"])
async def test_a_start_that_is_none_is_an_error_and_holds_nothing_up(key: str) -> None:
    broken = {name: value for name, value in start().items() if name != key}
    wrapped = Wrapped(saying(broken), max_streams=1)
    for _ in range(2):
        async with wrapped.stream() as response:
            await response.returned()
        assert isinstance(response.error, KeyError)
    assert wrapped.results == []


@pytest.mark.parametrize(
    "said", [b": open\n", b"data: a\n\r\n", b"data: a\r\r", b"data: a\r\n\r\n", b": a\n\n: b\r\n"]
)
async def test_heartbeats_go_on_after_whatever_ends_an_event_or_is_none(said: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(said))
        await anyio.sleep_forever()

    wrapped = Wrapped(app, heartbeat_interval=1)
    async with wrapped.stream() as response:
        await response.chunk()
        await wrapped.clock.advance(1)
        await wrapped.clock.advance(1)
        assert response.body == said + b": ping\n: ping\n"
        response.disconnect()
        await settle()
        await wrapped.clock.advance(5)


@pytest.mark.parametrize("size", [1000, 100_000])
async def test_what_would_be_too_large_is_not_sent_however_it_comes(size: int) -> None:
    wrapped = Wrapped(
        saying(start(), body(b"data: a\n\n"), body(b"x" * size, more=False)), max_stream_size=1000
    )
    async with wrapped.stream() as response:
        await response.returned()
    assert response.body == b"data: a\n\n"
    assert response.aborted
    (result,) = wrapped.results
    assert isinstance(result.error, LimitExceeded)


# How it ends.


async def test_who_hears_of_a_disconnect_and_returns_was_disconnected() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"data: a\n\n"))
        while (await receive())["type"] != "http.disconnect":
            pass

    wrapped = Wrapped(app)
    async with wrapped.stream() as response:
        await response.chunk()
        response.disconnect()
    assert wrapped.outcomes == ["disconnected"]


async def test_who_hears_of_a_disconnect_and_ends_well_was_disconnected_too() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"data: a\n\n"))
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(body(b"", more=False))

    wrapped = Wrapped(app)
    async with wrapped.stream() as response:
        await response.chunk()
        response.disconnect()
    assert wrapped.outcomes == ["disconnected"]


async def test_who_returns_in_mid_stream_because_the_process_ends_was_shut_down(
    drain: Callable[[], None],
) -> None:
    over = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"data: a\n\n"))
        await over.wait()

    wrapped = Wrapped(app)
    async with wrapped.stream() as response:
        await response.chunk()
        drain()
        over.set()
        await response.returned()
    assert wrapped.outcomes == ["shutdown"]


async def test_a_background_task_that_fails_leaves_the_answer_whole() -> None:
    def fail() -> None:
        raise RuntimeError("in the background")

    async def endpoint(request: Request) -> StreamingResponse:
        async def words() -> AsyncIterator[bytes]:
            yield b"data: a\n\n"

        task = BackgroundTask(fail)
        return StreamingResponse(words(), media_type="text/event-stream", background=task)

    wrapped = Wrapped(Starlette(routes=[Route("/", endpoint)]))
    async with wrapped.stream() as response:
        await response.returned()
    assert response.complete
    assert wrapped.outcomes == ["finished"]
    assert "background" in str(response.error)


async def test_who_cannot_be_ended_is_told_of_and_keeps_no_place() -> None:
    stop = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"data: a\n\n"))
        if scope["path"] == "/stubborn":
            with anyio.CancelScope(shield=True):
                while not stop.is_set():
                    try:
                        await stop.wait()
                    except BaseException:
                        pass
        else:
            await send(body(b"", more=False))

    wrapped = Wrapped(app, total_timeout=60, close_timeout=5, max_streams=1)
    async with wrapped.stream(path="/stubborn") as stubborn:
        await stubborn.chunk()
        await wrapped.clock.advance(61)
        for _ in range(4):
            await wrapped.clock.advance(5)
        assert wrapped.outcomes == ["error"]
        async with wrapped.stream() as other:
            await other.returned()
        assert other.complete
        stop.set()


async def test_who_never_suspends_is_stopped_all_the_same() -> None:
    said = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal said
        await send(start())
        while True:
            said += 1
            await send(body(b"data: a\n\n"))

    wrapped = Wrapped(app, total_timeout=60, close_timeout=5)
    async with wrapped.stream() as response:
        await response.chunk()
        await wrapped.clock.advance(61)
        await response.returned()
    assert wrapped.outcomes == ["error"]


@pytest.mark.parametrize("version", ["2.3", "2.4"])
async def test_who_is_refused_is_ended_and_its_server_is_not_cancelled(version: str) -> None:
    ended = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        if scope["path"] == "/first":
            await send(body(b"data: a\n\n"))
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def quick(scope: Any, receive: Any, send: Any) -> None:
        await send(start())

    async def either(scope: Any, receive: Any, send: Any) -> None:
        await (quick if scope["path"] == "/quick" else app)(scope, receive, send)

    wrapped = Wrapped(either, max_streams=1)

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await wrapped.app(scope, receive, send)
        await anyio.lowlevel.checkpoint()  # a cancellation that is left over would come here

    async with wrapped.stream(path="/first") as first:
        await first.chunk()
        for path in ("/second", "/quick"):
            client = Client(server, spec_version=version)
            refused = await client.request("GET", path)
            assert refused.status == 503
        with anyio.fail_after(10):
            await ended.wait()  # the second's, for the first goes on
        assert wrapped.results == []
        first.disconnect()
        await settle()
        await wrapped.clock.advance(5)


async def test_what_runs_below_says_its_error_before_the_connection_breaks_off() -> None:
    clock = ManualClock()
    options = StreamOptions(clock=clock, total_timeout=60)

    async def silent() -> AsyncIterator[str]:
        yield "Hel"
        await anyio.sleep_forever()

    async def endpoint(request: Request) -> StreamingResponse:
        pieces = encode_stream(silent(), options=options)
        return StreamingResponse(pieces, media_type="text/event-stream")

    app = LLMStreamMiddleware(Starlette(routes=[Route("/", endpoint)]), options)
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        await settle()  # who iterates is back for more
        await clock.advance(60)
        await response.read_to_end()
    assert b'"total_timeout"' in response.body
    check_stream(response.body, "openai")


async def test_a_stream_of_ours_below_two_middlewares_is_left_alone_by_both() -> None:
    clock = ManualClock()
    options = StreamOptions(clock=clock, heartbeat_interval=1, total_timeout=60, max_streams=1)
    outcomes: list[str] = []

    def note(result: StreamResult) -> None:
        outcomes.append(f"{result.outcome} {result.message.text}")

    async def silent() -> AsyncIterator[str]:
        yield "Hel"
        await anyio.sleep_forever()

    inner = LLMStreamMiddleware(LLMStream(silent, format=Events()), options, on_finish=note)
    app = LLMStreamMiddleware(inner, options, on_finish=note)
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        refused = await Client(app).request("GET", "/")
        assert refused.status == 503
        await clock.advance(1)
        assert response.comments == 1
        await clock.advance(60)
        await response.read_to_end()
    assert b"total_timeout" in response.body
    assert outcomes == ["error Hel", "error Hel"]


async def test_a_chat_below_it_without_options_of_its_own_has_its_limits() -> None:
    async def words(request: Any) -> AsyncIterator[str]:
        yield "Hel"

    question = {"messages": [{"role": "user", "content": "x" * 1000}]}
    limits = StreamOptions(max_body_size=100)
    for options, status in (({}, 413), ({"options": StreamOptions()}, 200)):
        app = LLMStreamMiddleware(ChatApp(words, **options), limits)
        response = await Client(app).request("POST", "/chat/completions", json=question)
        assert response.status == status


async def test_a_head_of_ours_below_is_no_stream() -> None:
    async def words() -> AsyncIterator[str]:
        yield "Hel"

    wrapped = Wrapped(LLMStream(words))
    async with wrapped.stream("HEAD") as response:
        await response.returned()
    assert response.status == 200
    assert wrapped.results == []


# What it is told, and what is left of it.


@pytest.mark.parametrize("first", [True, False])
async def test_who_asks_whether_its_client_has_left_gets_the_truth(first: bool) -> None:
    asked, left = [], anyio.Event()

    async def endpoint(request: Request) -> PlainTextResponse:
        await request.body()
        if not first:
            asked.append(await request.is_disconnected())
        await left.wait()
        asked.append(await request.is_disconnected())
        return PlainTextResponse("")

    wrapped = Wrapped(Starlette(routes=[Route("/", endpoint, methods=["POST"])]))
    async with wrapped.stream("POST") as response:
        await settle()
        response.disconnect()
        left.set()
    assert asked == ([True] if first else [False, True])


async def test_who_still_listens_after_its_response_is_told_that_it_is_over() -> None:
    listened = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            listened.set()

        tasks.start_soon(listen)
        await settle()
        await send({**start(), "headers": []})
        await send(body(b"", more=False))

    async with anyio.create_task_group() as tasks:
        await Client(Wrapped(app).app).request("GET", "/")
        with anyio.fail_after(10):
            await listened.wait()


async def test_nobody_reads_on_after_the_request() -> None:
    reading = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"data: a\n\n"))
        await settle()
        await send(body(b"", more=False))

    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def receive_for_ever() -> Any:
            nonlocal reading
            reading += 1
            try:
                await anyio.sleep_forever()
            finally:
                reading -= 1

        await Wrapped(app).app(scope, receive_for_ever, send)
        await settle()
        assert reading == 0

    await Client(server).request("GET", "/")


async def test_the_scope_is_as_it_was_and_nothing_waits_for_the_garbage_collector() -> None:
    ours: list[weakref.ref[Any]] = []
    seen: set[str] = set()
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["found"] = True  # for whoever stands outside
        headers = [SSE] if scope["path"] == "/stream" else []
        await send({**start(), "headers": headers})
        await send(body(b"data: a\n\n"))
        found = [o for o in gc.get_objects() if isinstance(o, Relay | Around | ForeignRun)]
        ours.extend(map(weakref.ref, found))
        seen.update(type(o).__name__ for o in found)
        del found
        await send(body(b"", more=False))

    async def outside(scope: Any, receive: Any, send: Any) -> None:
        keys = {*scope}
        await LLMStreamMiddleware(app)(scope, receive, send)
        assert {*scope} == {*keys, "found"}
        scopes.append(scope)

    gc.collect()  # of what other tests left
    gc.disable()
    try:
        for path in ("/", "/stream"):
            await Client(outside).request("GET", path)
            await settle()
        assert seen == {"Relay", "Around", "ForeignRun"}
        assert [one() for one in ours if one() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_finally_may_use_asyncios_own_timeout_when_its_application_is_cancelled(
    anyio_backend: str,
) -> None:
    saved = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"data: a\n\n"))
        try:
            await anyio.sleep_forever()
        finally:
            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(0))
            saved.append("answer")

    wrapped = Wrapped(app, total_timeout=60)
    async with wrapped.stream() as response:
        await response.chunk()
        await wrapped.clock.advance(61)
        await response.returned()
    assert saved == ["answer"]
    assert response.error is None
