"""The clock that every interval and deadline is read from; tests pass in one that they step."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock"]


class Clock:
    """The system's clock. Subclass it to control time: `testing.ManualClock` does."""

    def now(self) -> float:
        """Seconds on a clock that never goes back, for intervals."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the Unix epoch, for `created`."""
        return time.time()

    def delay(self, due: float) -> float:
        """Seconds to sleep until `now()` reaches `due`; infinite if only `wake` can tell."""
        return due - time.monotonic()

    def on_jump(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called whenever the time has jumped; returns what ends it.

        The system's clock never jumps.
        """
        return lambda: None
