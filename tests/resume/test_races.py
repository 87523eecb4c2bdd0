"""A stop against completion, and a reader at the boundary between past and new; again and again.

`RACES=100000` runs so many.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import StreamOptions, StreamResult
from asgi_llmstream.events import Event, Terminal
from asgi_llmstream.resume import Host
from asgi_llmstream.stores import MemoryStore
from tests.support.kept_runs import ADA, begin, of_store, read_to_end, the_same
from tests.support.virtual_time import LoopClock, run_virtually

RACES = int(os.environ.get("RACES", "2000"))
# Readers that attach, each at a moment of its own.
ATTACHED = max(10_000, RACES)
GROUPS = 4
CLOCK = LoopClock()


async def passes(many: int) -> None:
    for _ in range(many):
        await anyio.lowlevel.checkpoint()


async def words(many: int, dice: random.Random) -> AsyncIterator[str]:
    for number in range(many):
        await passes(dice.randint(0, 4))
        yield f"{number} "
    await passes(dice.randint(0, 4))


async def race(seed: int) -> str:
    """One run, one stop, and who reads it here and there; returns how it ended."""
    dice = random.Random(seed)
    store, results = MemoryStore(clock=CLOCK), list[StreamResult]()
    here, there = Host(store), Host(store)
    read: list[list[Event]] = []

    async def follow(host: Host) -> None:
        await passes(dice.randint(0, 20))
        read.append(await read_to_end(host.follow(ADA, "run")))

    with anyio.fail_after(100):
        async with here.running(), there.running():
            await begin(
                here,
                words(dice.randint(0, 3), dice),
                options=StreamOptions(clock=CLOCK),
                on_finish=results.append,
            )
            async with anyio.create_task_group() as tasks:
                for host in (here, there):
                    tasks.start_soon(follow, host)
                await passes(dice.randint(0, 40))
                state = await dice.choice([here, there]).stop(ADA, "run")
        truth = await of_store(store)
    assert [result.outcome for result in results] == [state.outcome]
    assert state == (await store.list_runs(ADA))[0]
    assert isinstance(truth[-1], Terminal)
    for events in read:
        assert the_same(events, truth)
    return state.outcome


@pytest.mark.parametrize("group", range(GROUPS))
def test_of_a_stop_and_a_completion_one_is_true_for_everybody(group: int) -> None:
    async def main() -> None:
        ends = [await race(seed) for seed in range(group, RACES, GROUPS)]
        assert {"finished", "stopped"} == {*ends}

    run_virtually(main())


@pytest.mark.parametrize("elsewhere", [False, True])
def test_who_attaches_where_past_and_new_meet_misses_nothing(elsewhere: bool) -> None:
    dice = random.Random(elsewhere)
    store = MemoryStore(clock=CLOCK)
    many = ATTACHED // 2

    async def attach(host: Host) -> None:
        last = (await store.list_runs(ADA))[0].last
        number = max(0, last - dice.randint(0, 2))
        await passes(dice.randint(0, 5))
        reader = host.follow(ADA, "run", merges=False)
        reader.begin_at(number)
        numbers: list[int] = []
        while len(numbers) < 4:
            taken = reader.take()
            numbers += [event.seq for event in taken]
            await passes(dice.randint(0, 1))
            if not taken:
                await reader.wait()
        reader.leave()
        assert numbers == [*range(number + 1, number + 1 + len(numbers))]

    async def endless() -> AsyncIterator[str]:
        while True:
            await passes(dice.randint(0, 2))
            yield "x"

    async def main() -> None:
        here, there = Host(store), Host(store)
        async with here.running(), there.running():
            options = StreamOptions(clock=CLOCK, buffer_events=8)
            await begin(here, endless(), options=options)
            await passes(20)
            async with anyio.create_task_group() as tasks:
                for _ in range(many):
                    tasks.start_soon(attach, there if elsewhere else here)
                    await passes(dice.randint(0, 2))
            await here.stop(ADA, "run")
        assert not there._tails

    run_virtually(main())
