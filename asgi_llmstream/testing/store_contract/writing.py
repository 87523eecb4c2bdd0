"""Appending: once, in order, and only for whom the claim holds."""

from __future__ import annotations

import anyio
import pytest

from ...stores import Behind, Stale, StreamStore, UnknownRun
from .stage import ADA, BOB, Stage, begin, event, events

__all__ = ["Writing"]


class Writing(Stage):
    """Tests of `append` before the end."""

    async def test_events_are_kept_in_order(self, store: StreamStore) -> None:
        run = await begin(store)
        assert (await run.append(0, events(1, 1))).last == 1
        assert (await run.append(1, events(2, 4))).last == 4
        state, found = await run.read()
        assert found == events(1, 4)
        assert (state.first, state.last, state.is_live) == (1, 4, True)

    async def test_any_bytes_are_kept_as_they_are(self, store: StreamStore) -> None:
        run = await begin(store)
        odd = [bytes(range(256)), b"\0", b"\n", "\x85\u2028\u2029".encode(), b"0", 100_000 * b"x"]
        await run.append(0, odd)
        assert (await run.read()).events == odd

    async def test_many_events_at_once_are_kept(self, store: StreamStore) -> None:
        many = 1000 if self.max_events is None else min(1000, self.max_events)
        run = await begin(store)
        assert (await run.append(0, events(1, many))).last == many
        assert (await run.read()).events == events(1, many)

    async def test_an_append_that_is_repeated_changes_nothing(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 3))
        for _ in range(2):
            assert (await run.append(0, events(1, 3))).last == 3
        assert (await run.read()).events == events(1, 3)

    async def test_an_old_append_that_is_repeated_changes_nothing(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        await run.append(2, events(3, 5))
        assert (await run.append(0, events(1, 2))).last == 5
        assert (await run.append(1, events(2, 4))).last == 5
        assert (await run.read()).events == events(1, 5)

    async def test_of_an_append_that_overlaps_the_rest_is_added(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 3))
        assert (await run.append(1, events(2, 5))).last == 5
        assert (await run.append(0, events(1, 6))).last == 6
        assert (await run.read()).events == events(1, 6)

    async def test_equal_events_are_not_taken_for_repetitions(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, [b"same", b"same"])
        await run.append(2, [b"same"])
        assert (await run.read()).events == [b"same"] * 3

    async def test_appends_that_arrive_twice_at_once_are_applied_once(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        for after in range(0, 20, 2):
            with anyio.fail_after(self.patience):
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(run.append, after, events(after + 1, after + 2))
        assert (await run.read()).events == events(1, 20)

    async def test_no_events_change_nothing(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        assert (await run.append(2, [])).last == 2
        assert (await run.append(1, [])).last == 2
        assert (await run.read()).events == events(1, 2)

    async def test_a_writer_that_is_ahead_is_told_what_the_store_has(
        self, store: StreamStore
    ) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        for ahead in (events(4, 5), []):
            with pytest.raises(Behind) as behind:
                await run.append(3, ahead)
            assert behind.value.last == 2
        assert (await run.read()).events == events(1, 2)
        assert (await run.append(behind.value.last, events(3, 5))).last == 5

    async def test_without_the_claim_nothing_is_appended(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 1))
        for epoch in (0, run.epoch + 1, -1):
            for more in ([event(2)], []):
                with pytest.raises(Stale):
                    await run._replace(epoch=epoch).append(1, more)
        assert (await run.read()).events == events(1, 1)

    async def test_the_claim_on_one_run_is_none_on_another_owners(self, store: StreamStore) -> None:
        run = await begin(store, owner=ADA)
        with pytest.raises(UnknownRun):
            await run._replace(owner=BOB).append(0, events(1, 1))
        assert await store.list_runs(BOB) == []
        assert (await run.read()).events == []

    async def test_an_append_never_creates_a_run(self, store: StreamStore) -> None:
        erased, expired = await begin(store, "erased", key="chat"), await begin(store, "expired")
        await erased.append(0, events(1, 2))
        await erased.forget()
        await expired.end(0)
        await self.pass_time(self.retention * 1.1)
        for run in (erased, expired, erased._replace(id="never begun")):
            for more in (events(1, 3), []):
                with pytest.raises(UnknownRun):
                    await run.append(0, more)
            with pytest.raises(UnknownRun):
                await run.end(0)
            with pytest.raises(UnknownRun):
                await run.read()
        assert await store.list_runs(ADA) == await store.list_runs(ADA, "chat") == []

    async def test_what_is_acknowledged_is_seen_by_the_next_read(self, store: StreamStore) -> None:
        run = await begin(store, key="chat")
        for number in range(1, 21):
            state = await run.append(number - 1, [event(number)])
            assert await run.read(number - 1) == (state, [event(number)])
            assert await store.list_runs(ADA, "chat") == [state]

    async def test_what_was_told_to_stop_may_still_write(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.stop()
        assert (await run.append(0, events(1, 2))).stopping
        await run.end(2, "stopped")
        assert (await run.read()).events == [*events(1, 2), b"end"]
