"""How a stream ends where its server makes it hard: a `send` that is stuck, fails or is cancelled,
and a disconnect that is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asgi_llmstream import ChatApp, LLMStream, LLMStreamMiddleware, StreamOptions, StreamResult
from asgi_llmstream.foreign.run import LATENCY
from asgi_llmstream.testing import ManualClock, settle

pytestmark = pytest.mark.anyio

Message = Any


def never(message: Message) -> bool:
    return False


def is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def says_the_end(message: Message) -> bool:
    return b"[DONE]" in message.get("body", b"")


def says_something(message: Message) -> bool:
    return b"Hel" in message.get("body", b"")


class Exchange:
    """One request to an application, on a server that holds a `send` back, whoever leaves; and
    sends on, whatever it said of the client.

    Args:
        app: it.
        clock: its own.
        sticks: tells the message that is held back.
        requested: what `receive` says first.

    Attributes:
        sent: what went out.
        stuck: set when a message is held back.
        free: set, it goes out.
        error: or is answered by this.
        left: set, `receive` says that the client has.
        request: cancelled, the server's task is.
        returned: set when that has ended.
    """

    def __init__(
        self,
        app: Any,
        clock: ManualClock,
        sticks: Callable[[Message], bool] = never,
        requested: tuple[Message, ...] = (),
    ) -> None:
        self.clock = clock
        self.sent: list[Message] = []
        self.stuck, self.free, self.left, self.returned = (anyio.Event() for _ in range(4))
        self.error: Exception | None = None
        self.request = anyio.CancelScope()
        self._app = app
        self._sticks = sticks
        self._requested = [*requested]

    async def _receive(self) -> Message:
        if self._requested:
            return self._requested.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._sticks(message):
            self.stuck.set()
            await self.free.wait()
            if self.error is not None:
                raise self.error
        self.sent.append(message)

    async def _run(self) -> None:
        method = "POST" if self._requested else "GET"
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": "/chat/completions", "headers": headers}
        with self.request:
            await self._app(scope, self._receive, self._send)
        self.returned.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Begin; and behind the block wait until it has returned."""
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._run)
                await settle()
                yield
                await self.returned.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Streamed(Exchange):
    """An exchange with one stream, whose results `on_finish` notes.

    Args:
        source: a producer; or an application, below the middleware.
        sticks: see `Exchange`.
        whole: answer in one piece.
        options: of the stream.
    """

    def __init__(
        self,
        source: Any,
        sticks: Callable[[Message], bool] = never,
        *,
        whole: bool = False,
        **options: Any,
    ) -> None:
        self.results: list[StreamResult] = []
        clock = ManualClock()
        around: Any = {
            "options": StreamOptions(clock=clock, **options),
            "on_finish": self.results.append,
        }
        if callable(source):
            super().__init__(LLMStreamMiddleware(source, **around), clock, sticks)
        else:
            super().__init__(LLMStream(source, whole=whole, **around), clock, sticks)

    @property
    def end(self) -> tuple[str, bool]:
        (result,) = self.results
        return result.outcome, result.disconnected


async def silent() -> AsyncIterator[str]:
    yield "Hel"
    await anyio.sleep_forever()


async def short() -> AsyncIterator[str]:
    yield "Hel"


@pytest.mark.parametrize(
    ("producer", "sticks", "outcome"),
    [
        (silent, says_something, "shutdown"),
        (silent, says_the_end, "shutdown"),
        (short, says_the_end, "finished"),
    ],
    ids=["in mid-stream", "with the error", "with the end"],
)
async def test_a_drain_bounds_a_stuck_send_by_its_grace_and_close_timeout(
    producer: Any, sticks: Any, outcome: str, drain: Callable[[], None]
) -> None:
    exchange = Streamed(producer(), sticks, shutdown_grace=5, close_timeout=2, send_timeout=None)
    async with exchange.open():
        drain()
        await exchange.clock.advance(0)  # it is noticed
        await exchange.clock.advance(5)
        await exchange.stuck.wait()
        await exchange.clock.advance(1.9)
        assert not exchange.returned.is_set()
        await exchange.clock.advance(0.1)
    assert exchange.end == (outcome, True)


# uvicorn 0.43 and 0.44 say it of every client when they are told to end, and send on.
@pytest.mark.parametrize("word", ["Hel", ""], ids=["in mid-stream", "before the first word"])
async def test_a_disconnect_that_comes_while_the_process_drains_is_a_shutdown(
    word: str, drain: Callable[[], None]
) -> None:
    async def producer() -> AsyncIterator[str]:
        if word:
            yield word
        await anyio.sleep_forever()

    exchange = Streamed(producer(), shutdown_grace=5)
    async with exchange.open():
        drain()
        exchange.left.set()
    assert b'"error"' in exchange.body
    assert exchange.sent[0]["status"] == (200 if word else 503)
    assert is_last(exchange.sent[-1])
    # The server's word is all that we have: whether it is true nobody knows.
    assert exchange.end == ("shutdown", True)


async def test_a_disconnect_while_the_process_drains_leaves_who_is_to_complete_its_grace(
    drain: Callable[[], None],
) -> None:
    go_on = anyio.Event()

    async def producer() -> AsyncIterator[str]:
        yield "Hel"
        await go_on.wait()
        yield "lo"

    exchange = Streamed(producer(), on_disconnect="complete", shutdown_grace=5)
    async with exchange.open():
        drain()
        exchange.left.set()
        await settle()
        go_on.set()
    assert b"lo" in exchange.body
    assert exchange.end == ("finished", True)


@pytest.mark.parametrize("listens", [True, False])
async def test_a_disconnect_while_the_process_drains_breaks_foreign_streams_off(
    listens: bool, drain: Callable[[], None]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: a\n\n", "more_body": True})
        if not listens:
            await anyio.sleep_forever()
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b""})

    results: list[StreamResult] = []
    clock = ManualClock()
    options = StreamOptions(clock=clock, shutdown_grace=5)
    exchange = Exchange(LLMStreamMiddleware(app, options, on_finish=results.append), clock)
    async with exchange.open():
        drain()
        exchange.left.set()
    assert not is_last(exchange.sent[-1])
    assert [result.outcome for result in results] == ["shutdown"]


async def test_a_disconnect_in_mid_request_while_the_process_drains_is_answered(
    drain: Callable[[], None],
) -> None:
    begun = {"type": "http.request", "body": b'{"messa', "more_body": True}
    exchange = Exchange(ChatApp(lambda request: short()), ManualClock(), requested=(begun,))
    async with exchange.open():
        drain()
        exchange.left.set()
    assert exchange.sent[0]["status"] == 503


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: Hel\n\n"})


class Ending(Streamed):
    """An exchange with a short answer, whose last message is held back."""

    def __init__(self, kind: str, **options: Any) -> None:
        source = foreign if kind == "foreign" else short()
        super().__init__(source, is_last, whole=kind == "whole", **options)


@pytest.mark.parametrize("kind", ["streamed", "whole", "foreign"])
class TestTheLastSend:
    """Of an answer that was made to its end. Its outcome is always "finished"."""

    async def test_that_is_stuck_is_given_up_soon_when_the_client_has_left(self, kind: str) -> None:
        exchange = Ending(kind, close_timeout=2, send_timeout=None)
        async with exchange.open():
            exchange.left.set()
            await settle()
            await exchange.clock.advance(1.9)
            assert not exchange.returned.is_set()
            await exchange.clock.advance(0.1)
        assert exchange.end == ("finished", True)

    # As on hypercorn, which says at every end that the client has left.
    async def test_that_returns_was_taken_whatever_was_said_of_the_client_meanwhile(
        self, kind: str
    ) -> None:
        exchange = Ending(kind)
        async with exchange.open():
            exchange.left.set()
            await settle()
            exchange.free.set()
        assert is_last(exchange.sent[-1])
        assert exchange.end == ("finished", False)

    async def test_that_raises_was_not_taken(self, kind: str) -> None:
        exchange = Ending(kind)
        async with exchange.open():
            exchange.error = OSError("gone")
            exchange.free.set()
        assert exchange.end == ("finished", True)

    async def test_that_the_server_cancels_was_not_taken(self, kind: str) -> None:
        exchange = Ending(kind)
        async with exchange.open():
            exchange.request.cancel()
        assert exchange.end == ("finished", True)

    # Which of the two comes first nobody can tell; but what was not sent is not said to be.
    async def test_that_is_cancelled_as_it_returns_was_taken_only_if_it_did(
        self, kind: str
    ) -> None:
        exchange = Ending(kind)
        async with exchange.open():
            exchange.free.set()
            exchange.request.cancel()
        outcome, disconnected = exchange.end
        assert outcome == "finished"
        assert disconnected or any(map(is_last, exchange.sent))


# granian exits when its connections have ended, whatever their tasks still do.


class Late:
    """Streams that wait for `go`, each as one that has to end in another way."""

    def __init__(self) -> None:
        self.go = anyio.Event()

    async def word(self) -> AsyncIterator[str]:
        await self.go.wait()
        yield "Hel"

    async def word_and_silence(self) -> AsyncIterator[str]:
        await self.go.wait()
        yield "Hel"
        await anyio.sleep_forever()

    async def silence(self) -> AsyncIterator[str]:
        await anyio.sleep_forever()
        yield ""

    async def foreign(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"data: Hel\n\n"})


@pytest.mark.parametrize(
    ("make", "end"),
    [
        (lambda late, **around: LLMStream(late.word(), **around), b"[DONE]"),
        (lambda late, **around: LLMStream(late.word(), whole=True, **around), b'"stop"'),
        (lambda late, **around: LLMStream(late.word_and_silence(), **around), b"[DONE]"),
        (lambda late, **around: LLMStream(late.silence(), **around), b'"error"'),
        (lambda late, **around: LLMStreamMiddleware(late.foreign, **around), b"data: Hel"),
    ],
    ids=["streamed", "whole", "broken off", "refused", "foreign"],
)
async def test_while_the_process_drains_a_connection_stays_open_until_on_finish_has_run(
    make: Any, end: bytes, drain: Callable[[], None]
) -> None:
    clock, late, finish, finished = ManualClock(), Late(), anyio.Event(), anyio.Event()

    async def on_finish(result: StreamResult) -> None:
        await finish.wait()
        finished.set()

    options = StreamOptions(clock=clock, shutdown_grace=5, commit_after=None)
    exchange = Exchange(make(late, options=options, on_finish=on_finish), clock)
    async with exchange.open():
        drain()
        late.go.set()
        await exchange.clock.advance(0)  # it is noticed
        await exchange.clock.advance(5 + LATENCY)
        so_far = [*exchange.sent]
        finish.set()
    assert finished.is_set()
    assert end in b"".join(message.get("body", b"") for message in so_far)
    assert not any(map(is_last, so_far))
    assert exchange.sent == [
        *so_far,
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]


async def test_a_connection_that_stays_open_gets_its_end_also_where_its_server_cancels_it(
    drain: Callable[[], None],
) -> None:
    late, finish = Late(), anyio.Event()

    async def on_finish(result: StreamResult) -> None:
        await finish.wait()

    exchange = Exchange(LLMStream(late.word(), on_finish=on_finish), ManualClock())
    async with exchange.open():
        drain()
        late.go.set()
        await settle()
        exchange.request.cancel()
        await settle()
        assert not any(map(is_last, exchange.sent))
        finish.set()
    assert is_last(exchange.sent[-1])


async def test_nothing_is_sent_when_the_client_leaves_as_the_headers_are_due() -> None:
    clock, left = ManualClock(), anyio.Event()
    sent: list[str] = []

    async def silent() -> AsyncIterator[str]:
        await anyio.sleep_forever()
        yield ""

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    stream = LLMStream(silent, options=StreamOptions(clock=clock, commit_after=2))
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream, scope, receive, send)
        await settle()
        advance = clock.advance(2)
        advance.send(None)  # wakes the ticker, and no more: all in one pass of the loop
        left.set()
        advance.close()
        with anyio.fail_after(5):
            await settle()
    assert sent == []
