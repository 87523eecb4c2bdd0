"""Reading: pages, cursors, whose it is, and lists."""

from __future__ import annotations

import pytest

from ...stores import StreamStore, Trimmed, UnknownRun
from .stage import ADA, BOB, Run, Stage, begin, event, events, history

__all__ = ["Reading"]


class Reading(Stage):
    """Tests of `read` and `list_runs`."""

    async def test_a_run_is_read_from_any_cursor(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 9))
        await run.end(9)
        for after in range(11):
            state, found = await run.read(after)
            assert (state.last, state.outcome) == (10, "finished")
            assert found == history(10)[after:]

    async def test_a_page_has_so_many_events_at_the_most(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 10))
        for limit in (1, 3, 10, 11):
            found: list[bytes] = []
            while page := (await run.read(len(found), limit)).events:
                assert len(page) == min(limit, 10 - len(found))
                found += page
            assert found == events(1, 10)

    async def test_there_is_nothing_behind_the_last_event(self, store: StreamStore) -> None:
        run = await begin(store)
        assert (await run.read(0)).events == []
        state = await run.append(0, events(1, 2))
        for after in (2, 3, 1000):
            assert await run.read(after) == (state, [])

    async def test_runs_do_not_mix(self, store: StreamStore) -> None:
        runs = [await begin(store, f"run {number}") for number in range(3)]
        for after in range(3):
            for number, run in enumerate(runs):
                await run.append(after, [b"%d of %d" % (after, number)])
        for number, run in enumerate(runs):
            assert (await run.read()).events == [b"%d of %d" % (at, number) for at in range(3)]

    async def test_a_foreign_run_is_an_unknown_one(self, store: StreamStore) -> None:
        hers = await begin(store, owner=ADA, key="chat", idempotency_key="once")
        await hers.append(0, events(1, 2))
        state = await hers.state()
        for owner in (BOB, ""):
            await begin(store, "own", owner)
            answers = [
                await _answers(Run(store, owner, id, hers.epoch)) for id in (hers.id, "never begun")
            ]
            assert answers[0] == answers[1] == ["unknown_stream"] * 4
            assert [kept.run.id for kept in await store.list_runs(owner)] == ["own"]
            assert await store.list_runs(owner, "chat") == []
        assert await hers.read() == (state, events(1, 2))

    async def test_a_beginning_that_is_not_kept_any_more_is_told(self, store: StreamStore) -> None:
        if self.max_events is None:
            pytest.skip("this store keeps all events of a run")
        run = await begin(store)
        last = 3 * self.max_events
        for after in range(last):
            await run.append(after, [event(after + 1)])
        state = (await run.read(last)).state
        assert last - self.max_events < state.first <= last
        assert state.last == last
        for after in (0, state.first - 2):
            with pytest.raises(Trimmed):
                await run.read(after)
        assert (await run.read(state.first - 1)).events == events(state.first, last)
        assert (await run.append(last, [b"end"], "finished")).last == last + 1
        assert (await run.read(last)).events == [b"end"]
        assert (await run.append(0, events(1, last))).last == last + 1

    # Lists.

    async def test_runs_are_listed_the_youngest_first(self, store: StreamStore) -> None:
        assert await store.list_runs(ADA) == []
        runs = [await begin(store, f"run {number}") for number in (3, 1, 2)]
        await runs[1].append(0, events(1, 2))
        await runs[0].end(0)
        states = await store.list_runs(ADA)
        assert [state.run.id for state in states] == ["run 2", "run 1", "run 3"]
        assert [state.last for state in states] == [0, 2, 1]
        assert [state.is_live for state in states] == [True, True, False]

    async def test_runs_of_a_key_are_listed(self, store: StreamStore) -> None:
        first = await begin(store, "first", key="chat", request="a")
        await begin(store, "second", key="chat", request="b")
        await begin(store, "third", key="another chat")
        await begin(store, "fourth")
        await first.end(0, "stopped")
        found = await store.list_runs(ADA, "chat")
        assert [state.run.id for state in found] == ["second", "first"]
        assert await store.list_runs(ADA, "no chat") == []
        assert len(await store.list_runs(ADA)) == 4

    async def test_only_the_owners_own_runs_are_listed(self, store: StreamStore) -> None:
        for owner in (ADA, BOB, ""):
            await begin(store, f"of {owner}", owner, key="chat", request=owner)
        for owner in (ADA, BOB, ""):
            for key in ("", "chat"):
                found = await store.list_runs(owner, key)
                assert [state.run.id for state in found] == [f"of {owner}"]


async def _answers(run: Run) -> list[str]:
    """Return what each method says of it that says of an unknown run that it is unknown."""
    answers = []
    for ask in (run.read, lambda: run.append(0, [event(1)]), lambda: run.seal(0), run.stop):
        with pytest.raises(UnknownRun) as unknown:
            await ask()
        answers.append(unknown.value.code)
    return answers
