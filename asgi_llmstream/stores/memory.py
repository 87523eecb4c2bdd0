"""A store in this process's memory: resume, follow and stop, as long as it runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio.lowlevel

from ..backend import Wakeup, caller_from_thread, loop_key, wakeup
from ..clock import Clock
from ..runtime import Ticker
from .base import (
    Begun,
    Behind,
    Busy,
    Ended,
    LeaseHeld,
    NewRun,
    OnBusy,
    Page,
    RunState,
    Stale,
    StoreFull,
    TooManyRuns,
    Trimmed,
    UnknownRun,
)
from .shelf import FIRST_CLAIM, KeptRun, Lifetimes, Shelf, has_news

__all__ = ["MemoryStore"]

_SYSTEM_CLOCK = Clock()


class MemoryStore:
    """Keeps runs in memory; for one process, whose end is theirs.

    Args:
        retention: seconds that a run is kept after its end.
        lease: seconds without a word of its writer after which a run has lost it.
        max_events: how many events of a run are kept: the last ones, if there are more (and up to
            an eighth less than this then).
        max_run_size: how many bytes of a run's events are, likewise.
        max_size: how many bytes of all runs are. Where they are more, runs that have ended are
            forgotten, the oldest first; new ones are refused if that does not help.
        max_live: how many live runs an owner may have.
        clock: where the time comes from.

    Raises:
        ValueError: if a number is not positive.
    """

    def __init__(
        self,
        *,
        retention: float = 300,
        lease: float = 30,
        max_events: int | None = 100_000,
        max_run_size: int | None = 16 * 1024 * 1024,
        max_size: int | None = 256 * 1024 * 1024,
        max_live: int | None = None,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        numbers = {
            "retention": retention,
            "lease": lease,
            "max_events": max_events,
            "max_run_size": max_run_size,
            "max_size": max_size,
            "max_live": max_live,
        }
        for name, number in numbers.items():
            if number is not None and not number > 0:
                raise ValueError(f"{name} must be positive: {number!r}")
        self.lease = lease
        self._retention = retention
        self._max_events = max_events
        self._max_run_size = max_run_size
        self._max_size = math.inf if max_size is None else max_size
        self._max_live = math.inf if max_live is None else max_live
        self._clock = clock
        self._owners: dict[str, Shelf] = {}
        self._lifetimes = Lifetimes(retention)
        self._size = 0
        self._next_look = -math.inf  # of a ticker, at what is to be forgotten
        self._lock = threading.RLock()  # servers in several threads may share it

    @property
    def size(self) -> int:
        """The bytes that all runs take, each with something for what is around them."""
        return self._size

    async def begin(self, run: NewRun, *, on_busy: OnBusy = "replace") -> Begun:
        """See `StreamStore`, as for the others."""
        await anyio.lowlevel.checkpoint()
        with self._lock:
            now = self._tidy()
            shelf = self._owners.get(run.owner) or Shelf()
            if own := shelf.runs.get(run.id):
                return Begun(own.state, FIRST_CLAIM, own.replaced)
            if same := shelf.same_question(run):
                return Begun(same.state, 0)
            holder = shelf.holder(run.key)
            if holder is not None and now < holder.over:
                if holder.state.run.request == run.request:
                    return Begun(holder.state, 0)
                if on_busy == "refuse":
                    raise Busy(holder.state)
            if shelf.live - (holder is not None) >= self._max_live:
                raise TooManyRuns()
            return self._begin(KeptRun(run), shelf, holder, now)

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            now = self._tidy()
            kept = self._find(owner, id)
            state = kept.state
            if epoch != kept.epoch:
                raise Stale(f"the claim {epoch} on {id} does not hold")
            if after > state.last:
                raise Behind(state.last)
            new = events[state.last - after :]
            if not state.is_live:
                another = (outcome, after + len(events)) != (state.outcome, state.last)
                if new or (outcome and another):
                    raise Ended(state)
                return state
            self._add(kept, new, outcome, now)
            return kept.state

    async def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            now = self._tidy()
            kept = self._find(owner, id)
            if kept.state.is_live:
                if now < kept.over or kept.state.last != after:
                    raise LeaseHeld(f"the writer of {id} lives")
                kept.epoch += 1
                self._add(kept, events, outcome, now)
            return kept.state

    async def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            self._tidy()
            kept = self._find(owner, id)
            if after < kept.state.first - 1:
                raise Trimmed()
            return Page(kept.state, kept.behind(after, limit))

    async def wait(self, owner: str, id: str, after: int | None) -> None:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._look_up(owner, id)
            if kept is None or has_news(kept.state, after):
                return
            news = wakeup()
            wake = _waker(news)
            kept.waiting[wake] = after
        try:
            await news.wait()
        finally:
            with self._lock:
                del kept.waiting[wake]

    async def stop(self, owner: str, id: str) -> RunState:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            self._tidy()
            kept = self._find(owner, id)
            kept.tell_to_stop()
            return kept.state

    async def list_runs(self, owner: str, key: str = "") -> list[RunState]:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            self._tidy()
            shelf = self._owners.get(owner) or Shelf()
            return [kept.state for kept in shelf.with_key(key)]

    async def forget(self, owner: str, id: str) -> None:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._look_up(owner, id)
            if kept is not None:
                self._erase(kept)

    def tick(self, now: float) -> float:
        """Forget what is due, also where nobody asks for anything any more; for the ticker."""
        with self._lock:
            self._tidy()
            self._next_look = self._lifetimes.next_due
            if not self._owners:
                Ticker.current(self._clock).remove(self)
            return self._next_look

    # With the lock held.

    def _look_up(self, owner: str, id: str) -> KeptRun | None:
        shelf = self._owners.get(owner)
        return None if shelf is None else shelf.runs.get(id)

    def _find(self, owner: str, id: str) -> KeptRun:
        kept = self._look_up(owner, id)
        if kept is None:
            raise UnknownRun()
        return kept

    def _begin(self, kept: KeptRun, shelf: Shelf, holder: KeptRun | None, now: float) -> Begun:
        if not self._make_room(kept.size):
            raise StoreFull()
        if holder is not None:
            holder.tell_to_stop()
            kept.replaced = holder.state.run.id
        self._owners[kept.state.run.owner] = shelf
        shelf.add(kept)
        self._size += kept.size
        self._lifetimes.renew(kept, now + self.lease)
        self._look_by(now, self._lifetimes.due_of(kept))
        return Begun(kept.state, kept.epoch, kept.replaced)

    def _add(self, kept: KeptRun, events: Sequence[bytes], outcome: str, now: float) -> None:
        if outcome and not events:
            raise ValueError("a terminal is an event that the store has not")
        before = kept.size
        kept.add(events, outcome, self._clock.time() + self._retention)
        kept.trim(self._max_events, self._max_run_size)
        self._size += kept.size - before
        if outcome:
            self._owners[kept.state.run.owner].live -= 1
            self._lifetimes.end(kept, now)
            self._look_by(now, self._lifetimes.due_of(kept))
        else:
            self._lifetimes.renew(kept, now + self.lease)
        self._make_room(0, spare=kept)
        if events:
            kept.wake()

    def _make_room(self, size: int, spare: KeptRun | None = None) -> bool:
        """Forget runs that have ended, the oldest first, until there is room for this size."""
        while self._size + size > self._max_size:
            oldest = self._lifetimes.oldest_ended
            if oldest is None or oldest is spare:
                return False
            self._erase(oldest)
        return True

    def _tidy(self) -> float:
        """Forget what is due, and return the time."""
        now = self._clock.now()
        for kept in self._lifetimes.due(now):
            self._erase(kept)
        return now

    def _look_by(self, now: float, due: float) -> None:
        """Have this loop's ticker look, unless one does in time, in whichever loop.

        A time that has passed without a look is that of a ticker whose loop is gone.
        """
        if not now < self._next_look <= due:
            self._next_look = due
            Ticker.current(self._clock).add(self, due)

    def _erase(self, kept: KeptRun) -> None:
        owner = kept.state.run.owner
        shelf = self._owners[owner]
        shelf.remove(kept)
        if not shelf.runs:
            del self._owners[owner]
        self._lifetimes.remove(kept)
        self._size -= kept.size
        kept.wake_all()


def _waker(news: Wakeup) -> Callable[[], None]:
    """Return what wakes a waiting task, also from the event loop of another thread."""
    loop, call = loop_key(), caller_from_thread()

    def wake() -> None:
        if loop_key() is loop:
            news.set()
        else:
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                call(news.set)

    return wake
