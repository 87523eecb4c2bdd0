"""A following: one reader of a run that a store keeps, wherever that is made.

What is past is read from the store, what is new from the window, a log in this process. A reader
who falls behind the window reads from the store again; so nobody waits for him.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio

from ..chunks import Usage
from ..errors import BadRequest, LLMStreamError
from ..events import CaughtUp, Event, RunFailed, merge
from ..lifecycle import Unfinished
from ..runtime import Follower, Forgotten, Log, Stopped
from ..stores import EventDecoder, RunState, StreamStore

__all__ = ["Following", "Windows", "failure"]

logger = logging.getLogger("asgi_llmstream")

# Events that are read at a time.
_PAGE = 1000


class Windows(Protocol):
    """The logs in this process that hold the newest events of runs."""

    def log_of(self, owner: str, id: str) -> Log | None:
        """Return the log of a run that is made here, or followed already."""

    async def open(self, owner: str, id: str) -> None:
        """Begin to follow a run that is made elsewhere."""

    def left(self, owner: str, id: str) -> None:
        """Note that one who followed it has left."""


class Following:
    """See `runtime.Reader` and `runtime.Readable`.

    Args:
        store: has what is past.
        windows: have what is new.
        owner: whose run it is.
        id: of the run.
        stop: called when the reader has left, if the run is to end with that.
        merges: join the deltas of what is past, so that there is one a part.
        announces: have a `CaughtUp` follow what is past.
    """

    def __init__(
        self,
        store: StreamStore,
        windows: Windows,
        owner: str,
        id: str,
        stop: Callable[[Stopped], None] | None = None,
        merges: bool = True,
        announces: bool = False,
    ) -> None:
        self._store = store
        self._announces = announces
        self._merges = merges
        self._windows = windows
        self._owner = owner
        self._id = id
        self._stop = stop
        self._live: Follower | None = None
        self._past: list[Event] = []  # read, and not taken yet
        self._reached = 0  # the number of the last event that was read or taken
        self._decoder = EventDecoder()
        self._decoded = 0  # the number of the last event that it has seen
        self._unfinished = Unfinished()  # after what was taken
        self._has_left = False

    def take(self) -> list[Event]:
        if self._past:
            events, self._past = self._past, []
        elif self._live is None:
            return []
        else:
            try:
                events = self._live.take()
            except Forgotten:
                self._fall_behind()
                return []
        for event in events:
            self._unfinished.apply(event)
        return events

    async def wait(self) -> None:
        if self._past:
            return
        if self._live is not None:
            await self._live.wait()
        elif self._has_left or self._unfinished.ended:
            await anyio.sleep_forever()
        else:
            await self._catch_up()

    def wake(self) -> None:
        if self._live is not None:
            self._live.wake()

    def leave(self, *, had_the_end: bool = False) -> None:
        if not self._has_left:
            self._has_left = True
            self._past = []
            self._leave_window()
            self._windows.left(self._owner, self._id)

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        if self._stop is not None:
            self._stop(outcome)

    def fail(self, error: LLMStreamError) -> None:
        """End it for this reader; the run goes on."""
        self._leave_window()
        self._past = self._unfinished.broken_off(partial(failure, error))
        self._reached = self._unfinished.last + len(self._past)

    async def begin_behind(self, number: int, pass_over: Callable[[Event], object]) -> None:
        """Take first what stands behind the event of this number.

        Args:
            number: of an event that there is.
            pass_over: called with each event up to it.

        Raises:
            LLMStreamError: if the store does not have them.
        """
        while True:
            for event in self._past:
                if event.seq <= number:
                    self._unfinished.apply(event)
                    pass_over(event)
            self._past = [event for event in self._past if event.seq > number]
            if self._reached >= number:
                return
            state = await self._read_page()
            if state.last < number:
                raise BadRequest("The cursor is beyond the end.", param="cursor")

    def begin_at(self, number: int) -> None:
        """Take first what stands behind this number, and know nothing of what is before."""
        self._reached = self._decoded = self._unfinished.last = number

    async def _catch_up(self) -> None:
        """Read what is past, until the window has the rest, or there is none."""
        try:
            while not self._joins_window():
                state = await self._read_page()
                if self._merges:
                    self._past = [*merge(self._past)]
                if self._reached >= state.last:
                    if not state.is_live:
                        return
                    await self._windows.open(self._owner, self._id)
        except LLMStreamError as error:
            self.fail(error)
        except Exception:
            logger.exception("a store raised what is none of its errors")
            self.fail(LLMStreamError())

    async def _read_page(self) -> RunState:
        page = await self._store.read(self._owner, self._id, self._decoded, _PAGE)
        events = self._decoder.decode(self._decoded + 1, page.events)
        self._decoded += len(events)
        new = [event for event in events if event.seq > self._reached]
        if new:
            self._reached = new[-1].seq
            self._past = [*self._past, *new]
        return page.state

    def _joins_window(self) -> bool:
        log = self._windows.log_of(self._owner, self._id)
        if log is None or self._reached > log.last:
            return False
        try:
            self._live = log.follow(self._reached, holds=False)
        except Forgotten:
            return False
        if self._announces:
            self._past = [*self._past, CaughtUp(self._reached)]
            self._announces = False
        return True

    def _fall_behind(self) -> None:
        self._leave_window()
        self._reached = self._unfinished.last
        self._decoder, self._decoded = EventDecoder(), 0  # it has missed which parts there are

    def _leave_window(self) -> None:
        if self._live is not None:
            self._live.leave()
            self._live = None


def failure(error: LLMStreamError, number: int, usage: Usage | None) -> RunFailed:
    """Return the terminal that says so."""
    return RunFailed(
        number,
        usage,
        error.message,
        error.code,
        error.status,
        error.param,
        error.retry_after,
        error.should_retry,
    )
