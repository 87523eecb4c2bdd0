"""The memory's store holds the contract; and its limits, its threads, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from asgi_llmstream.stores import (
    MemoryStore,
    NewRun,
    StoreFull,
    StreamStore,
    TooManyRuns,
    Trimmed,
    UnknownRun,
)
from asgi_llmstream.stores.shelf import KeptRun
from asgi_llmstream.testing import ManualClock, settle
from asgi_llmstream.testing.store_contract import StoreContract
from asgi_llmstream.testing.store_contract.stage import ADA, BOB, Run, begin, events, history


class TestMemoryStore(StoreContract):
    max_events = 100

    @asynccontextmanager
    async def open(self, clock: ManualClock) -> AsyncIterator[StreamStore]:
        times = {"lease": self.lease, "retention": self.retention}
        yield MemoryStore(**times, max_events=self.max_events, clock=clock)


def runs_in_memory(owner: str) -> list[str]:
    """The ids of this owner's runs that are anywhere in this process."""
    gc.collect()
    kept = [thing for thing in gc.get_objects() if isinstance(thing, KeptRun)]
    return sorted(run.state.run.id for run in kept if run.state.run.owner == owner)


def tasks_of_loop() -> int:
    """How many tasks there are, those of the machinery included."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        import trio

        return trio.lowlevel.current_statistics().tasks_living


async def only_these_tasks_are_left(many: int) -> None:
    with anyio.fail_after(5):
        while tasks_of_loop() > many:  # a ticker takes a moment to end
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.anyio
class TestNothingIsLeftBehind:
    async def test_ended_runs_are_forgotten_though_nobody_asks_any_more(self, clock) -> None:
        store, before = MemoryStore(retention=300, clock=clock), tasks_of_loop()
        for number in range(3):
            names = {"key": "chat", "idempotency_key": f"once {number}"}
            run = await begin(store, f"run {number}", "idle", **names)
            await run.append(0, events(1, 10))
            await run.end(10)
            await run.forget() if number == 1 else None
            await clock.advance(100)
        await clock.advance(199)
        assert store.size > 0
        await clock.advance(2)
        assert store.size == 0
        assert runs_in_memory("idle") == []
        await only_these_tasks_are_left(before)

    async def test_runs_that_nobody_writes_or_seals_are_forgotten_likewise(self, clock) -> None:
        store, before = MemoryStore(retention=300, lease=30, clock=clock), tasks_of_loop()
        renewed, lost = await begin(store, "renewed", "lazy"), await begin(store, "lost", "lazy")
        await lost.append(0, events(1, 10))
        for _ in range(12):
            await clock.advance(27)
            await renewed.append(0, [])
        both = store.size
        await clock.advance(10)
        assert runs_in_memory("lazy") == ["renewed"]
        assert 0 < store.size < both
        await renewed.end(0)
        await clock.advance(301)
        assert store.size == 0
        await only_these_tasks_are_left(before)

    async def test_a_run_ends_earlier_than_it_would_have_been_lost(self, clock) -> None:
        store = MemoryStore(retention=10, lease=1000, clock=clock)
        await (await begin(store, owner="early")).end(0)
        await clock.advance(11)
        assert store.size == 0

    async def test_whoever_waits_for_a_lost_run_hears_that_it_is_forgotten(self, clock) -> None:
        store = MemoryStore(retention=300, lease=30, clock=clock)
        run = await begin(store)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.wait, 0)
                await settle()
                await clock.advance(331)

    async def test_whoever_stops_waiting_is_forgotten(self, clock) -> None:
        store = MemoryStore(clock=clock)
        run = await begin(store)
        for after in (0, None):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.wait, after)
                await settle()
                tasks.cancel_scope.cancel()
        kept = store._look_up(ADA, "run")
        assert kept is not None
        assert kept.waiting == {}

    async def test_what_was_refused_leaves_nothing(self, clock) -> None:
        store = MemoryStore(max_live=1, clock=clock)
        run = await begin(store, "run", "refused", key="chat")
        size = store.size
        for id in ("second", "third"):
            with pytest.raises(TooManyRuns):
                await begin(store, id, "refused")
        assert store.size == size
        await run.forget()
        assert store.size == 0

    def test_a_store_outlives_the_loop_that_looked_after_it(self, clock) -> None:
        store = MemoryStore(retention=300, lease=30, clock=clock)

        async def in_a_loop(id: str) -> None:
            await (await begin(store, id, "two loops")).end(0)

        async def in_another() -> None:
            await clock.advance(1000)
            assert store.size > 0
            await in_a_loop("second")
            assert [state.run.id for state in await store.list_runs("two loops")] == ["second"]
            await clock.advance(301)
            assert store.size == 0

        anyio.run(in_a_loop, "first")
        anyio.run(in_another)


@pytest.mark.anyio
async def test_a_writer_that_waits_for_a_stop_is_not_woken_by_its_own_events(clock) -> None:
    store, woken = MemoryStore(clock=clock), []
    run = await begin(store)

    async def wait(after: int | None) -> None:
        await run.wait(after)
        woken.append(after)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for after in (None, 0, 2):
                tasks.start_soon(wait, after)
            await settle()
            await run.append(0, events(1, 2))
            await settle()
            assert woken == [0]
            await run.stop()
            await settle()
            assert woken == [0, None]
            await run.append(2, events(3, 3))
    assert woken == [0, None, 2]


@pytest.mark.anyio
class TestLimits:
    @pytest.mark.parametrize("max_events", [1, 5, 64])
    async def test_of_a_run_so_many_events_are_kept(self, clock, max_events: int) -> None:
        store = MemoryStore(max_events=max_events, clock=clock)
        run = await begin(store)
        for after in range(200):
            state = await run.append(after, events(after + 1, after + 1))
            kept = state.last - state.first + 1
            assert kept == min(after + 1, max_events) or max_events * 7 / 8 <= kept <= max_events
            assert (await run.read(state.first - 1)).events == events(state.first, state.last)
            if state.first > 1:
                with pytest.raises(Trimmed):
                    await run.read(state.first - 2)

    async def test_a_batch_that_is_larger_than_what_is_kept_leaves_its_last(self, clock) -> None:
        store = MemoryStore(max_events=10, clock=clock)
        run = await begin(store)
        state = await run.append(0, [*events(1, 99), b"end"], "finished")
        assert state.last == 100
        assert (await run.read(state.first - 1)).events == history(100)[state.first - 1 :]

    async def test_of_a_run_so_many_bytes_are_kept(self, clock) -> None:
        store = MemoryStore(max_run_size=10_000, clock=clock)
        run = await begin(store)
        empty = store.size
        for after in range(50):
            await run.append(after, [bytes(1000)])
            assert store.size - empty <= 10_000
        assert store.size - empty > 7_000
        state = await run.append(50, [bytes(50_000)], "finished")
        assert state.first == state.last == 51
        assert (await run.read(50)).events == [bytes(50_000)]

    async def test_where_there_is_no_limit_all_is_kept(self, clock) -> None:
        store = MemoryStore(max_events=None, max_run_size=None, max_size=None, clock=clock)
        run = await begin(store)
        await run.append(0, events(1, 1000))
        assert (await run.read()).events == events(1, 1000)

    async def test_the_run_that_ended_first_makes_room_and_no_live_one(self, clock) -> None:
        store = MemoryStore(max_size=20_000, clock=clock)
        runs = [await begin(store, f"run {number}") for number in range(4)]
        for number in (2, 1, 0):
            await runs[number].append(0, [bytes(4000)])
            await runs[number].end(1)
        await runs[3].append(0, [bytes(4000)])
        left = [state.run.id for state in await store.list_runs(ADA)]
        assert left == ["run 3", "run 1", "run 0"]
        assert store.size <= 20_000
        with pytest.raises(UnknownRun):
            await runs[2].read()

    async def test_the_end_that_fills_the_store_is_seen(self, clock) -> None:
        store = MemoryStore(max_size=5_000, clock=clock)
        run = await begin(store)
        state = await run.append(0, [bytes(50_000)], "finished")
        assert await run.read() == (state, [bytes(50_000)])
        assert (await begin(store, "next")).epoch > 0
        with pytest.raises(UnknownRun):
            await run.read()

    async def test_no_run_begins_where_live_ones_take_all_room(self, clock) -> None:
        store = MemoryStore(max_size=5_000, clock=clock)
        old = await begin(store, "old", key="chat", request="a")
        await old.append(0, [bytes(4_000)])
        with pytest.raises(StoreFull) as full:
            await begin(store, "new", key="chat", request="b")
        assert full.value.status == 503
        assert not (await old.state()).stopping
        await old.end(1)
        assert (await begin(store, "new", key="chat", request="b")).epoch > 0

    async def test_runs_without_events_take_room_too(self, clock) -> None:
        store = MemoryStore(max_size=10_000, clock=clock)
        with pytest.raises(StoreFull):
            for number in range(1000):
                await begin(store, f"run {number}")

    async def test_an_owner_has_so_many_live_runs(self, clock) -> None:
        store = MemoryStore(max_live=2, clock=clock)
        first = await begin(store, "first", key="chat", request="a")
        await begin(store, "second")
        with pytest.raises(TooManyRuns) as many:
            await begin(store, "third")
        assert many.value.status == 429
        assert (await begin(store, "of another", BOB)).epoch > 0
        assert (await begin(store, "joins", key="chat", request="a")).id == "first"
        assert (await begin(store, "replaces", key="chat", request="b")).epoch > 0
        await first.end(0)
        with pytest.raises(TooManyRuns):
            await begin(store, "third")
        await store.forget(ADA, "second")
        assert (await begin(store, "third")).epoch > 0

    @pytest.mark.parametrize(
        "name", ["retention", "lease", "max_events", "max_run_size", "max_size", "max_live"]
    )
    @pytest.mark.parametrize("number", [0, -1, float("nan")])
    async def test_a_limit_is_positive(self, name: str, number: Any) -> None:
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            MemoryStore(**{name: number})


BACKENDS = ["asyncio", "trio"]


def in_threads(*mains: tuple[str, Callable[[], Any]]) -> None:
    """Run each in an event loop of its own, in a thread of its own, at once."""
    failures: list[BaseException] = []

    def run(backend: str, main: Callable[[], Any]) -> None:
        async def bounded() -> None:
            with anyio.fail_after(20):
                await main()

        try:
            anyio.run(bounded, backend=backend)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=main, daemon=True) for main in mains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    assert failures == []


class TestThreads:
    def test_loops_in_several_threads_share_one_store(self) -> None:
        store, found = MemoryStore(), {name: [] for name in "abcd"}

        async def write() -> None:
            begun = await store.begin(NewRun(owner=ADA, id="run", key="chat"))
            run = Run(store, ADA, "run", begun.epoch)
            for after in range(500):
                await run.append(after, events(after + 1, after + 1))
            await run.wait(None)  # until a reader has all, and says so
            await run.end(500, "stopped")

        def reader(name: str) -> Callable[[], Any]:
            async def read() -> None:
                while not await store.list_runs(ADA, "chat"):
                    await anyio.lowlevel.checkpoint()
                run = Run(store, ADA, "run", 0)
                while len(found[name]) < 500:
                    await run.wait(len(found[name]))
                    found[name] += (await run.read(len(found[name]), 7)).events
                await run.stop()
                found[name] += await run.follow(len(found[name]))

            return read

        readers = [(BACKENDS[n % 2], reader(name)) for n, name in enumerate(found)]
        in_threads(("asyncio", write), *readers)
        assert all(mine == history(501) for mine in found.values())

    def test_of_many_threads_that_ask_the_same_one_begins(self) -> None:
        store, epochs, ready = MemoryStore(), [], threading.Barrier(6)

        def asking(id: str) -> Callable[[], Any]:
            async def ask() -> None:
                await anyio.to_thread.run_sync(ready.wait)
                for number in range(50):
                    run = await begin(store, f"{id} {number}", request="a", key=f"chat {number}")
                    epochs.append(run.epoch)

            return ask

        in_threads(*[(BACKENDS[n % 2], asking(f"thread {n}")) for n in range(6)])
        assert len(epochs) == 300
        assert len([epoch for epoch in epochs if epoch]) == 50

    def test_a_reader_whose_loop_was_closed_disturbs_nobody(self) -> None:
        store = MemoryStore()
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)  # of the task that is left
        run = loop.run_until_complete(begin(store))
        waiting = loop.create_task(run.wait(0))
        loop.run_until_complete(settle())
        loop.close()

        async def write() -> None:
            await run.append(0, events(1, 2))
            assert await run.end(2) == await run.state()

        anyio.run(write)
        assert not waiting.done()
