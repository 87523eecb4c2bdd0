"""A following: one reader of a run that a store keeps, wherever that is made.

What is past is read from the store, what is new from the window, a log in this process. A reader
who falls behind the window reads from the store again; so nobody waits for him. The window is
entered before the store is read to its end: then nothing can come between the two.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from ..errors import BadRequest, LLMStreamError
from ..events import CaughtUp, Event, RunFailed, Terminal, merge
from ..lifecycle import Unfinished
from ..runtime import Follower, Forgotten, Log, Stopped
from ..stores import EventDecoder, RunState, StoreUnavailable, StreamStore

__all__ = ["Following", "Windows"]

logger = logging.getLogger("asgi_llmstream")

# Events that are read at a time.
_PAGE = 1000


class Windows(Protocol):
    """The logs in this process that hold the newest events of runs."""

    def makes(self, owner: str, id: str) -> bool:
        """Tell whether a run is being made here."""

    def log_of(self, owner: str, id: str) -> Log | None:
        """Return the log of a run that is made here, or followed already."""

    def open(self, owner: str, id: str, after: int) -> None:
        """Have a log of a run that is made elsewhere, with what comes behind number `after`."""

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
        self._entered: Follower | None = None  # live as soon as what is before it is read
        self._past: list[Event] = []  # read, and not taken yet
        self._reached = 0  # the number of the last event that was read
        self._decoder = EventDecoder()
        self._unfinished = Unfinished()  # after what was taken
        self._has_left = False

    @property
    def is_made_here(self) -> bool:
        """True while the run is being made in this process."""
        return self._windows.makes(self._owner, self._id)

    def take(self) -> list[Event]:
        events, self._past = self._past, []
        if not events and self._live is not None:
            events = self._take_live(self._live)
        for event in events:
            self._unfinished.apply(event)
        return events

    def _take_live(self, live: Follower) -> list[Event]:
        try:
            events = live.take()
            while events and events[-1].seq <= self._reached:
                events = live.take()  # the store was ahead of the window
        except Forgotten:
            self._fall_behind()
            return []
        except LLMStreamError as error:
            self.fail(error)
            return []
        if events and events[0].seq <= self._reached:
            return [event for event in events if event.seq > self._reached]
        return events

    def wait(self) -> Awaitable[None]:
        if self._past:
            return anyio.lowlevel.checkpoint()
        if self._live is not None:
            return self._live.wait()
        if self._has_left or self._unfinished.ended:
            return anyio.sleep_forever()
        return self._catch_up()

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
        """End it for this reader; the run goes on.

        His last events are none of the run's. They have the number of the last one that is, so
        that he may come back and have the next one.
        """
        self._leave_window()
        last = self._unfinished.last
        ending = self._unfinished.broken_off(partial(RunFailed.because, error=error))
        self._past = [replace(event, seq=last) for event in ending]

    async def begin_behind(self, number: int, pass_over: Callable[[Event], object]) -> None:
        """Take first what stands behind the event of this number.

        Args:
            number: of an event that there is.
            pass_over: called with each event up to it.

        Raises:
            LLMStreamError: if the store does not have them; the reader has left then.
        """
        try:
            await self._pass_over(number, pass_over)
        except BaseException:
            self.leave()
            raise

    async def _pass_over(self, number: int, pass_over: Callable[[Event], object]) -> None:
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
        """Take first what stands behind an event that there is, and know nothing of what is
        before."""
        self._reached = self._unfinished.last = number

    async def _catch_up(self) -> None:
        """Read what is past, until the window has the rest, or there is none."""
        try:
            while not self._joins_window():
                state = await self._read_page()
                if self._merges:
                    self._past = [*merge(self._past)]
                if self._reached >= state.last:
                    if not state.is_live:
                        self._leave_window()
                        return
                    if self._entered is None:
                        self._windows.open(self._owner, self._id, self._reached)
                    elif self._entered.cursor > self._reached:
                        raise StoreUnavailable()  # it has lost what it had acknowledged
        except LLMStreamError as error:
            self.fail(error)
        except Exception:
            logger.exception("a store raised what is none of its errors")
            self.fail(LLMStreamError())

    async def _read_page(self) -> RunState:
        page = await self._store.read(self._owner, self._id, self._reached, _PAGE)
        if page.state.last < self._reached:
            raise BadRequest("The cursor is beyond the end.", param="cursor")
        self._past += self._decoder.decode(self._reached + 1, page.events)
        self._reached += len(page.events)
        return page.state

    def _joins_window(self) -> bool:
        """Enter the window, so that it keeps what is new, and tell whether it has the rest."""
        if self._entered is None:
            log = self._windows.log_of(self._owner, self._id)
            if log is None:
                return False
            self._entered = _enter(log, self._reached)
        if self._entered.cursor > self._reached:
            return False  # the store has what is between
        self._live, self._entered = self._entered, None
        if self._announces:
            self._announces = False
            self._past = self._up_to_now(self._live)
        return True

    def _up_to_now(self, live: Follower) -> list[Event]:
        """Return what is past, of which the window may have the last part, and a sign behind it."""
        past = self._past
        with suppress(Forgotten, LLMStreamError):  # which the next `take` hears again
            past = [*past, *(event for event in live.take() if event.seq > self._reached)]
        if past and isinstance(past[-1], Terminal):
            return past
        past = [*merge(past)] if self._merges else past
        return [*past, CaughtUp(past[-1].seq if past else self._reached)]

    def _fall_behind(self) -> None:
        self._leave_window()
        self._reached = self._unfinished.last
        self._decoder = EventDecoder(self._unfinished.parts)

    def _leave_window(self) -> None:
        for follower in (self._live, self._entered):
            if follower is not None:
                follower.leave()
        self._live = self._entered = None


def _enter(log: Log, number: int) -> Follower:
    try:
        return log.follow(min(number, log.last), holds=False)
    except Forgotten:
        return log.follow(log.published, holds=False)
