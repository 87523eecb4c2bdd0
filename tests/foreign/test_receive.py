"""What an application below `LLMStreamMiddleware` may do with its `receive`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import LLMStreamMiddleware, ReadTooLate, StreamOptions, StreamResult
from asgi_llmstream.testing import ManualClock, settle

pytestmark = pytest.mark.anyio

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}
WORD = {"type": "http.response.body", "body": b"data: a\n\n", "more_body": True}
DISCONNECT = {"type": "http.disconnect"}

MiB = 2**20
PIECE = 2**16

Listening = Callable[[Any], Awaitable[None]]


class Upload:
    """An application that has begun to answer before its request's body is there.

    Args:
        listen: what it does with its `receive` then.
        pieces: the sizes of the body's.

    Attributes:
        read: how many messages the server was asked for.
        results: what `on_finish` was told.
        left: has the client leave, when the body has been read.
    """

    def __init__(self, listen: Listening, pieces: list[int], **options: Any) -> None:
        self.clock = ManualClock()
        self.read = 0
        self.results: list[StreamResult] = []
        self.left = anyio.Event()
        self._listen = listen
        self._pieces = pieces
        self._app = LLMStreamMiddleware(
            self._answer, StreamOptions(clock=self.clock, **options), on_finish=self.results.append
        )

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(WORD)
        await self._listen(receive)

    async def server(self, scope: Any, receive: Any, send: Any) -> None:
        async def in_pieces() -> Any:
            await anyio.lowlevel.checkpoint()
            self.read += 1
            if self.read <= len(self._pieces):
                body = b"x" * self._pieces[self.read - 1]
                return {"type": "http.request", "body": body, "more_body": True}
            await self.left.wait()
            return DISCONNECT

        await self._app(scope, in_pieces, send)

    async def run(self) -> None:
        with anyio.fail_after(10):
            await self.server({"type": "http", "method": "GET", "path": "/"}, None, self._send)

    async def _send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()

    @property
    def outcomes(self) -> list[str]:
        return [result.outcome for result in self.results]


async def never(receive: Any) -> None:
    await anyio.sleep_forever()


# Who cancels it.


@pytest.mark.parametrize("pieces", [[10] * 1000, []], ids=["a body", "the disconnect"])
async def test_a_timeout_around_receive_fires_though_messages_are_ready(pieces: list[int]) -> None:
    got = []

    async def listen(receive: Any) -> None:
        await settle()
        with anyio.CancelScope() as timeout:
            while True:
                got.append(await receive())
                if len(got) == 5:
                    timeout.cancel()
                assert len(got) < 50
        assert timeout.cancelled_caught

    upload = Upload(listen, pieces, on_disconnect="complete")
    upload.left.set()
    await upload.run()
    # Who only looks whether something is there gets one message, too.
    assert 5 <= len(got) <= 6


async def test_who_looks_again_and_again_gets_what_is_there_and_then_the_disconnect() -> None:
    """As Starlette's `Request.is_disconnected` does."""
    got: list[Any] = []

    async def listen(receive: Any) -> None:
        while DISCONNECT not in got:
            with anyio.CancelScope() as look:
                look.cancel()
                got.append(await receive())
            await anyio.lowlevel.checkpoint()

    upload = Upload(listen, [10] * 3)
    upload.left.set()
    await upload.run()
    assert [message["type"] for message in got] == ["http.request"] * 3 + ["http.disconnect"]


@pytest.mark.parametrize("patience", range(6))
async def test_a_receive_that_is_cancelled_loses_nothing(patience: int) -> None:
    sizes: list[int] = []

    async def ask(receive: Any, over: anyio.CancelScope) -> None:
        with over:
            message = await receive()
            if message["type"] == "http.request":
                sizes.append(len(message["body"]))

    async def listen(receive: Any) -> None:
        while len(sizes) < 20:
            async with anyio.create_task_group() as tasks:
                over = anyio.CancelScope()
                tasks.start_soon(ask, receive, over)
                for _ in range(patience):
                    await anyio.lowlevel.checkpoint()
                over.cancel()

    upload = Upload(listen, [*range(1, 21)])
    await upload.run()
    assert sizes == [*range(1, 21)]


# Who does not ask.


async def test_who_never_receives_many_small_pieces_is_told_of_the_disconnect() -> None:
    upload = Upload(never, [10] * 500, close_timeout=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload.run)
        await settle()
        upload.left.set()
        await settle()
        await upload.clock.advance(1)  # it does not listen
        await settle()
        assert upload.outcomes == ["disconnected"]


async def test_a_body_that_nobody_reads_is_given_up_in_time_and_the_disconnect_is_noticed() -> None:
    upload = Upload(never, [PIECE] * 100, send_timeout=30, close_timeout=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload.run)
        await settle()
        assert upload.read <= MiB / PIECE, "the client waits, so long as there is hope"
        await upload.clock.advance(29)
        assert upload.read <= MiB / PIECE
        upload.left.set()
        await upload.clock.advance(1)
        await upload.clock.advance(1)
        assert upload.outcomes == ["disconnected"]
    assert upload.read == 101


async def test_who_asks_for_a_body_that_was_given_up_is_told_so() -> None:
    late, told = anyio.Event(), []

    async def listen(receive: Any) -> None:
        await late.wait()
        for _ in range(2):
            with pytest.raises(ReadTooLate, match=r"send_timeout \(30 s\)") as error:
                await receive()
            told.append(error.value)
        upload.left.set()
        await settle()
        assert await receive() == DISCONNECT

    upload = Upload(listen, [PIECE] * 100, send_timeout=30)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload.run)
        await settle()
        await upload.clock.advance(30)
        late.set()
    assert len(told) == 2
    assert upload.outcomes == ["disconnected"]


async def test_who_reads_a_body_slowly_gets_it_whole() -> None:
    sizes = []

    async def listen(receive: Any) -> None:
        for _ in range(100):
            await settle()
            await upload.clock.advance(29)
            sizes.append(len((await receive())["body"]))

    upload = Upload(listen, [PIECE] * 100, send_timeout=30)
    await upload.run()
    assert sizes == [PIECE] * 100


async def test_nothing_of_a_body_is_given_up_without_send_timeout() -> None:
    sizes = []

    async def listen(receive: Any) -> None:
        await settle()
        await upload.clock.advance(100_000)
        sizes.extend([len((await receive())["body"]) for _ in range(100)])

    upload = Upload(listen, [PIECE] * 100, send_timeout=None)
    await upload.run()
    assert sizes == [PIECE] * 100


async def test_a_body_is_waited_for_no_longer_than_its_request() -> None:
    async def listen(receive: Any) -> None:
        await settle()

    upload = Upload(listen, [PIECE] * 100, send_timeout=30)
    await upload.run()
    read = upload.read
    await upload.clock.advance(30)
    assert upload.read == read
