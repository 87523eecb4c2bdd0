"""Runs as the memory keeps them: one, those of an owner, and in which order they are forgotten."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from msgspec.structs import replace

from .base import KeyReused, NewRun, RunState

__all__ = ["FIRST_CLAIM", "KeptRun", "Lifetimes", "Shelf", "has_news"]

FIRST_CLAIM = 1
# Bytes that an event, and a run, count beside their own.
_EVENT_SIZE = 40
_RUN_SIZE = 1000


class KeptRun:
    """A run with its events.

    Attributes:
        state: as readers are told.
        epoch: the claim that holds.
        replaced: the id of the run that had to end for it.
        over: when its lease is over, or it ended, on a clock that never goes back.
        size: how many bytes it takes.
        waiting: what wakes each that waits, and for which number.
    """

    def __init__(self, run: NewRun) -> None:
        self.state = RunState(run=run)
        self.epoch = FIRST_CLAIM
        self.replaced = ""
        self.over = math.inf
        texts = (run.owner, run.id, run.key, run.request, run.idempotency_key, run.about)
        self.size = _RUN_SIZE + sum(map(len, texts))
        self.waiting: dict[Callable[[], None], int | None] = {}
        self._events: list[bytes] = []
        self._events_size = 0

    def add(self, events: Sequence[bytes], outcome: str, expires: float) -> None:
        """Append the events, the last of which is the terminal if there is an outcome."""
        self._events += events
        self._grow(sum(map(len, events)) + _EVENT_SIZE * len(events))
        last = self.state.last + len(events)
        if outcome:
            self.state = replace(self.state, last=last, outcome=outcome, expires=expires)
        else:
            self.state = replace(self.state, last=last)

    def trim(self, max_events: int | None, max_size: int | None) -> None:
        """Let go of the oldest events where there are too many, never of the last one.

        A little more goes than must, so that a long run is not moved in memory at every event.
        """
        many = 0
        if max_events is not None and len(self._events) > max_events:
            many = len(self._events) - max_events + max_events // 8
        if max_size is not None and self._events_size > max_size:
            too_much = self._events_size - max_size + max_size // 8
            gone = accumulate(map(self._size_of, self._events))
            many = max(many, next(n for n, size in enumerate(gone, 1) if size >= too_much))
        many = min(many, len(self._events) - 1)
        if many > 0:
            self._grow(-sum(map(self._size_of, self._events[:many])))
            del self._events[:many]
            self.state = replace(self.state, first=self.state.first + many)

    def behind(self, after: int, limit: int) -> list[bytes]:
        """Return the events behind number `after`, which is not before the first one kept."""
        start = after + 1 - self.state.first
        return self._events[start : start + limit]

    def tell_to_stop(self) -> None:
        if self.state.is_live and not self.state.stopping:
            self.state = replace(self.state, stopping=True)
            self.wake()

    def wake(self) -> None:
        """Wake each that waits for what is there now."""
        for wake, after in tuple(self.waiting.items()):
            if has_news(self.state, after):
                wake()

    def wake_all(self) -> None:
        """Wake each that waits: the run is gone."""
        for wake in tuple(self.waiting):
            wake()

    @staticmethod
    def _size_of(event: bytes) -> int:
        return len(event) + _EVENT_SIZE

    def _grow(self, size: int) -> None:
        self._events_size += size
        self.size += size


def has_news(state: RunState, after: int | None) -> bool:
    """Tell what `StreamStore.wait` waits for."""
    if after is None:
        return state.stopping or not state.is_live
    return state.last > after or not state.is_live


class Shelf:
    """An owner's runs, the oldest first."""

    def __init__(self) -> None:
        self.runs: dict[str, KeptRun] = {}
        self.live = 0
        self._by_key: dict[str, dict[str, KeptRun]] = {}
        self._by_question: dict[str, KeptRun] = {}

    def add(self, kept: KeptRun) -> None:
        run = kept.state.run
        self.runs[run.id] = kept
        self.live += 1
        if run.key:
            self._by_key.setdefault(run.key, {})[run.id] = kept
        if run.idempotency_key:
            self._by_question[run.idempotency_key] = kept

    def remove(self, kept: KeptRun) -> None:
        run = kept.state.run
        del self.runs[run.id]
        self.live -= kept.state.is_live
        if run.key:
            of_key = self._by_key[run.key]
            del of_key[run.id]
            if not of_key:
                del self._by_key[run.key]
        if self._by_question.get(run.idempotency_key) is kept:
            del self._by_question[run.idempotency_key]

    def with_key(self, key: str) -> list[KeptRun]:
        """Return the runs of this key, or all if it is empty, the youngest first."""
        return [*reversed((self._by_key.get(key, {}) if key else self.runs).values())]

    def holder(self, key: str) -> KeptRun | None:
        """Return the run that has this key: live, and not told to stop. It is the youngest."""
        youngest = next(reversed(self._by_key.get(key, {}).values()), None)
        if youngest is None or not youngest.state.is_live or youngest.state.stopping:
            return None
        return youngest

    def same_question(self, run: NewRun) -> KeptRun | None:
        """Return the run with the same idempotency key.

        Raises:
            KeyReused: if that was asked something else.
        """
        same = self._by_question.get(run.idempotency_key) if run.idempotency_key else None
        if same is not None and same.state.run.request != run.request:
            raise KeyReused()
        return same


class Lifetimes:
    """Runs in the order in which they are forgotten: live ones, if nobody renews, and ended ones.

    Args:
        retention: seconds from the end, or from the end of the lease.
    """

    def __init__(self, retention: float) -> None:
        self._retention = retention
        self._live: OrderedDict[KeptRun, None] = OrderedDict()
        self._ended: OrderedDict[KeptRun, None] = OrderedDict()

    def renew(self, kept: KeptRun, over: float) -> None:
        kept.over = over
        self._live[kept] = None
        self._live.move_to_end(kept)

    def end(self, kept: KeptRun, now: float) -> None:
        del self._live[kept]
        kept.over = now
        self._ended[kept] = None

    def remove(self, kept: KeptRun) -> None:
        self._live.pop(kept, None)
        self._ended.pop(kept, None)

    def due_of(self, kept: KeptRun) -> float:
        """Return when it is forgotten."""
        return kept.over + self._retention

    def due(self, now: float) -> Iterator[KeptRun]:
        """Yield each that is to be forgotten; it has to be removed before the next."""
        for first in iter(self._first, None):
            if self.due_of(first) > now:
                return
            yield first

    @property
    def next_due(self) -> float:
        """The time at which the next one is forgotten; infinite if there is none."""
        first = self._first()
        return math.inf if first is None else self.due_of(first)

    @property
    def oldest_ended(self) -> KeptRun | None:
        """The run that ended first."""
        return next(iter(self._ended), None)

    def _first(self) -> KeptRun | None:
        firsts = [next(iter(runs)) for runs in (self._live, self._ended) if runs]
        return min(firsts, key=lambda kept: kept.over, default=None)
