"""The drain: a flag that says that the process is told to end. Every ticker looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from ..backend import loop_key
from .workers import told_to_end

__all__ = ["Drain", "drain", "draining", "process_drain"]


class Drain:
    """The flag. It counts, so that a server that is started anew in the same process, in an event
    loop of its own, does not inherit the end of the last."""

    def __init__(self) -> None:
        self._drains = 0
        # How many there had been when a loop's first request came.
        self._before: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._told: Callable[[], bool] | None = None

    def begin(self) -> None:
        """Have every stream end, in every event loop whose first request has come."""
        self._drains += 1

    def note_loop(self) -> None:
        """Note that the running loop has a request: what was before does not concern it."""
        if not self._before:
            self._told = told_to_end()
        self._before.setdefault(loop_key(), self._drains)

    @property
    def has_begun(self) -> bool:
        """True if it concerns the running event loop; without one, if it ever began."""
        if not self._drains:
            if self._told is None or not self._told():
                return False
            self.begin()
        try:
            return self._drains > self._before.get(loop_key(), self._drains)
        except RuntimeError:
            return True


process_drain = Drain()
"""The process's."""


def drain() -> None:
    """Have every stream of this process end within its `shutdown_grace`, and refuse new ones.

    From any thread, and from signal handlers. There is no way back: the process is to end. Only
    event loops whose first request is yet to come are not concerned.
    """
    process_drain.begin()


def draining() -> bool:
    """Return whether the process is told to end. A producer may look, and come to an end by
    itself.

    In a thread without an event loop: whether it ever was.
    """
    return process_drain.has_begun
