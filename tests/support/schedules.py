"""One run on two hosts and a store that is late, lossy and sometimes away, as dice have it.

All of it in virtual time. What has to hold of each schedule is in `Schedule.check`.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel

from asgi_llmstream import StreamOptions, StreamResult
from asgi_llmstream.chunks import Reasoning, Text, ToolCallDelta
from asgi_llmstream.errors import LLMStreamError
from asgi_llmstream.events import Event, RunFailed, Terminal
from asgi_llmstream.message import Message
from asgi_llmstream.resume import Following, Host
from asgi_llmstream.stores import MemoryStore, StoreUnavailable, UnknownRun
from tests.support.kept_runs import ADA, Between, begin, of_store, the_same
from tests.support.virtual_time import LoopClock, run_virtually

__all__ = ["Schedule", "simulate"]

# Seconds of virtual time. Nothing may take longer than the last.
_LEASE, _STORE_TIMEOUT, _END = 3.0, 2.0, 200.0
_CLOCK = LoopClock()
_OPTIONS = StreamOptions(
    clock=_CLOCK,
    store_timeout=_STORE_TIMEOUT,
    buffer_events=4,
    close_timeout=1,
    shutdown_grace=1,
)


class Net:
    """The way between a host and the store.

    Args:
        dice: say what happens to each question.
        trouble: how likely it is that something does.
    """

    def __init__(self, dice: random.Random, trouble: float) -> None:
        self.is_cut = self.is_dead = False
        self._dice = dice
        self._trouble = trouble

    async def __call__(self, name: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        dice = self._dice
        if name == "wait":
            return await ask()
        await self._pass(dice.random() < self._trouble)
        what = dice.random() / self._trouble if self._trouble else 9
        if self.is_cut or what < 0.25:
            raise StoreUnavailable()
        answer = await ask()
        if 0.25 < what < 0.4 and name in ("append", "seal"):
            with suppress(Exception):
                answer = await ask()
        await self._pass(0.4 < what < 0.6)
        if self.is_cut or 0.6 < what < 0.8:
            raise StoreUnavailable()
        return answer

    async def _pass(self, is_late: bool) -> None:
        if self.is_dead:
            await anyio.sleep_forever()
        await anyio.sleep(self._dice.random() * (1.5 if is_late else 0.01))


class Reader:
    """Somebody who reads the run, leaves, stalls, and comes back with his cursor, until its end.

    Attributes:
        had: each connection's first number and its events.
        end: the run's terminal, as he had it.
        is_told: he heard that there is no such run any more.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._dice = schedule.dice
        self.had: list[tuple[int, list[Event]]] = []
        self.end: Terminal | None = None
        self.is_told = False
        self._host: Host | None = None
        self._patience = anyio.CancelScope()

    def lose(self, host: Host) -> None:
        """Have the connection to a host broken, if it is to this one."""
        if self._host is host:
            self._patience.cancel()

    async def run(self) -> None:
        dice = self._dice
        await anyio.sleep(dice.random() * dice.choice([0, 1, 4]))
        cursor = 0
        while self.end is None and not self.is_told:
            self._host = dice.choice(self._schedule.live_hosts())
            following = self._host.follow(ADA, "run", merges=dice.random() < 0.7)
            events: list[Event] = []
            try:
                with anyio.move_on_after(dice.choice([0.2, 1, math.inf])) as self._patience:
                    await self._read(following, cursor, events)
            except UnknownRun:
                self.is_told = True
            except LLMStreamError:
                await anyio.sleep(0.5)  # as it would be told in its response
            following.leave()
            if events:
                cursor = self._note(cursor, events)

    async def _read(self, following: Following, cursor: int, events: list[Event]) -> None:
        await following.begin_behind(cursor, lambda event: None)
        dice = self._dice
        while not (events and isinstance(events[-1], Terminal)):
            taken = following.take()
            events += taken
            if not taken:
                await following.wait()
            if dice.random() < 0.1:
                await anyio.sleep(dice.random() * 2)  # he stalls

    def _note(self, cursor: int, events: list[Event]) -> int:
        """Keep what a connection brought, and return the cursor behind it."""
        self.had.append((cursor, events))
        before = max((event.seq for event in events[:-1]), default=cursor)
        last = events[-1]
        self.is_told = isinstance(last, RunFailed) and last.code == "unknown_stream"
        if isinstance(last, Terminal) and last.seq > before:
            self.end = last  # else it is none of the run's
        return max(before, last.seq)


class Schedule:
    """All that is done in one simulation.

    Args:
        seed: of the dice.
        store: a faulty one, to see that this is found.
    """

    def __init__(self, seed: int, store: type[MemoryStore] = MemoryStore) -> None:
        self.dice = random.Random(seed)
        self._store = store(lease=_LEASE, clock=_CLOCK)
        trouble = self.dice.choice([0, 0.1, 0.4])
        self._nets = [Net(self.dice, trouble) for _ in range(2)]
        self._hosts = [Host(Between(self._store, net)) for net in self._nets]  # type: ignore[arg-type]
        self._results: list[StreamResult] = []
        self._is_killed = self._is_erased = False
        self._readers = [Reader(self) for _ in range(self.dice.randint(1, 4))]
        self._yielded = ""

    def live_hosts(self) -> Sequence[Host]:
        """The hosts whose process lives."""
        return self._hosts[self._is_killed :]

    async def run(self) -> None:
        here, there = self._hosts
        with anyio.fail_after(_END):
            async with there.running():
                lifespan = here.running()
                await lifespan.__aenter__()
                try:
                    await begin(
                        here, self._produce(), options=_OPTIONS, on_finish=self._results.append
                    )
                except StoreUnavailable:
                    self._readers = []
                    return
                finally:
                    if not self._readers:
                        await lifespan.__aexit__(None, None, None)
                async with anyio.create_task_group() as tasks:
                    for reader in self._readers:
                        tasks.start_soon(reader.run)
                    tasks.start_soon(self._disturb)
                if not self._is_killed:
                    await lifespan.__aexit__(None, None, None)
                await self.check()

    async def _produce(self) -> AsyncIterator[Any]:
        dice = self.dice
        for number in range(dice.randint(0, 25)):
            if dice.random() < 0.5:
                await anyio.sleep(dice.random() * dice.choice([0.01, 0.3]))
            text = f"{number} "
            kind = dice.randint(0, 5)
            if kind == 0:
                yield Reasoning(text)
            elif kind == 1:
                yield ToolCallDelta(number // 5, f"call {number // 5}", "f", "1")
            else:
                self._yielded += text
                yield Text(text)
        if dice.random() < 0.1:
            raise LLMStreamError("a failure")

    async def _disturb(self) -> None:
        """Stop the run, kill its process, or cut it off from the store for a while."""
        dice = self.dice
        await anyio.sleep(dice.random() * dice.choice([0.1, 0.5, 1, 4]))
        match dice.randint(0, 5):
            case 0 | 1:
                host = dice.choice(self._hosts)
                for _ in range(dice.randint(1, 2)):
                    with suppress(StoreUnavailable):
                        await host.stop(ADA, "run")
            case 4:
                with suppress(StoreUnavailable):
                    self._is_erased = True
                    await dice.choice(self._hosts).erase(ADA, "run")
            case 2:
                self._is_killed = self._nets[0].is_dead = True
                for reader in self._readers:
                    reader.lose(self._hosts[0])
            case 3:
                self._nets[0].is_cut = True
                await anyio.sleep(dice.choice([0.3, 1.5, 4, 8]))
                self._nets[0].is_cut = False

    async def check(self) -> None:
        """One order, one end, and everybody has had a true part of it."""
        if self._is_erased and not await self._store.list_runs(ADA):
            assert all(reader.end or reader.is_told for reader in self._readers)
            assert len(self._results) == 1
            return
        truth = await of_store(self._store)
        ends = [number for number, event in enumerate(truth, 1) if isinstance(event, Terminal)]
        assert ends == [len(truth)], "an order with other than one end"
        assert [event.seq for event in truth] == [*range(1, len(truth) + 1)]
        outcome = (await self._store.list_runs(ADA))[0].outcome
        for reader in self._readers:
            assert reader.end == truth[-1], "a reader has another end"
            for cursor, events in reader.had:
                _check_connection(truth, cursor, events)
        self._check_result(truth, outcome)
        if not self._is_killed:
            for host in self._hosts:
                assert not host._tails, "a tail is left"
                assert not host._runs, "a run is left"

    def _check_result(self, truth: list[Event], outcome: str) -> None:
        message = Message()
        for event in truth:
            message.apply(event)
        assert self._yielded.startswith(message.text), "the order has what nobody said"
        if outcome == "finished":
            assert message.text == self._yielded, "an end that looks whole"
        if self._is_killed:
            return
        (result,) = self._results
        if not isinstance(result.error, StoreUnavailable):
            assert result.outcome == outcome, "on_finish was told another end"


def _check_connection(truth: list[Event], cursor: int, events: list[Event]) -> None:
    """What one connection brought stands behind its cursor; its own is an explicit end at most."""
    own: list[Event] = []
    last = cursor
    true: list[Event] = []
    for event in events:
        if event.seq <= last:
            own = events[len(true) :]
            break
        true.append(event)
        last = event.seq
    assert the_same(true, truth[cursor:last]), "what came is not what there is"
    if own:
        assert isinstance(own[-1], RunFailed)
        assert own[-1].code == "store_unavailable"
    assert not any(isinstance(event, Terminal) for event in events[:-1]), "something after an end"


def simulate(seed: int, store: type[MemoryStore] = MemoryStore) -> None:
    """Run the schedule of this seed.

    Raises:
        BaseException: if something does not hold.
    """

    async def main() -> None:
        await Schedule(seed, store).run()
        await anyio.lowlevel.checkpoint()

    try:
        run_virtually(main())
    except BaseException as error:
        error.add_note(f"schedule {seed}")
        raise
