"""Time: one ticker per event loop compares timestamps for all its streams.

A stream that waits costs no timer and no timeout object; it is looked at when its earliest
deadline could have passed, and says when to look again. The ticker never awaits a `send`, and
ends when no stream is left.
"""

from __future__ import annotations

import heapq
import logging
import math
from contextvars import Context
from itertools import count
from threading import Lock
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

import anyio

from ..backend import loop_key, spawn, wakeup
from ..clock import Clock
from .drain import draining

__all__ = ["Ticked", "Ticker"]

logger = logging.getLogger("asgi_llmstream")

# Seconds until a signal is noticed: its handler only notes it, and wakes no event loop.
_SIGNAL_LATENCY = 0.1
# Seconds until a `tick` that raised is called again.
_AFTER_FAILURE = 1.0


class Ticked(Protocol):
    """Something with deadlines."""

    def tick(self, now: float) -> float:
        """Act on every deadline that has passed; must not block. What it raises is logged.

        Returns:
            The time at which it wants to be looked at again, at the latest; `math.inf` for
            never.
        """


class Ticker:
    """Looks at every `Ticked` in time. Get one with `Ticker.current`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Weak: what was removed must not stay in memory until a deadline of its own has passed.
        self._heap: list[tuple[float, int, ref[Ticked]]] = []
        self._order = count()
        self._active: set[Ticked] = set()
        self._wakeup = wakeup()
        self._running = False
        self._drained = False
        self._next = math.inf

    @staticmethod
    def current(clock: Clock) -> Ticker:
        """The running loop's ticker for this clock."""
        key = loop_key()
        with _LOCK:
            tickers = _TICKERS.setdefault(key, {})
            ticker = tickers.get(clock)
            if ticker is None:
                ticker = tickers[clock] = Ticker(clock)
        return ticker

    def add(self, ticked: Ticked, due: float) -> None:
        """Look at `ticked` at `due`, and on as it says, until it is removed."""
        self._active.add(ticked)
        self.look(ticked, due)
        if not self._running:
            self._running = True
            # Not in the context of the request that happens to be the first.
            spawn(self._run, Context())

    def look(self, ticked: Ticked, due: float) -> None:
        """Look at `ticked` by `due` too: it has got an earlier deadline."""
        if due < math.inf:
            heapq.heappush(self._heap, (due, next(self._order), ref(ticked)))
            if due < self._next:
                self._wakeup.set()

    def remove(self, ticked: Ticked) -> None:
        """Never look at `ticked` again."""
        self._active.discard(ticked)
        if not self._active:
            self._wakeup.set()
        elif len(self._heap) > 100 + 4 * len(self._active):
            # Most of it is of the past, with deadlines that may be minutes ahead.
            self._heap = [entry for entry in self._heap if entry[2]() in self._active]
            heapq.heapify(self._heap)

    async def _run(self) -> None:
        stop_listening = self._clock.on_jump(self._wakeup.set)
        try:
            while self._active:
                self._look_at_all()
                self._next = self._heap[0][0] if self._heap else math.inf
                # The scope is this task's own: no producer ever runs inside it.
                with anyio.move_on_after(min(self._clock.delay(self._next), _SIGNAL_LATENCY)):
                    await self._wakeup.wait()
        finally:
            stop_listening()
            self._heap.clear()
            self._wakeup = wakeup()  # the old one knows a future, and so the loop
            self._running = False
            self._next = math.inf

    def _look_at_all(self) -> None:
        now = self._clock.now()
        if draining() and not self._drained:
            self._drained = True
            for ticked in self._active:
                self.look(ticked, now)
        due: list[Ticked] = []
        while self._heap and self._heap[0][0] <= now:
            if (forgotten_or_due := heapq.heappop(self._heap)[2]()) is not None:
                due.append(forgotten_or_due)
        for ticked in due:
            if ticked in self._active:
                self.look(ticked, _tick(ticked, now))


def _tick(ticked: Ticked, now: float) -> float:
    """Have it look at its deadlines. Its failure is not to be that of all others."""
    try:
        return ticked.tick(now)
    except Exception:
        logger.exception("a look at deadlines raised: the next one is in %s s", _AFTER_FAILURE)
        return now + _AFTER_FAILURE


# The only state of the package that outlives a stream, and it dies with its loop.
_TICKERS: WeakKeyDictionary[Any, dict[Clock, Ticker]] = WeakKeyDictionary()
_LOCK = Lock()
