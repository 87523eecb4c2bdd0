"""What the tests of a store stand on: how one is made, and a run in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import anyio.lowlevel
import pytest

from ...stores import Begun, NewRun, OnBusy, Page, RunState, StreamStore
from ..clock import ManualClock

__all__ = ["ADA", "BOB", "Run", "Stage", "begin", "event", "events", "history", "passes"]

ADA, BOB = "ada", "bob"


@pytest.mark.anyio
class Stage:
    """The base of all tests of a store.

    Attributes:
        lease: seconds that the store has to take a silent writer for a living one.
        retention: seconds that the store has to keep a run after its end.
        patience: seconds of real time within which what must happen has to.
        max_events: how many events of a run the store keeps, or somewhat fewer; None if it keeps
            all: then nothing is said about a beginning that is not kept any more.
        random_examples: how many sequences of random operations are tried.
        clock: the time of the test, where the store takes one.
    """

    lease: float = 30
    retention: float = 300
    patience: float = 5
    max_events: int | None = None
    random_examples: int = 30
    clock: ManualClock

    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[StreamStore]:
        """Make an empty store for one test, with `lease` and `retention`. To be written for each
        store."""
        raise NotImplementedError("say in `open` how your store is made")

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass. To be written for stores that read no clock of ours: their tests
        are best given a lease and a retention of a second or less. Random operations have none pass
        for them: there both are an hour."""
        await self.clock.advance(seconds)

    @pytest.fixture
    async def store(self) -> AsyncIterator[StreamStore]:
        self.clock = ManualClock()
        async with self.open(self.clock) as store:
            yield store

    async def lose_writer(self, store: StreamStore) -> None:
        """Let the leases of all runs end."""
        await self.pass_time(store.lease * 1.1)


class Run(NamedTuple):
    """A run that was begun, as its writer has it."""

    store: StreamStore
    owner: str
    id: str
    epoch: int

    async def append(self, after: int, events: Sequence[bytes], outcome: str = "") -> RunState:
        return await self.store.append(self.owner, self.id, self.epoch, after, events, outcome)

    async def end(self, after: int, outcome: str = "finished") -> RunState:
        return await self.append(after, [b"end"], outcome)

    async def seal(self, after: int, outcome: str = "producer_lost") -> RunState:
        return await self.store.seal(self.owner, self.id, after, [b"lost"], outcome)

    async def read(self, after: int = 0, limit: int = 1000) -> Page:
        return await self.store.read(self.owner, self.id, after, limit)

    async def state(self) -> RunState:
        return (await self.read(0, 1)).state

    async def wait(self, after: int | None) -> None:
        await self.store.wait(self.owner, self.id, after)

    async def stop(self) -> RunState:
        return await self.store.stop(self.owner, self.id)

    async def forget(self) -> None:
        await self.store.forget(self.owner, self.id)

    async def begin_again(self) -> Begun:
        return await self.store.begin(NewRun(owner=self.owner, id=self.id))

    async def follow(self, after: int = 0, limit: int = 1000) -> list[bytes]:
        """Read on behind number `after` until the end, as a follower does."""
        found: list[bytes] = []
        while True:
            page = await self.read(after, limit)
            found += page.events
            after += len(page.events)
            if after == page.state.last and not page.state.is_live:
                return found
            if not page.events:
                await self.wait(after)


async def begin(
    store: StreamStore,
    id: str = "run",
    owner: str = ADA,
    *,
    key: str = "",
    request: str = "",
    idempotency_key: str = "",
    on_busy: OnBusy = "replace",
) -> Run:
    """Begin a run, or join one: then its epoch is 0."""
    new = NewRun(
        owner=owner, id=id, key=key, request=request, idempotency_key=idempotency_key, created=1
    )
    state, epoch, _ = await store.begin(new, on_busy=on_busy)
    return Run(store, owner, state.run.id, epoch)


def event(number: int) -> bytes:
    """Return an event that no text could be."""
    return b"\x00\xff\r\n%d" % number


def events(first: int, last: int) -> list[bytes]:
    return [event(number) for number in range(first, last + 1)]


def history(last: int) -> list[bytes]:
    """Return what a run with so many events has, the terminal included, if `Run.end` ended it."""
    return [*events(1, last - 1), b"end"]


async def passes(many: int) -> None:
    """Let other tasks run, so often."""
    for _ in range(many):
        await anyio.lowlevel.checkpoint()
