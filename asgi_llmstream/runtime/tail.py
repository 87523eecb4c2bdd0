"""The tail: a short, bounded, in-memory list of events between a producer and its reader.

The producer appends and waits when it is too far ahead; one reader takes what is there. Both
sides run in one event loop, so looking and waiting need no lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

import anyio.lowlevel

from ..backend import wakeup
from ..events import Event, PartDelta, size_of

__all__ = ["Tail"]


class Tail:
    """Args:
    max_events: how many events may wait before the producer has to.
    max_size: how many characters may.
    """

    def __init__(self, max_events: int, max_size: int) -> None:
        self._max_events = max_events
        self._max_size = max_size
        self._events: list[Event] = []
        self._size = 0
        self._kept = True
        self._left = False
        self._appended = wakeup()
        self._taken = wakeup()
        self._leaving = wakeup()
        self.appended = 0

    def append(self, events: Sequence[Event]) -> None:
        """Add events and wake the reader. Never blocks: look at `full` afterwards."""
        self.appended += len(events)
        if self._kept:
            for event in events:
                self._size += len(event.text) if type(event) is PartDelta else size_of(event)
            self._events += events
        self._appended.set()

    @property
    def full(self) -> bool:
        """Whether the producer should wait."""
        return len(self._events) >= self._max_events or self._size >= self._max_size

    async def room(self) -> None:
        """Let others run, until the reader has taken what is there or has left."""
        if not self.full:
            await anyio.lowlevel.checkpoint()
        while self.full:
            await self._taken.wait()

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._events)

    def wait(self) -> Awaitable[None]:
        """Wait for the next `append` or `wake`."""
        return self._appended.wait()

    def wake(self) -> None:
        """Wake the reader for another reason than an event."""
        self._appended.set()

    def take(self) -> list[Event]:
        """Everything that is ready."""
        events, self._events = self._events, []
        self._size = 0
        self._taken.set()
        return events

    def keep_none(self) -> None:
        """Drop what is there and what will come: the reader wants only to know the end."""
        self._kept = False
        self.take()

    def leave(self) -> None:
        """The reader will not come back: nothing is kept for it, nothing waits for it."""
        self.keep_none()
        self._left = True
        self._leaving.set()

    async def left(self) -> None:
        """Wait until the reader has left."""
        while not self._left:
            await self._leaving.wait()
