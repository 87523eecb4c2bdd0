"""A tail: what is new of a run that is made elsewhere, for all its readers in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from ..backend import Wakeup, spawn, wakeup
from ..chunks import Usage
from ..errors import LLMStreamError
from ..events import RunFailed
from ..lifecycle import Unfinished
from ..runtime import Log
from ..stores import (
    EventDecoder,
    LeaseHeld,
    RunState,
    StoreUnavailable,
    StreamStore,
    UnknownRun,
    encode_event,
)

__all__ = ["Tail"]

logger = logging.getLogger("asgi_llmstream")

# Events that are read at a time, and kept for readers that are a little behind.
_PAGE = 1000
# Seconds until a store that was away is asked again.
_PAUSE = 0.2


class Tail:
    """One reader of the store, in a task of its own. It also ends a run whose producer is lost.

    Args:
        store: where the run is.
        owner: whose it is.
        id: of the run.
        done: called when there is nothing more to come, or nobody who reads.

    Attributes:
        log: the newest events; None until it has caught up.
    """

    def __init__(self, store: StreamStore, owner: str, id: str, done: Callable[[], None]) -> None:
        self.log: Log | None = None
        self._store = store
        self._owner = owner
        self._id = id
        self._done = done
        self._decoder = EventDecoder()
        self._unfinished = Unfinished()
        self._opening: list[Wakeup] = []
        self._task = spawn(self._run)

    async def opened(self) -> None:
        """Wait until it has caught up, or will not."""
        self._opening.append(mine := wakeup())
        await mine.wait()

    def end(self) -> None:
        """End it: nobody follows it any more."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            while not await self._read_on():
                pass
        except UnknownRun:
            pass  # its readers ask the store, and hear it there
        except Exception:
            logger.exception("following the run %s failed", self._id)
        finally:
            self._done()
            self._open()

    def _open(self) -> None:
        for waiting in self._opening:
            waiting.set()
        self._opening.clear()

    async def _read_on(self) -> bool:
        """Read what there is, or wait for it; return whether that was the end."""
        try:
            after = self._unfinished.last
            page = await self._store.read(self._owner, self._id, after, _PAGE)
            events = self._decoder.decode(after + 1, page.events)
            for event in events:
                self._unfinished.apply(event)
            if self.log is not None:
                self.log.append(events)
            elif self._unfinished.last >= page.state.last:
                self.log = Log(_PAGE, 1 << 62, after=self._unfinished.last)
                self._open()
            if not events and page.state.is_live:
                await self._wait(page.state)
            return self._unfinished.ended or not (events or page.state.is_live)
        except StoreUnavailable:
            await anyio.sleep(_PAUSE)
            return False

    async def _wait(self, state: RunState) -> None:
        """Wait for news, for as long as the lease may last; then the producer may be lost."""
        with anyio.move_on_after(self._store.lease):
            await self._store.wait(self._owner, self._id, state.last)
            return
        events = self._unfinished.broken_off(_lost)
        encoded = [encode_event(event) for event in events]
        try:
            await self._store.seal(self._owner, self._id, state.last, encoded, "producer_lost")
        except LeaseHeld:
            pass


def _lost(number: int, usage: Usage | None) -> RunFailed:
    error = LLMStreamError("The server that made this answer is gone.", code="producer_lost")
    return RunFailed(number, usage, error.message, error.code, error.status)
