"""Waiting for news: nobody sleeps through any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from ...stores import NewRun, StreamStore
from ..clock import settle
from .stage import ADA, Run, Stage, begin, event, events, history, passes

__all__ = ["Waiting"]

Act = Callable[[Run], Awaitable[object]]

# What a reader at event 2, the last one, waits for; and a writer.
READERS_NEWS: dict[str, Act] = {
    "an event": lambda run: run.append(2, [event(3)]),
    "the end": lambda run: run.end(2),
    "events and the end": lambda run: run.append(2, [event(3), b"end"], "finished"),
    "that it was forgotten": lambda run: run.forget(),
}
WRITERS_NEWS: dict[str, Act] = {
    "that it is to stop": lambda run: run.stop(),
    "that it was replaced": lambda run: run.store.begin(
        NewRun(owner=ADA, id="next", key="chat", request="next")
    ),
    "the end": lambda run: run.end(2),
    "that it was forgotten": lambda run: run.forget(),
}


class Waiting(Stage):
    """Tests of `wait`, and of following a run to its end."""

    async def test_a_reader_hears_of_all_that_happens(self, store: StreamStore) -> None:
        await self._hear_of_each(store, READERS_NEWS, 2)

    async def test_a_writer_hears_that_nobody_wants_more(self, store: StreamStore) -> None:
        await self._hear_of_each(store, WRITERS_NEWS, None)

    async def _hear_of_each(
        self, store: StreamStore, news: dict[str, Act], after: int | None
    ) -> None:
        for number, act in enumerate(news.values()):
            run = await _with_two_events(store, f"run {number}")
            with anyio.fail_after(self.patience):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, after)
                    await settle()
                    await act(run)

    async def test_what_has_happened_is_not_waited_for(self, store: StreamStore) -> None:
        live, ended = await _with_two_events(store), await _with_two_events(store, "ended")
        await ended.end(2)
        with anyio.fail_after(self.patience):
            await live.wait(0)
            await live.wait(1)
            for after in (0, 2, 3, None):
                await ended.wait(after)
                await store.wait(ADA, "never begun", after)
            await live.stop()
            await live.wait(None)

    async def test_news_that_come_while_one_begins_to_wait_are_heard(
        self, store: StreamStore
    ) -> None:
        news = [(act, 2) for act in READERS_NEWS.values()]
        for act, after in (*news, *((act, None) for act in WRITERS_NEWS.values())):
            for late in range(6):
                run = await _with_two_events(store)
                with anyio.fail_after(self.patience):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(run.wait, after)
                        await passes(late)
                        await act(run)
                await run.forget()
                await store.forget(ADA, "next")

    async def test_all_that_wait_are_woken(self, store: StreamStore) -> None:
        run = await _with_two_events(store)
        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for after in (2, 2, 3, None, 2):
                    tasks.start_soon(run.wait, after)
                await settle()
                await run.append(2, [event(3), b"end"], "finished")

    async def test_one_that_stops_waiting_takes_nobody_with_him(self, store: StreamStore) -> None:
        run = await _with_two_events(store)
        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(run.wait, 2)
                    tasks.start_soon(run.wait, 2)
                    leaving.start_soon(run.wait, None)
                    await settle()
                    leaving.cancel_scope.cancel()
                await run.append(2, [event(3)])

    async def test_data_and_end_at_once_reach_a_reader_at_the_tail_whenever_they_fall(
        self, store: StreamStore
    ) -> None:
        for late in range(12):
            run = await _with_two_events(store, f"run {late}")
            found: list[bytes] = []
            with anyio.fail_after(self.patience):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_follow, run, found, 2, 1 + late % 2)
                    await passes(late)
                    await run.append(2, [event(3), b"end"], "finished")
            assert found == history(4)[2:]

    async def test_followers_from_any_cursor_with_any_pages_get_the_rest_of_it(
        self, store: StreamStore
    ) -> None:
        run = await _with_two_events(store)
        found: list[list[bytes]] = [[] for _ in range(12)]
        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number, mine in enumerate(found):
                    tasks.start_soon(_follow, run, mine, number % 3, 1 + number // 3)
                for after in range(2, 20):
                    await passes(after % 4)
                    await run.append(after, [event(after + 1)])
                await run.end(20)
        for number, mine in enumerate(found):
            assert mine == history(21)[number % 3 :]

    async def test_followers_of_a_run_that_is_sealed_get_the_same_end(
        self, store: StreamStore
    ) -> None:
        run = await _with_two_events(store)
        found: list[list[bytes]] = [[] for _ in range(3)]
        await self.lose_writer(store)
        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for after, mine in enumerate(found):
                    tasks.start_soon(_follow, run, mine, after, 1)
                await settle()
                await run.seal(2)
        assert found == [[*events(1, 2), b"lost"][after:] for after in range(3)]


async def _with_two_events(store: StreamStore, id: str = "run") -> Run:
    run = await begin(store, id, key="chat", request=id)
    await run.append(0, events(1, 2))
    return run


async def _follow(run: Run, found: list[bytes], after: int, limit: int) -> None:
    found += await run.follow(after, limit)
