"""The soak's books: what became of every request, and what is left when all is quiet."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from statistics import median

PATIENCE = 60
"""Seconds after which a request, or the quiet after a round, has hung."""


class Record:
    """One request, as the server knows it.

    Attributes:
        what: the client's words for it.
        foreign: whether the middleware was asked.
        reached: whether the server has called the application.
        begun: how often a stream was begun for it.
        told: the outcomes that `on_finish` was told.
        over: done when the application has returned.
    """

    def __init__(self) -> None:
        self.what = "from a client of an earlier round"
        self.foreign = False
        self.reached = False
        self.begun = 0
        self.told: list[str] = []
        self.over: Future[None] = Future()

    @property
    def runs(self) -> bool:
        return self.reached and not self.over.done()

    async def ended(self) -> None:
        """Wait until the application has returned, in whichever event loop."""
        await asyncio.shield(asyncio.wrap_future(self.over))


class Books:
    """What is noted of a whole run, from the threads of both sides.

    Attributes:
        patience: see `PATIENCE`.
        open: the producers that were entered and not left, by shape.
        seen: what the clients saw, as words, and how often.
        outcomes: what `on_finish` was told, of own streams and of foreign ones.
        problems: what must not be.
        held_up: how many seconds late the clients' event loop was, at most.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self.open: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.outcomes: dict[str, Counter[str]] = {"own": Counter(), "foreign": Counter()}
        self.problems: list[str] = []
        self.held_up = 0.0
        self._records: dict[int, Record] = {}
        self._lock = threading.Lock()

    def record(self, number: int) -> Record:
        return self._records.setdefault(number, Record())

    @contextmanager
    def counted(self, shape: str) -> Iterator[None]:
        """A producer is open while it is inside, in any thread."""
        with self._lock:
            self.open[shape] += 1
        try:
            yield
        finally:
            with self._lock:
                self.open[shape] -= 1

    @property
    def running(self) -> list[str]:
        return [record.what for record in list(self._records.values()) if record.runs]

    def close(self) -> None:
        """Every stream that began was told of once; then forget them, or the books would grow."""
        records, self._records = self._records, {}
        for number, record in records.items():
            if record.runs:  # its client had left before the server looked at it
                self._records[number] = record
                continue
            if record.begun > 1 or len(record.told) != record.begun:
                self.problems.append(
                    f"on_finish was told {record.told} of {record.begun} streams: {record.what}"
                )
            self.outcomes["foreign" if record.foreign else "own"].update(record.told)


class Left:
    """What is left when all is quiet.

    Attributes:
        streams: the live objects of the package's own types, by type.
    """

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        gc.collect()
        self.threads = len(threading.enumerate())
        self.descriptors = len(os.listdir("/proc/self/fd"))
        kinds = [type(it) for it in gc.get_objects()]
        self.objects = len(kinds)
        self.streams = Counter(
            kind.__name__ for kind in kinds if str(kind.__module__).startswith("asgi_llmstream.")
        )
        with open("/proc/self/statm") as statm:
            self.memory = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, {self.threads} threads, {self.descriptors} descriptors, "
            f"{self.objects} objects, {self.streams.total()} of the package, {_mib(self.memory)}"
        )


# Of all objects there may be a few more: caches of Python's and of the server's.
_TOLERANCES = {"tasks": 0, "threads": 0, "descriptors": 0, "objects": 3000}

# The allocator's own moods; what the package keeps is counted by object, and exactly.
_MEMORY_TOLERANCE = 48 * 2**20
_CREEP = 8 * 2**20


def compare(first: Left, last: Left) -> Iterator[str]:
    """What there is more of than there was after the warm-up, beyond a tolerance."""
    for name, tolerance in _TOLERANCES.items():
        more = getattr(last, name) - getattr(first, name)
        if more > tolerance:
            yield f"leaked {more} {name}"
    if last.streams.total() > first.streams.total() + 2:
        yield f"streams stay in memory: {dict(last.streams - first.streams)}"
    if last.memory > first.memory + _MEMORY_TOLERANCE:
        yield f"memory grew from {_mib(first.memory)} to {_mib(last.memory)}"


def creeping(measured: list[Left]) -> Iterator[str]:
    """What grows slowly shows in a long run only: its last quarter against its second."""
    quarter = len(measured) // 4
    if quarter < 3:
        return
    before = median(left.memory for left in measured[quarter : 2 * quarter])
    after = median(left.memory for left in measured[-quarter:])
    if after > before + _CREEP:
        yield f"memory creeps: {_mib(before)} in the second quarter, {_mib(after)} in the last"


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
