"""A store in a Redis or Valkey server: resume, follow and stop across processes and machines."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..base import (
    Begun,
    Behind,
    Busy,
    Ended,
    KeyReused,
    LeaseHeld,
    NewRun,
    OnBusy,
    Page,
    RunState,
    Stale,
    StoreUnavailable,
    TooManyRuns,
    Trimmed,
    UnknownRun,
)
from . import scripts
from .lane import Argument
from .link import Link, Server
from .lua import Script
from .names import Names, encoded
from .records import Records, record_of

__all__ = ["RedisStore"]

# The claim of the one who begins a run; each seal makes it one more.
_FIRST_CLAIM = 1
# Seconds after which one looks who cannot hear of news.
_PAUSE = 0.5
# Behind every event: who reads there gets the state alone.
_BEYOND = 2**52


class RedisStore:
    """Keeps runs in a Redis server, 7 or newer, or a Valkey server, 8 or newer, for any number of
    processes. On asyncio only, since redis-py has no other client.

    Args:
        server: its address, as "redis://localhost:6379/0", "rediss://…", "valkey://…" or
            "unix://…"; or a `redis.asyncio` client, of a sentinel or cluster, too, which is used
            and not closed. There is no connection before the first call, and then there are two
            for each event loop.
        prefix: begins all keys, so that applications may share a server.
        retention: seconds that a run is kept after its end.
        lease: seconds without a word of its writer after which a run has lost it.
        max_events: how many events of a run are kept: the last ones, if there are more (and up to
            an eighth less than this then).
        max_run_size: how many bytes of a run's events are, likewise.
        max_live: how many live runs an owner may have, in all processes together.
        buckets: over how many hash slots of a cluster the owners are spread: several times as many
            as it has nodes. The same in all processes, and for ever.

    Raises:
        ValueError: if a number is not positive, the address has another scheme, the prefix has
            braces, or the client decodes what it reads.
        TypeError: if it is neither an address nor an asyncio client.
        ImportError: if redis-py is not installed.
    """

    def __init__(
        self,
        server: Any,
        *,
        prefix: str = "llmstream",
        retention: float = 300,
        lease: float = 30,
        max_events: int | None = 100_000,
        max_run_size: int | None = 16 * 1024 * 1024,
        max_live: int | None = None,
        buckets: int = 1,
    ) -> None:
        limits = {"max_events": max_events, "max_run_size": max_run_size, "max_live": max_live}
        numbers = {"retention": retention, "lease": lease, "buckets": buckets, **limits}
        for name, number in numbers.items():
            if number is not None and not number > 0:
                raise ValueError(f"{name} must be positive: {number!r}")
        self.lease = lease
        self._server = Server(server, patience=lease / 3)
        self._names = Names(prefix, buckets)
        times = [max(1, int(seconds * 1000)) for seconds in (lease, retention)]
        self._begin_limits = [*times, max_live or 0]
        self._append_limits = [*times, max_events or 0, max_run_size or 0]
        self._records = Records()

    async def begin(self, run: NewRun, *, on_busy: OnBusy = "replace") -> Begun:
        names = self._names
        said = [names.runs_of(run.owner), encoded(run.id), record_of(run), encoded(run.request)]
        head, *found = await self._link.lane.call(
            scripts.BEGIN,
            names.new(run),
            [*said, *self._begin_limits, on_busy, *names.looked_up(run)],
        )
        if head == b"reused":
            raise KeyReused()
        if head == b"many":
            raise TooManyRuns()
        state = self._state(head, self._records.read(found[0]))
        match head.split()[0]:
            case b"busy":
                raise Busy(state)
            case b"joined":
                return Begun(state, 0)
        return Begun(state, _FIRST_CLAIM, found[1].decode())

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        said: list[Argument] = [epoch, after, outcome, *self._append_limits]
        return (await self._ask(scripts.APPEND, owner, id, said, events)).state

    async def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        said: list[Argument] = ["", after, outcome, *self._append_limits]
        return (await self._ask(scripts.SEAL, owner, id, said, events)).state

    async def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        return await self._ask(scripts.READ, owner, id, [after, limit])

    async def wait(self, owner: str, id: str, after: int | None) -> None:
        for_writer = after is None
        channel = self._names.channel(owner, id, "stop" if for_writer else "news")
        look = partial(self._look, owner, id, for_writer=for_writer)
        try:
            while not await self._link.bells.wait(channel, after or 0, look):
                await asyncio.sleep(_PAUSE)
                if await look() > (after or 0):
                    return
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE)  # whoever waits asks next, and hears of it

    async def stop(self, owner: str, id: str) -> RunState:
        return (await self._ask(scripts.STOP, owner, id, [])).state

    async def list_runs(self, owner: str, key: str = "") -> list[RunState]:
        names = self._names
        where = names.of_key(owner, key) if key else names.all(owner)
        found = await self._link.lane.call(scripts.LIST, [where], [names.runs_of(owner)])
        return [self._state(head, self._records.read(record)) for head, record in found]

    async def forget(self, owner: str, id: str) -> None:
        self._records.forget(owner, id)
        await self._link.lane.call(scripts.FORGET, self._names.run(owner, id), [])

    async def aclose(self) -> None:
        """Close what is open in the running event loop; a call opens it again."""
        await self._server.aclose()

    @property
    def _link(self) -> Link:
        return self._server.link()

    async def _look(self, owner: str, id: str, *, for_writer: bool) -> float:
        """Return what a bell has to know."""
        try:
            state = (await self.read(owner, id, _BEYOND, 0)).state
        except UnknownRun:
            return math.inf
        if not state.is_live or (for_writer and state.stopping):
            return math.inf
        return 0 if for_writer else state.last

    async def _ask(
        self,
        script: Script,
        owner: str,
        id: str,
        said: Sequence[Argument],
        events: Sequence[bytes] = (),
    ) -> Page:
        """Return the state of a run, and the events that are asked for.

        The record is sent only where it is not remembered: it is as long as many tokens.
        """
        run = self._records.get(owner, id)
        head, *found = await self._link.lane.call(
            script, self._names.run(owner, id), [*said, int(run is None), *events]
        )
        word, _, rest = head.partition(b" ")
        match word:
            case b"unknown":
                raise UnknownRun()
            case b"stale":
                raise Stale(f"the claim {said[0]!r} on {id} does not hold")
            case b"behind":
                raise Behind(int(rest))
            case b"held":
                raise LeaseHeld(f"the writer of {id} lives")
            case b"trimmed":
                raise Trimmed()
            case b"none":
                raise ValueError("a terminal is an event that the store has not")
        record, *page = found
        state = self._state(head, self._records.read(record) if run is None else run)
        if word == b"ended":
            raise Ended(state)
        return Page(state, page[0] if page else [])

    def _state(self, head: bytes, run: NewRun) -> RunState:
        _, first, last, stopping, expires, outcome = head.split(b" ", 5)
        return RunState(
            run=run,
            first=int(first),
            last=int(last),
            outcome=outcome.decode(),
            stopping=stopping == b"1",
            expires=int(expires) / 1000 or None,
        )
