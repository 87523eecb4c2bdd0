"""A store in this process's memory: resume, follow and stop, as long as it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio.lowlevel
from msgspec.structs import replace

from ..backend import Wakeup, caller_from_thread, loop_key, wakeup
from ..clock import Clock
from .base import (
    Begun,
    Behind,
    Busy,
    Ended,
    KeyReused,
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

__all__ = ["MemoryStore"]

_SYSTEM_CLOCK = Clock()
# Bytes that an event counts beside its own.
_EVENT_SIZE = 40


class _Kept:
    """A run as it is kept."""

    def __init__(self, run: NewRun, lease_over: float) -> None:
        self.state = RunState(run=run)
        self.epoch = 1
        self.lease_over = lease_over
        self.events: list[bytes] = []
        self.size = 0
        self.told: set[Callable[[], None]] = set()  # wakes each that waits

    def add(self, events: Sequence[bytes], outcome: str, expires: float) -> None:
        self.events += events
        self.size += sum(map(len, events)) + _EVENT_SIZE * len(events)
        last = self.state.last + len(events)
        if outcome:
            self.state = replace(self.state, last=last, outcome=outcome, expires=expires)
        else:
            self.state = replace(self.state, last=last)

    def trim(self, max_events: int | None, max_size: int | None) -> None:
        """Let go of the oldest events, of all but the last."""
        size, many = self.size, 0
        over = 0 if max_events is None else len(self.events) - max_events
        while many < over or (max_size is not None and size > max_size):
            if many == len(self.events) - 1:
                break
            size -= len(self.events[many]) + _EVENT_SIZE
            many += 1
        if many:
            del self.events[:many]
            self.size = size
            self.state = replace(self.state, first=self.state.first + many)

    def wake(self) -> None:
        for wake in tuple(self.told):
            wake()


class MemoryStore:
    """Keeps runs in memory; for one process, whose end is theirs.

    Args:
        retention: seconds that a run is kept after its end.
        lease: seconds without a word of its writer after which a run has lost it.
        max_events: how many events of a run are kept: the last ones, if there are more.
        max_run_size: how many bytes of a run are, likewise.
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
        self._max_size = max_size
        self._max_live = max_live
        self._clock = clock
        self._owners: dict[str, dict[str, _Kept]] = {}  # their runs by id, the oldest first
        self._ended: dict[str, _Kept] = {}  # by id, in the order in which they expire
        self._size = 0
        self._looked_for_lost = clock.now()
        self._lock = threading.RLock()  # servers in several threads may share it

    async def begin(self, run: NewRun, *, on_busy: OnBusy = "replace") -> Begun:
        """See `StreamStore`, as for the others."""
        await anyio.lowlevel.checkpoint()
        with self._lock:
            self._forget_expired()
            self._forget_lost()
            if own := self._owners.get(run.owner, {}).get(run.id):
                return Begun(own.state, own.epoch)
            if (same := self._same_question(run)) is not None:
                return Begun(same.state, 0)
            busy = self._live_with_key(run)
            if busy is not None and on_busy == "refuse":
                raise Busy(busy.state)
            self._check_room(run, busy)
            if busy is not None:
                self._tell_to_stop(busy)
            kept = _Kept(run, self._clock.now() + self.lease)
            self._owners.setdefault(run.owner, {})[run.id] = kept
            return Begun(kept.state, kept.epoch, busy.state.run.id if busy is not None else "")

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._find(owner, id)
            state = kept.state
            if epoch != kept.epoch:
                raise Stale(f"the claim {epoch} on {id} does not hold")
            if after > state.last:
                raise Behind(state.last)
            new = events[state.last - after :]
            if not state.is_live:
                if new or (outcome and outcome != state.outcome):
                    raise Ended(state)
                return state
            kept.lease_over = self._clock.now() + self.lease
            if new:
                self._add(kept, new, outcome)
            return kept.state

    async def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._find(owner, id)
            if kept.state.is_live:
                if self._clock.now() < kept.lease_over or kept.state.last != after:
                    raise LeaseHeld(f"the writer of {id} lives")
                kept.epoch += 1
                self._add(kept, events, outcome)
            return kept.state

    async def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._find(owner, id)
            first = kept.state.first
            if after < first - 1:
                raise Trimmed()
            return Page(kept.state, kept.events[after + 1 - first :][:limit])

    async def wait(self, owner: str, id: str, after: int | None) -> None:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._owners.get(owner, {}).get(id)
            if kept is None or _has_news(kept.state, after):
                return
            news = wakeup()
            wake = _waker(news)
            kept.told.add(wake)
        try:
            await news.wait()
        finally:
            with self._lock:
                kept.told.discard(wake)

    async def stop(self, owner: str, id: str) -> RunState:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._find(owner, id)
            self._tell_to_stop(kept)
            return kept.state

    async def list_runs(self, owner: str, key: str = "") -> list[RunState]:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            self._forget_expired()
            states = [kept.state for kept in reversed(self._of(owner))]
            return [state for state in states if not key or state.run.key == key]

    async def forget(self, owner: str, id: str) -> None:
        await anyio.lowlevel.checkpoint()
        with self._lock:
            kept = self._owners.get(owner, {}).get(id)
            if kept is not None:
                self._erase(kept)

    # With the lock held.

    def _find(self, owner: str, id: str) -> _Kept:
        self._forget_expired()
        kept = self._owners.get(owner, {}).get(id)
        if kept is None:
            raise UnknownRun()
        return kept

    def _of(self, owner: str) -> list[_Kept]:
        return [*self._owners.get(owner, {}).values()]

    def _same_question(self, run: NewRun) -> _Kept | None:
        """The run that answers what is asked already."""
        if run.idempotency_key:
            for kept in self._of(run.owner):
                if kept.state.run.idempotency_key == run.idempotency_key:
                    if kept.state.run.request != run.request:
                        raise KeyReused()
                    return kept
        busy = self._live_with_key(run)
        return busy if busy is not None and busy.state.run.request == run.request else None

    def _live_with_key(self, run: NewRun) -> _Kept | None:
        if not run.key:
            return None
        live = (kept for kept in self._of(run.owner) if kept.state.is_live)
        known = [kept for kept in live if kept.state.run.key == run.key]
        return known[-1] if known and not known[-1].state.stopping else None

    def _check_room(self, run: NewRun, leaving: _Kept | None) -> None:
        live = sum(kept.state.is_live and kept is not leaving for kept in self._of(run.owner))
        if self._max_live is not None and live >= self._max_live:
            raise TooManyRuns()
        if self._max_size is not None and self._size >= self._max_size:
            raise StoreFull()

    def _tell_to_stop(self, kept: _Kept) -> None:
        if kept.state.is_live and not kept.state.stopping:
            kept.state = replace(kept.state, stopping=True)
            kept.wake()

    def _add(self, kept: _Kept, events: Sequence[bytes], outcome: str) -> None:
        before = kept.size
        kept.add(events, outcome, self._clock.time() + self._retention)
        kept.trim(self._max_events, self._max_run_size)
        self._size += kept.size - before
        if outcome:
            self._ended[kept.state.run.id] = kept
        while self._ended and self._max_size is not None and self._size > self._max_size:
            self._erase(self._oldest_ended)
        kept.wake()

    @property
    def _oldest_ended(self) -> _Kept:
        return next(iter(self._ended.values()))

    def _forget_expired(self) -> None:
        now = self._clock.time()
        while self._ended and (self._oldest_ended.state.expires or 0) <= now:
            self._erase(self._oldest_ended)

    def _forget_lost(self) -> None:
        """Forget live runs whose writers are gone, and whom nobody has sealed."""
        now = self._clock.now()
        if now < self._looked_for_lost + self.lease:
            return
        self._looked_for_lost = now
        for kept in [kept for runs in self._owners.values() for kept in runs.values()]:
            if kept.state.is_live and kept.lease_over + self._retention <= now:
                self._erase(kept)

    def _erase(self, kept: _Kept) -> None:
        run = kept.state.run
        self._ended.pop(run.id, None)
        runs = self._owners[run.owner]
        del runs[run.id]
        if not runs:
            del self._owners[run.owner]
        self._size -= kept.size
        kept.wake()


def _has_news(state: RunState, after: int | None) -> bool:
    if after is None:
        return state.stopping or not state.is_live
    return state.last > after or not state.is_live


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
