"""An event loop whose time jumps to the next timer as soon as nobody can run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from asgi_llmstream.clock import Clock

__all__ = ["LoopClock", "VirtualLoop", "run_virtually"]

_T = TypeVar("_T")
_EPOCH = 1_750_000_000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """It waits for no socket and for no thread, and ends with an error when all wait for ever."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_NeverReady())

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            timers = self._scheduled  # type: ignore[attr-defined]
            if not timers:
                raise RuntimeError("everybody waits for ever")
            self._virtual = max(self._virtual, timers[0].when())
        super()._run_once()  # type: ignore[misc]


class _NeverReady(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class LoopClock(Clock):
    """The running loop's time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return _EPOCH + self.now()

    def delay(self, due: float) -> float:
        return due - self.now()


def run_virtually(main: Coroutine[Any, Any, _T]) -> _T:
    """Run it in an event loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
