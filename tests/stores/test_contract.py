"""The contract finds what is wrong with a store, and works as a user writes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import Phase
from msgspec.structs import replace

from asgi_llmstream.stores import (
    Begun,
    Ended,
    LeaseHeld,
    MemoryStore,
    NewRun,
    OnBusy,
    Page,
    RunState,
    StreamStore,
    UnknownRun,
)
from asgi_llmstream.stores.shelf import KeptRun, has_news
from asgi_llmstream.testing import ManualClock
from asgi_llmstream.testing.store_contract import StoreContract
from asgi_llmstream.testing.store_contract.machine import try_operations
from tests.house.test_docs import blocks

# Stores of the kinds that there are, each with one fault.


class LosesAnAppend(MemoryStore):
    """Says of every third append that it has it, and has it not."""

    appends = 0

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        self.appends += 1
        if self.appends % 3 == 0 and events and not outcome:
            state = await super().append(owner, id, epoch, after, [], "")
            return replace(state, last=max(state.last, after + len(events)))
        return await super().append(owner, id, epoch, after, events, outcome)


class AppliesTwice(MemoryStore):
    """Takes a repeated append for a new one."""

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        last = self._find(owner, id).state.last
        return await super().append(owner, id, epoch, max(after, last), events, outcome)


class OverwritesTheTerminal(MemoryStore):
    """Lets the last one that ends a run have his way."""

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        try:
            return await super().append(owner, id, epoch, after, events, outcome)
        except Ended:
            kept = self._find(owner, id)
            kept._events[-1] = events[-1]
            kept.state = replace(kept.state, outcome=outcome or kept.state.outcome)
            return kept.state


class ShowsForeignRuns(MemoryStore):
    """Looks up by id alone, when it reads."""

    async def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        for shelf in self._owners.values():
            if id in shelf.runs:
                owner = shelf.runs[id].state.run.owner
        return await super().read(owner, id, after, limit)


class LosesTheWakeOfTheEnd(MemoryStore):
    """Wakes nobody when data and the end come at once."""

    def _add(self, kept: KeptRun, events: Sequence[bytes], outcome: str, now: float) -> None:
        waiting = dict(kept.waiting)
        if outcome and len(events) > 1:
            kept.waiting.clear()
        super()._add(kept, events, outcome, now)
        kept.waiting = waiting


class LosesTheWakeBeforeTheWait(MemoryStore):
    """Looks whether there are news, and begins to wait for some a moment later."""

    async def wait(self, owner: str, id: str, after: int | None) -> None:
        kept = self._look_up(owner, id)
        if kept is not None and not has_news(kept.state, after):
            await anyio.lowlevel.checkpoint()
            woken = anyio.Event()
            kept.waiting[woken.set] = after
            await woken.wait()


class SealsWithoutFencing(MemoryStore):
    """Leaves the claim to the writer that was given up."""

    async def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        kept = self._find(owner, id)
        epoch = kept.epoch
        try:
            return await super().seal(owner, id, after, events, outcome)
        finally:
            kept.epoch = epoch


class SealsTheLiving(MemoryStore):
    """Does not ask whether the writer lives."""

    async def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        try:
            return await super().seal(owner, id, after, events, outcome)
        except LeaseHeld:
            self._find(owner, id).over = -1
            return await super().seal(owner, id, after, events, outcome)


class CreatesByAppending(MemoryStore):
    """Brings back what was erased."""

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        try:
            return await super().append(owner, id, epoch, after, events, outcome)
        except UnknownRun:
            await super().begin(NewRun(owner=owner, id=id))
            return await super().append(owner, id, epoch, 0, events, outcome)


class BeginsTwice(MemoryStore):
    """Looks for a run to join, and begins one a moment later."""

    asked = 0

    async def begin(self, run: NewRun, *, on_busy: OnBusy = "replace") -> Begun:
        is_first = not await self.list_runs(run.owner, run.key)
        self.asked += 1
        for _ in range(self.asked):
            await anyio.lowlevel.checkpoint()
        if is_first and (shelf := self._owners.get(run.owner)):
            shelf._by_key.clear()
        return await super().begin(run, on_busy=on_busy)


class KeepsWhatIsRead(MemoryStore):
    """Counts the retention from the last reading."""

    async def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        page = await super().read(owner, id, after, limit)
        if not page.state.is_live:
            self._find(owner, id).over = self._clock.now()
        return page


class ForgetsQuietly(MemoryStore):
    """Leaves those waiting who wait for a run that it erases."""

    def _erase(self, kept: KeptRun) -> None:
        kept.wake_all = lambda: None
        super()._erase(kept)


FAULTS = [
    (LosesAnAppend, "test_what_is_acknowledged_is_seen_by_the_next_read"),
    (AppliesTwice, "test_an_append_that_is_repeated_changes_nothing"),
    (OverwritesTheTerminal, "test_another_terminal_is_refused_and_the_first_stays"),
    (ShowsForeignRuns, "test_a_foreign_run_is_an_unknown_one"),
    (LosesTheWakeOfTheEnd, "test_a_reader_hears_of_all_that_happens"),
    (
        LosesTheWakeOfTheEnd,
        "test_data_and_end_at_once_reach_a_reader_at_the_tail_whenever_they_fall",
    ),
    (
        LosesTheWakeBeforeTheWait,
        "test_news_that_come_while_one_begins_to_wait_are_heard",
    ),
    (SealsWithoutFencing, "test_the_writer_of_a_sealed_run_is_stale"),
    (SealsTheLiving, "test_the_run_of_a_living_writer_is_not_sealed"),
    (CreatesByAppending, "test_an_append_never_creates_a_run"),
    (BeginsTwice, "test_of_many_that_ask_the_same_at_once_one_begins"),
    (
        KeepsWhatIsRead,
        "test_an_ended_run_is_forgotten_after_its_retention_however_often_it_is_read",
    ),
    (ForgetsQuietly, "test_a_reader_hears_of_all_that_happens"),
]

SEEN_BY_RANDOM_OPERATIONS = [
    LosesAnAppend,
    AppliesTwice,
    OverwritesTheTerminal,
    ShowsForeignRuns,
    SealsWithoutFencing,
    SealsTheLiving,
    CreatesByAppending,
]

A_FAILURE = (AssertionError, TimeoutError, pytest.fail.Exception)


class OfStore(StoreContract):
    """The suite as it stands, on stores of this kind."""

    __test__ = False
    random_examples = 1000

    def __init__(self, kind: type[MemoryStore], patience: float) -> None:
        self.kind = kind
        self.patience = patience

    @asynccontextmanager
    async def open(self, clock: ManualClock) -> AsyncIterator[StreamStore]:
        yield self.kind(lease=self.lease, retention=self.retention, clock=clock)

    def check(self, test: str) -> None:
        async def run() -> None:
            self.clock = ManualClock()
            async with self.open(self.clock) as store:
                await getattr(self, test)(store)

        anyio.run(run)


@pytest.mark.parametrize(("kind", "test"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_store_with_a_fault_is_found(kind: type[MemoryStore], test: str) -> None:
    OfStore(MemoryStore, patience=5).check(test)
    with pytest.raises(A_FAILURE):
        OfStore(kind, patience=0.2).check(test)


@pytest.mark.parametrize("kind", SEEN_BY_RANDOM_OPERATIONS)
def test_random_operations_find_it_too(kind: type[MemoryStore]) -> None:
    with pytest.raises(AssertionError):
        try_operations(OfStore(kind, patience=5), "asyncio", {}, phases=[Phase.generate])


def test_the_page_on_stores_shows_a_suite_that_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "test_my_store.py").write_text(blocks("docs/stores.md")[0])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-k", "not random"]
    done = subprocess.run(
        [*command, "-W", "error", "."], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout
    tests = {name for name in dir(StoreContract) if name.startswith("test_")}
    assert f"{2 * (len(tests) - 1)} passed" in done.stdout  # on asyncio and trio
