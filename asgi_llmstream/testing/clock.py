"""A clock that tests step, and waiting until everything else waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

from ..backend import loop_key
from ..clock import Clock

__all__ = ["ManualClock", "settle"]

_QUIET_PASSES = 3  # a chain of plain callbacks may stand between two tasks
_SETTLE_LIMIT = 1.0  # seconds of real time


class ManualClock(Clock):
    """A clock that moves only when the test says so.

    Args:
        start: what `now()` begins with, in seconds.
        epoch: what `time()` begins with, in seconds since the Unix epoch.
    """

    def __init__(self, start: float = 0.0, *, epoch: float = 1_750_000_000.0) -> None:
        self._now = start
        self._offset = epoch - start
        self._wakes: dict[object, Callable[[], None]] = {}

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now + self._offset

    def delay(self, due: float) -> float:
        return 0.0 if due <= self._now else math.inf

    def on_jump(self, wake: Callable[[], None]) -> Callable[[], None]:
        key = object()
        self._wakes[key] = wake

        def stop() -> None:
            self._wakes.pop(key, None)

        return stop

    async def advance(self, seconds: float) -> None:
        """Move the time in one jump, then let every task run until all wait (see `settle`).

        What lies between is not visited: three heartbeat intervals in one jump are one
        heartbeat. Advance step by step where that matters.

        Raises:
            ValueError: if `seconds` is negative.
        """
        if not seconds >= 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._now += seconds
        for wake in list(self._wakes.values()):
            wake()
        await settle()


async def settle() -> None:
    """Let all tasks of the event loop run until each waits for something.

    Timers, sockets and threads are not waited for. Gives up after one second if some task never
    waits.
    """
    with anyio.move_on_after(_SETTLE_LIMIT):
        if not isinstance(loop_key(), asyncio.AbstractEventLoop):
            await anyio.wait_all_tasks_blocked()
            return
        # On asyncio that sleeps 0.1 s whenever something can still run, and sees no callbacks.
        quiet = 0
        while quiet < _QUIET_PASSES:
            await anyio.lowlevel.checkpoint()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            quiet = 0 if any(map(_can_run, others)) else quiet + 1


def _can_run(task: Any) -> bool:
    return task._fut_waiter is None or task._fut_waiter.done()
