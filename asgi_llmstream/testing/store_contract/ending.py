"""Ending: one terminal, by its writer or by whoever finds the writer gone; stopping, forgetting."""

from __future__ import annotations

import anyio
import pytest

from ...stores import Ended, LeaseHeld, RunState, Stale, StreamStore, UnknownRun
from .stage import ADA, BOB, Run, Stage, begin, event, events, history, passes

__all__ = ["Ending"]


class Ending(Stage):
    """Tests of the terminal, `seal`, `stop`, `forget` and the retention."""

    async def test_the_end_is_kept_with_its_outcome(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        state = await run.end(2, "finished")
        assert (state.last, state.outcome, state.is_live) == (3, "finished", False)
        assert state.expires is not None
        assert await run.read() == (state, history(3))
        assert await store.list_runs(ADA) == [state]

    async def test_data_and_terminal_in_one_append_are_one(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 1))
        state = await run.append(1, [event(2), b"end"], "finished")
        assert (state.last, state.outcome) == (3, "finished")
        assert (await run.read()).events == history(3)

    async def test_the_same_terminal_again_is_a_success(self, store: StreamStore) -> None:
        run = await begin(store)
        state = await run.append(0, [event(1), b"end"], "finished")
        for _ in range(2):
            assert await run.append(0, [event(1), b"end"], "finished") == state
            assert await run.append(1, [b"end"], "finished") == state
        assert await run.read() == (state, history(2))

    async def test_another_terminal_is_refused_and_the_first_stays(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        await run.append(0, events(1, 1))
        state = await run.end(1, "finished")
        for after, outcome in ((1, "stopped"), (2, "stopped"), (2, "finished"), (0, "finished")):
            with pytest.raises(Ended) as ended:
                await run.append(after, [b"another"], outcome)
            assert ended.value.state == state
        assert await run.read() == (state, history(2))

    async def test_nothing_is_added_behind_the_end(self, store: StreamStore) -> None:
        run = await begin(store)
        state = await run.end(0)
        with pytest.raises(Ended) as ended:
            await run.append(1, [event(2)])
        assert ended.value.state == state
        assert await run.read() == (state, [b"end"])

    async def test_late_repetitions_and_renewals_after_the_end_hear_of_it(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        state = await run.end(2)
        assert await run.append(0, events(1, 2)) == state
        assert await run.append(2, []) == state
        assert await run.append(3, []) == state

    async def test_without_the_claim_the_end_is_not_written_nor_confirmed(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        other = run._replace(epoch=run.epoch + 1)
        with pytest.raises(Stale):
            await other.end(0)
        await run.end(0)
        with pytest.raises(Stale):
            await other.end(0)

    async def test_of_two_terminals_at_once_one_stays_and_both_hear_which(
        self, store: StreamStore
    ) -> None:
        for number in range(10):
            run = await begin(store, f"run {number}")
            heard: list[str] = []

            async def end(outcome: str, run: Run = run, heard: list[str] = heard) -> None:
                try:
                    heard.append((await run.end(0, outcome)).outcome)
                except Ended as ended:
                    heard.append(ended.state.outcome)

            with anyio.fail_after(self.patience):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(end, "finished")
                    tasks.start_soon(end, "stopped")
            state, found = await run.read()
            assert heard == [state.outcome] * 2
            assert found == [b"end"]

    # Whoever finds the writer gone.

    async def test_the_run_of_a_living_writer_is_not_sealed(self, store: StreamStore) -> None:
        run = await begin(store)
        with pytest.raises(LeaseHeld):
            await run.seal(0)
        await run.append(0, events(1, 1))
        with pytest.raises(LeaseHeld):
            await run.seal(1)
        assert (await run.end(1)).outcome == "finished"

    async def test_events_renew_the_lease_and_so_do_none(self, store: StreamStore) -> None:
        run = await begin(store)
        for more in ([event(1)], [], []):
            await self.pass_time(store.lease * 0.6)
            await run.append(min(1, (await run.state()).last), more)
        with pytest.raises(LeaseHeld):
            await run.seal(1)

    async def test_what_is_refused_does_not_renew_the_lease(self, store: StreamStore) -> None:
        run = await begin(store)
        await self.pass_time(store.lease * 0.6)
        with pytest.raises(Stale):
            await run._replace(epoch=run.epoch + 1).append(0, [])
        await run.read()
        await run.stop()
        await self.pass_time(store.lease * 0.6)
        assert (await run.seal(0)).outcome == "producer_lost"

    async def test_a_run_that_lost_its_writer_is_sealed(self, store: StreamStore) -> None:
        run = await begin(store, key="chat", request="a")
        await run.append(0, events(1, 2))
        await self.lose_writer(store)
        state = await run.seal(2)
        assert (state.last, state.outcome, state.is_live) == (3, "producer_lost", False)
        assert state.expires is not None
        assert await run.read() == (state, [*events(1, 2), b"lost"])
        assert (await begin(store, "next", key="chat", request="a")).id == "next"

    async def test_the_writer_of_a_sealed_run_is_stale(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 1))
        await self.lose_writer(store)
        state = await run.seal(1)
        for after, more, outcome in ((1, [event(2)], ""), (1, [], ""), (0, events(1, 1), "")):
            with pytest.raises(Stale):
                await run.append(after, more, outcome)
        for outcome in ("finished", "producer_lost"):
            with pytest.raises(Stale):
                await run.append(1, [b"lost"], outcome)
        again = await run.begin_again()
        assert again.state == state
        with pytest.raises(Stale):
            await run._replace(epoch=again.epoch).append(2, [])
        assert await run.read() == (state, [event(1), b"lost"])

    async def test_a_writer_that_comes_late_goes_on_if_nobody_has_sealed(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        await self.lose_writer(store)
        assert (await run.append(0, events(1, 2))).is_live
        with pytest.raises(LeaseHeld):
            await run.seal(2)

    async def test_nobody_seals_behind_events_that_he_has_not_read(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        await run.append(0, events(1, 3))
        await self.lose_writer(store)
        with pytest.raises(LeaseHeld):
            await run.seal(2)
        assert (await run.seal(3)).last == 4

    async def test_sealing_what_has_ended_changes_nothing(self, store: StreamStore) -> None:
        run = await begin(store)
        state = await run.end(0)
        await self.lose_writer(store)
        for after in (0, 1):
            assert await run.seal(after) == state
        assert await run.end(0) == state
        assert await run.read() == (state, [b"end"])

    async def test_of_many_that_seal_at_once_one_ends_it(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 1))
        await self.lose_writer(store)
        states: list[RunState] = []

        async def seal(number: int) -> None:
            states.append(await run.seal(1, f"lost {number}"))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(seal, number)
        state, found = await run.read()
        assert states == [state] * 10
        assert found == [event(1), b"lost"]

    async def test_of_a_seal_and_an_end_at_once_one_stays_and_both_hear_which(
        self, store: StreamStore
    ) -> None:
        for number in range(5):
            run = await begin(store, f"run {number}")
            await run.append(0, events(1, 1))
            await self.lose_writer(store)
            heard: list[str] = []

            async def end(run: Run = run, heard: list[str] = heard, late: int = number) -> None:
                await passes(late)
                try:
                    heard.append((await run.end(1)).outcome)
                except Stale:
                    heard.append("producer_lost")

            async def seal(run: Run = run, heard: list[str] = heard) -> None:
                await passes(2)
                heard.append((await run.seal(1)).outcome)

            with anyio.fail_after(self.patience):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(end)
                    tasks.start_soon(seal)
            state, found = await run.read()
            assert heard == [state.outcome] * 2
            assert found == [event(1), {"finished": b"end"}.get(state.outcome, b"lost")]

    # Stopping.

    async def test_stopping_is_told_and_ends_nothing_by_itself(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        state = await run.stop()
        assert state.stopping
        assert state.is_live
        assert await run.stop() == state
        assert await run.read() == (state, events(1, 2))
        assert (await run.end(2, "stopped")).outcome == "stopped"

    async def test_stopping_what_has_ended_changes_nothing(self, store: StreamStore) -> None:
        run = await begin(store)
        state = await run.end(0)
        assert await run.stop() == state
        assert await run.read() == (state, [b"end"])

    # Forgetting.

    async def test_what_is_forgotten_is_gone_at_once_live_or_ended(
        self, store: StreamStore
    ) -> None:
        live, ended = await begin(store, "live"), await begin(store, "ended")
        await live.append(0, events(1, 2))
        await ended.end(0)
        for run in (live, ended):
            for _ in range(2):
                await run.forget()
                with pytest.raises(UnknownRun):
                    await run.read()
        assert await store.list_runs(ADA) == []

    async def test_what_was_never_there_may_be_forgotten(self, store: StreamStore) -> None:
        await store.forget(ADA, "never begun")
        await store.forget("", "")

    async def test_nobody_forgets_another_owners_run(self, store: StreamStore) -> None:
        run = await begin(store, owner=ADA)
        await run._replace(owner=BOB).forget()
        await run._replace(owner="").forget()
        assert (await run.append(0, events(1, 1))).last == 1

    async def test_an_ended_run_is_forgotten_after_its_retention_however_often_it_is_read(
        self, store: StreamStore
    ) -> None:
        run = await begin(store, key="chat")
        await run.end(0)
        for _ in range(2):
            await self.pass_time(self.retention * 0.4)
            assert (await run.read()).events == [b"end"]
            await run.stop()
            await run.end(0)
        await self.pass_time(self.retention * 0.4)
        with pytest.raises(UnknownRun):
            await run.read()
        assert await store.list_runs(ADA) == await store.list_runs(ADA, "chat") == []

    async def test_the_retention_counts_from_the_end(self, store: StreamStore) -> None:
        run = await begin(store)
        for last in range(1, 6):
            await self.pass_time(store.lease * 0.6)
            await run.append(last - 1, [event(last)])
        await run.end(5)
        await self.pass_time(self.retention * 0.6)
        assert (await run.read()).events == history(6)

    async def test_a_run_that_lost_its_writer_and_is_never_sealed_is_forgotten(
        self, store: StreamStore
    ) -> None:
        run = await begin(store, key="chat")
        await run.append(0, events(1, 2))
        await self.pass_time((store.lease + self.retention) * 1.1)
        with pytest.raises(UnknownRun):
            await run.read()
        with pytest.raises(UnknownRun):
            await run.append(2, events(3, 3))
        assert await store.list_runs(ADA) == await store.list_runs(ADA, "chat") == []
