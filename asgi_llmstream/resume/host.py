"""The host: the runs of this process that outlive their requests, and whoever reads along."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import anyio

from ..backend import loop_key, spawn, wakeup
from ..errors import RateLimited, ShuttingDown
from ..options import StreamOptions
from ..runtime import Generation, Log, Stopped
from ..stores import Begun, NewRun, OnBusy, RunState, StoreUnavailable, StreamStore, let_go
from .following import Following
from .tail import Tail
from .writer import Writer

__all__ = ["Host", "NotRunning"]

# Seconds that a stop may take before its answer is that it is under way.
_STOP_PATIENCE = 2.0
# Seconds that a store may take to forget a run that has not begun.
_TAKE_BACK_PATIENCE = 2.0


class TooManyReaders(RateLimited):
    """The run has as many readers as it may have."""

    default_code = "too_many_readers"
    default_message = "Too many are reading this answer. Try again later."


class NotRunning(RuntimeError):
    """A run would have outlived its request, and nobody would have owned it."""

    def __init__(self) -> None:
        super().__init__(
            "with a store runs outlive their requests, so something has to own them: give the "
            "lifespan to your application, as FastAPI(lifespan=chat.lifespan); where there is no "
            "ChatApp, FastAPI(lifespan=store_lifespan(store))"
        )


class Host:
    """The runs on one store, in one event loop. Get one with `Host.current`.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: StreamStore) -> None:
        self.store = store
        self._lifespans = 0
        self._runs: dict[tuple[str, str], Generation] = {}
        self._tails: dict[tuple[str, str], Tail] = {}
        self._readers: Counter[tuple[str, str]] = Counter()
        self._owned: set[Generation] = set()  # until everybody was told of their ends
        self._one_ended = wakeup()

    @staticmethod
    def current(store: StreamStore) -> Host:
        """Return the running loop's host for this store."""
        key = loop_key()
        with _LOCK:
            hosts = _HOSTS.setdefault(key, {})
            host = hosts.get(id(store))
            if host is None:
                host = hosts[id(store)] = Host(store)
        return host

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The time in which runs may begin; at its end those that go on get their grace."""
        self._lifespans += 1
        try:
            yield
        finally:
            self._lifespans -= 1
            if not self._lifespans:
                await self._end_all()
                await let_go(self.store)

    async def begin(
        self,
        new: NewRun,
        options: StreamOptions,
        make: Callable[[Log], Generation],
        over: Callable[[], object],
        *,
        on_busy: OnBusy = "replace",
    ) -> Begun:
        """Begin a run, unless the same was asked already.

        Args:
            new: names it.
            options: bound its log.
            make: makes the run, with this log.
            over: called when the run is, also if it does not begin.
            on_busy: see `StreamStore.begin`, as for what is raised.

        Raises:
            NotRunning: if no lifespan is entered.
        """
        with ExitStack() as ends:
            ends.callback(over)
            if not self._lifespans:
                raise NotRunning()
            try:
                begun = await self._ask(new, on_busy)
                if begun.replaced:
                    self._stop_here(new.owner, begun.replaced)
                if begun.epoch:
                    self._start(begun, options, make, ends)
            except BaseException:
                await self._take_back(new)
                raise
        return begun

    async def _ask(self, new: NewRun, on_busy: OnBusy) -> Begun:
        try:
            return await self.store.begin(new, on_busy=on_busy)
        except StoreUnavailable:  # the answer may have been lost: the same again is the same run
            return await self.store.begin(new, on_busy=on_busy)

    async def _take_back(self, new: NewRun) -> None:
        """Leave nothing of a run that has not begun, if the store has it; its key is free again."""
        with anyio.move_on_after(_TAKE_BACK_PATIENCE, shield=True), suppress(Exception):
            await self.store.forget(new.owner, new.id)

    def _start(
        self,
        begun: Begun,
        options: StreamOptions,
        make: Callable[[Log], Generation],
        ends: ExitStack,
    ) -> None:
        if not self._lifespans:
            raise ShuttingDown()  # while the store was asked
        log = Log(options.buffer_events, options.buffer_size, published_later=True)
        run = make(log)
        key = (begun.state.run.owner, begun.state.run.id)
        writer = Writer(run, self.store, begun.state, begun.epoch)
        run.start()
        over = ends.pop_all().close

        async def own() -> None:
            reason: Exception = StoreUnavailable()
            try:
                reason = await writer.write()
            finally:
                del self._runs[key]  # what is new is in the store from now on
                log.close(reason)
            await run.wait()
            self._owned.discard(run)
            self._one_ended.set()
            over()

        self._runs[key] = run
        self._owned.add(run)
        spawn(own)

    async def _end_all(self) -> None:
        for run in self._owned:
            run.drain()
        try:
            while self._owned:
                await self._one_ended.wait()
        finally:
            self._one_ended = wakeup()  # the old one knows a future, and so the loop

    # Reading.

    def follow(
        self,
        owner: str,
        id: str,
        *,
        ends_run: bool = False,
        merges: bool = True,
        announces: bool = False,
        at_most: int | None = None,
    ) -> Following:
        """Return a reader of the run, from its first event on.

        Args:
            owner: whose it is.
            id: names it.
            ends_run: stop the run when its reader leaves.
            merges: see `Following`.
            announces: likewise.
            at_most: how many readers the run may have in this process.

        Raises:
            TooManyReaders: if there are as many.
        """
        if at_most is not None and self._readers[owner, id] >= at_most:
            raise TooManyReaders()
        self._readers[owner, id] += 1
        stop = partial(self._stop_here, owner, id) if ends_run else None
        return Following(self.store, self, owner, id, stop, merges, announces)

    def makes(self, owner: str, id: str) -> bool:
        """See `Windows`."""
        return (owner, id) in self._runs

    def log_of(self, owner: str, id: str) -> Log | None:
        """See `Windows`."""
        if (run := self._runs.get((owner, id))) is not None:
            return run.log
        tail = self._tails.get((owner, id))
        return None if tail is None else tail.log

    def open(self, owner: str, id: str, after: int) -> None:
        """See `Windows`."""
        if self.log_of(owner, id) is None:
            key = (owner, id)
            tail = Tail(self.store, owner, id, after, partial(self._closed, key))
            self._tails[key] = tail
            tail.start()

    def left(self, owner: str, id: str) -> None:
        """See `Windows`."""
        self._readers[owner, id] -= 1
        if not self._readers[owner, id]:
            del self._readers[owner, id]
            if (tail := self._tails.pop((owner, id), None)) is not None:
                tail.end()

    def _closed(self, key: tuple[str, str], tail: Tail) -> None:
        if self._tails.get(key) is tail:  # else there is a new one already
            del self._tails[key]

    # Ending.

    async def stop(self, owner: str, id: str) -> RunState:
        """Stop the run, and wait a little for its end.

        Returns:
            Its state: live, if the end takes longer.

        Raises:
            UnknownRun: if there is none.
        """
        self._stop_here(owner, id)  # also where the store is away
        state = await self.store.stop(owner, id)
        with anyio.move_on_after(_STOP_PATIENCE):
            while state.is_live:
                await self.store.wait(owner, id, state.last)
                state = (await self.store.read(owner, id, state.last, 1)).state
        return state

    async def erase(self, owner: str, id: str) -> None:
        """Stop the run, and forget it at once."""
        self._stop_here(owner, id)
        await self.store.forget(owner, id)

    def _stop_here(self, owner: str, id: str, outcome: Stopped = "stopped") -> None:
        if (run := self._runs.get((owner, id))) is not None:
            run.stop(outcome)


# Like tickers they die with their loop.
_HOSTS: WeakKeyDictionary[Any, dict[int, Host]] = WeakKeyDictionary()
_LOCK = Lock()
