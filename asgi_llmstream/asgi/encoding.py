"""A generation as an iterator of bytes, for those who own the response themselves."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable

import anyio

from ..events import Terminal
from ..formats.base import Encoder
from ..options import StreamOptions
from ..runtime import Generation, Tail, Ticker
from ..sse import HEARTBEAT
from .delivery import conclude

__all__ = ["encoded"]


async def encoded(
    make: Callable[[], Generation], encode: Encoder, options: StreamOptions
) -> AsyncGenerator[bytes, None]:
    """Make and start the generation at the first step; end it when this is closed or cancelled.

    Before the first step there may be no event loop to make it in.
    """
    generation = make()
    tail = generation.tail
    pulse = _Pulse(tail, options)
    ticker = Ticker.current(options.clock)
    ended = False
    generation.start()
    ticker.add(pulse, pulse.due)
    try:
        while True:
            if tail.ready:
                events = tail.take()
                body = b"".join(map(encode, events))
                if body:
                    yield body
                    pulse.sent()
                if isinstance(events[-1], Terminal):
                    ended = True
                    break
            elif pulse.is_due:
                yield HEARTBEAT
                pulse.sent()
            else:
                await tail.wait()
    finally:
        ticker.remove(pulse)
        generation.disconnected = not ended
        if options.on_disconnect == "cancel":
            generation.stop("disconnected")
        tail.leave()
        if options.on_disconnect == "complete":
            # How a framework tells of the disconnect is by this very cancellation.
            with anyio.CancelScope(shield=True):
                await generation.wait()
        else:
            await conclude(generation)


class _Pulse:
    """Tells when a heartbeat is due."""

    def __init__(self, tail: Tail, options: StreamOptions) -> None:
        self._tail = tail
        self._interval = options.heartbeat_interval or math.inf
        self._clock = options.clock
        self.sent()

    def sent(self) -> None:
        self._sent_at = self._clock.now()
        self.is_due = False

    @property
    def due(self) -> float:
        return self._sent_at + self._interval

    def tick(self, now: float) -> float:
        if now < self.due:
            return self.due
        self.is_due = True
        self._tail.wake()
        return now + self._interval
