"""A `send` that does not return: what bounds it, and what is said of a stream that ended in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asgi_llmstream import LLMStream, StreamOptions, StreamResult
from asgi_llmstream.testing import ManualClock, settle

pytestmark = pytest.mark.anyio

SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
Message = Any


def is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def says_something(message: Message) -> bool:
    return b"Hel" in message.get("body", b"")


class Exchange:
    """One request, one of whose sends is stuck whoever leaves: as below a proxy of one's own, or
    on hypercorn with trio.

    Args:
        producer: of the stream.
        sticks: tells the message that is stuck.
        whole: answer in one piece.
        options: of the stream.
    """

    def __init__(
        self,
        producer: AsyncIterator[str],
        sticks: Callable[[Message], bool],
        *,
        whole: bool = False,
        **options: Any,
    ) -> None:
        self.clock = ManualClock()
        self.results: list[StreamResult] = []
        self.sent: list[Message] = []
        self.stuck = anyio.Event()
        self.returned = anyio.Event()
        self.scope = anyio.CancelScope()
        self.left = anyio.Event()
        self.free = anyio.Event()
        self.error: Exception | None = None
        self._sticks = sticks
        self._app = LLMStream(
            producer,
            whole=whole,
            options=StreamOptions(clock=self.clock, **options),
            on_finish=self.results.append,
        )

    async def _receive(self) -> Message:
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
        with self.scope:
            await self._app(SCOPE, self._receive, self._send)
        self.returned.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Begin; and behind the block wait until the stream has returned."""
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._run)
                await settle()
                yield
                await self.returned.wait()

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
        (silent, is_last, "shutdown"),
        (short, is_last, "finished"),
    ],
    ids=["in mid-stream", "with the error", "with the end"],
)
async def test_a_drain_bounds_a_stuck_send_by_its_grace_and_close_timeout(
    producer: Any, sticks: Any, outcome: str, drain: Callable[[], None]
) -> None:
    exchange = Exchange(producer(), sticks, shutdown_grace=5, close_timeout=2, send_timeout=None)
    async with exchange.open():
        drain()
        await exchange.clock.advance(0)  # it is noticed
        await exchange.clock.advance(5)
        await exchange.stuck.wait()
        await exchange.clock.advance(1.9)
        assert not exchange.returned.is_set()
        await exchange.clock.advance(0.1)
    assert exchange.end == (outcome, True)
