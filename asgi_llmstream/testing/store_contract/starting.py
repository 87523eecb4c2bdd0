"""Beginning a run: which one answers a request."""

from __future__ import annotations

import anyio
import pytest

from ...stores import Begun, Busy, KeyReused, NewRun, StreamStore, UnknownRun
from .stage import ADA, BOB, Run, Stage, begin, event

__all__ = ["Starting"]


class Starting(Stage):
    """Tests of `begin`."""

    async def test_a_run_is_there_when_it_has_begun(self, store: StreamStore) -> None:
        new = NewRun(owner=ADA, id="run", created=1)
        state, epoch, replaced = await store.begin(new)
        assert state.run == new
        assert (state.first, state.last, state.outcome, state.stopping) == (1, 0, "", False)
        assert state.is_live
        assert state.expires is None
        assert epoch > 0
        assert replaced == ""
        assert await store.read(ADA, "run", 0, 10) == (state, [])
        assert await store.list_runs(ADA) == [state]

    async def test_all_that_a_run_begins_with_is_kept(self, store: StreamStore) -> None:
        new = NewRun(
            owner="Ada <ada@x.y>, é\u2028",
            id="A-z.0_9:~",
            key="a chat: {1}/é\n",
            request="sha256=",
            idempotency_key='"quoted" \\',
            created=1_750_000_000,
            about=bytes(range(256)),
        )
        state = (await store.begin(new)).state
        assert state.run == new
        assert (await store.read(new.owner, new.id, 0, 1)).state.run == new
        assert [kept.run for kept in await store.list_runs(new.owner, new.key)] == [new]

    async def test_owner_and_id_are_never_read_as_another_owner_and_id(
        self, store: StreamStore
    ) -> None:
        names = [("a", "b:c"), ("a:b", "c"), ("", "a:b:c"), ("a", "b"), ("ab", ""), ("", "ab")]
        for number, (owner, id) in enumerate(names):
            run = await begin(store, id, owner, key=id, idempotency_key=id)
            assert run.epoch > 0
            await run.append(0, [event(number)])
        for number, (owner, id) in enumerate(names):
            assert (await store.read(owner, id, 0, 9)).events == [event(number)]

    async def test_two_owners_may_have_runs_of_one_id(self, store: StreamStore) -> None:
        hers, his = await begin(store, owner=ADA), await begin(store, owner=BOB)
        await hers.end(0)
        await his.end(0, "failed")
        await hers.forget()
        assert (await his.state()).outcome == "failed"
        await self.pass_time(self.retention * 1.1)
        with pytest.raises(UnknownRun):
            await his.read()

    async def test_a_begin_that_is_repeated_is_the_same_run_with_the_same_claim(
        self, store: StreamStore
    ) -> None:
        await begin(store, "before", key="chat", request="a")
        new = NewRun(owner=ADA, id="run", key="chat", request="b", idempotency_key="i")
        first = await store.begin(new)
        assert await store.begin(new) == first
        run = Run(store, ADA, "run", first.epoch)
        await run.append(0, [event(1)])
        again = await store.begin(new)
        assert again == first._replace(state=await run.state())
        await run.append(1, [event(2)])

    async def test_the_same_question_joins_the_live_run_of_its_key(
        self, store: StreamStore
    ) -> None:
        first = await begin(store, "first", key="chat", request="a")
        await first.append(0, [event(1)])
        new = NewRun(owner=ADA, id="second", key="chat", request="a")
        for on_busy in ("replace", "refuse"):
            assert await store.begin(new, on_busy=on_busy) == Begun(await first.state(), 0)
        assert not (await first.state()).stopping
        with pytest.raises(UnknownRun):
            await store.read(ADA, "second", 0, 1)

    async def test_of_many_that_ask_the_same_at_once_one_begins(self, store: StreamStore) -> None:
        runs: list[Run] = []

        async def ask(id: str) -> None:
            runs.append(await begin(store, id, key="chat", request="a"))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(ask, f"run {number}")
        assert len([run for run in runs if run.epoch]) == 1
        assert len({run.id for run in runs}) == 1
        assert len(await store.list_runs(ADA)) == 1

    async def test_another_question_replaces_the_live_run_of_its_key(
        self, store: StreamStore
    ) -> None:
        old = await begin(store, "old", key="chat", request="a")
        await old.append(0, [event(1)])
        begun = await store.begin(NewRun(owner=ADA, id="new", key="chat", request="b"))
        assert begun.epoch > 0
        assert begun.replaced == "old"
        assert begun.state.run.id == "new"
        state = await old.state()
        assert state.stopping
        assert state.is_live
        assert (await old.end(1, "stopped")).outcome == "stopped"
        assert (await old.read()).events == [event(1), b"end"]
        assert not (await store.read(ADA, "new", 0, 1)).state.stopping

    async def test_of_many_other_questions_at_once_one_is_not_told_to_stop(
        self, store: StreamStore
    ) -> None:
        async def ask(number: int) -> None:
            await begin(store, f"run {number}", key="chat", request=f"question {number}")

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(ask, number)
        states = await store.list_runs(ADA, "chat")
        assert len(states) == 10
        assert [state.stopping for state in states] == [False] + 9 * [True]

    async def test_another_question_is_refused_where_it_shall_be(self, store: StreamStore) -> None:
        first = await begin(store, "first", key="chat", request="a")
        with pytest.raises(Busy) as busy:
            await begin(store, "second", key="chat", request="b", on_busy="refuse")
        assert busy.value.state == await first.state()
        assert not busy.value.state.stopping
        assert len(await store.list_runs(ADA)) == 1

    async def test_runs_without_a_key_are_in_nobodys_way(self, store: StreamStore) -> None:
        for id in ("first", "second"):
            assert (await begin(store, id, request="a", on_busy="refuse")).epoch > 0
        assert [state.stopping for state in await store.list_runs(ADA)] == [False, False]

    async def test_a_key_is_free_again_after_the_end(self, store: StreamStore) -> None:
        first = await begin(store, "first", key="chat", request="a")
        await first.end(0)
        second = await begin(store, "second", key="chat", request="a", on_busy="refuse")
        assert (second.id, second.epoch > 0) == ("second", True)
        third = await begin(store, "third", key="chat", request="a", on_busy="refuse")
        assert (third.id, third.epoch) == ("second", 0)

    async def test_a_key_is_free_again_when_its_run_was_told_to_stop(
        self, store: StreamStore
    ) -> None:
        first = await begin(store, "first", key="chat", request="a")
        await first.stop()
        new = NewRun(owner=ADA, id="second", key="chat", request="a")
        begun = await store.begin(new, on_busy="refuse")
        assert (begun.state.run.id, begun.epoch > 0, begun.replaced) == ("second", True, "")

    async def test_a_key_is_free_again_when_its_run_is_forgotten(self, store: StreamStore) -> None:
        first = await begin(store, "first", key="chat", request="a")
        await first.forget()
        second = await begin(store, "second", key="chat", request="a", on_busy="refuse")
        assert (second.id, second.epoch > 0) == ("second", True)

    async def test_a_run_that_lost_its_writer_is_replaced_and_never_joined(
        self, store: StreamStore
    ) -> None:
        for request in ("a", "b"):
            lost = await begin(store, f"lost {request}", key="chat", request="a")
            await self.lose_writer(store)
            new = NewRun(owner=ADA, id=f"new {request}", key="chat", request=request)
            begun = await store.begin(new, on_busy="refuse")
            assert begun.epoch > 0
            assert begun.replaced == lost.id
            assert (await lost.state()).stopping
            await store.stop(ADA, new.id)

    async def test_an_older_run_that_ends_does_not_free_the_key_of_a_younger(
        self, store: StreamStore
    ) -> None:
        old = await begin(store, "old", key="chat", request="a")
        await begin(store, "new", key="chat", request="b")
        await old.end(0, "stopped")
        assert (await begin(store, "third", key="chat", request="b")).id == "new"
        await old.forget()
        assert (await begin(store, "third", key="chat", request="b")).id == "new"

    async def test_keys_are_their_owners_own(self, store: StreamStore) -> None:
        for owner in (ADA, BOB, ""):
            run = await begin(store, f"of {owner}", owner, key="chat", request=owner)
            assert run.epoch > 0
        for owner in (ADA, BOB, ""):
            (state,) = await store.list_runs(owner)
            assert not state.stopping

    async def test_the_same_idempotency_key_is_the_same_run_live_or_ended(
        self, store: StreamStore
    ) -> None:
        first = await begin(store, "first", request="a", idempotency_key="once")
        again = NewRun(owner=ADA, id="again", request="a", idempotency_key="once")
        assert await store.begin(again) == Begun(await first.state(), 0)
        await first.append(0, [event(1)])
        await first.end(1)
        assert await store.begin(again) == Begun(await first.state(), 0)
        assert len(await store.list_runs(ADA)) == 1

    async def test_of_many_with_one_idempotency_key_at_once_one_begins(
        self, store: StreamStore
    ) -> None:
        runs: list[Run] = []

        async def ask(id: str) -> None:
            runs.append(await begin(store, id, request="a", idempotency_key="once"))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(ask, f"run {number}")
        assert len([run for run in runs if run.epoch]) == 1
        assert len({run.id for run in runs}) == 1

    async def test_an_idempotency_key_for_another_request_is_an_error(
        self, store: StreamStore
    ) -> None:
        first = await begin(store, "first", key="chat", request="a", idempotency_key="once")
        for _ in ("live", "ended"):
            with pytest.raises(KeyReused):
                await begin(store, "second", key="chat", request="b", idempotency_key="once")
            state = await first.end(0)
        assert not state.stopping
        assert len(await store.list_runs(ADA)) == 1

    async def test_idempotency_keys_are_their_owners_own(self, store: StreamStore) -> None:
        for owner in (ADA, BOB, ""):
            run = await begin(store, f"of {owner}", owner, request=owner, idempotency_key="once")
            assert run.epoch > 0

    async def test_an_idempotency_key_is_free_again_when_its_run_is_forgotten(
        self, store: StreamStore
    ) -> None:
        first = await begin(store, "first", request="a", idempotency_key="once")
        await first.forget()
        second = await begin(store, "second", request="b", idempotency_key="once")
        assert second.epoch > 0
        await second.end(0)
        await self.pass_time(self.retention * 1.1)
        assert (await begin(store, "third", request="c", idempotency_key="once")).epoch > 0
