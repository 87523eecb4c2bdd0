"""Closing: how long a task may take to end, and what is done when it does not."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..backend import OwnTask, Task
from ..options import StreamOptions
from .ticker import Ticker

__all__ = ["Closing"]

_MOST_CANCELS = 2


class Closing:
    """A task gets `close_timeout` seconds to end, then it is cancelled, natively and once; after
    as long again once more; and after another it is given up.

    Args:
        options: `close_timeout` and the clock count.
        given_up: called when it was cancelled in vain.

    Attributes:
        task: what is cancelled. None until it has taken its first step: a task that is cancelled
            before never takes it.
        cancels: how often it was cancelled.
    """

    def __init__(self, options: StreamOptions, given_up: Callable[[], None]) -> None:
        self._clock = options.clock
        self._timeout = options.close_timeout
        self._given_up: Callable[[], None] | None = given_up
        self.task: Task | OwnTask | None = None
        self.cancels = 0
        self._due = math.inf

    def wait(self, timeout: float | None = None) -> None:
        """Give it time to end by itself.

        Args:
            timeout: how many seconds it has; `close_timeout` if left out. 0 cancels it soon, but
                not in here, which may be within it.
        """
        if self._due == math.inf:
            self._look_again(self._timeout if timeout is None else timeout)

    def cancel(self) -> None:
        """Cancel it: it would not end by itself, or not soon."""
        if self._given_up is None or self.cancels >= _MOST_CANCELS:
            return
        self.cancels += 1
        self._look_again(self._timeout)
        if self.task is not None:
            self.task.cancel()

    def over(self) -> None:
        """Let go of it: it has ended, or need not any more."""
        # They know us: a cycle, which would stay until the garbage is collected.
        self.task = self._given_up = None
        if self._due < math.inf:
            self._due = math.inf
            Ticker.current(self._clock).remove(self)

    def _look_again(self, after: float) -> None:
        if self._given_up is None:
            return
        self._due = self._clock.now() + after
        Ticker.current(self._clock).add(self, self._due)

    def tick(self, now: float) -> float:
        if now < self._due:
            return self._due
        if self.cancels < _MOST_CANCELS:
            self.cancel()
            return self._due
        given_up = self._given_up
        self.over()
        if given_up is not None:
            given_up()
        return math.inf
