"""A tail: what is new of a run that is made elsewhere, for all its readers in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import anyio

from ..backend import new_task
from ..errors import LLMStreamError
from ..events import RunFailed
from ..lifecycle import Unfinished
from ..runtime import Forgotten, Log
from ..stores import (
    EventDecoder,
    LeaseHeld,
    RunState,
    StoreUnavailable,
    StreamStore,
    Trimmed,
    encode_event,
)

__all__ = ["Tail"]

logger = logging.getLogger("asgi_llmstream")

# Events that are read at a time, and kept for readers that are a little behind.
_PAGE = 1000
# Seconds until a store that was away is asked again, and how often it is.
_PAUSE, _TRIES = 0.2, 50


class Tail:
    """One reader of the store, in a task of its own. It also ends a run whose producer is lost.

    Args:
        store: where the run is.
        owner: whose it is.
        id: of the run.
        after: the number of the last event before those that are new.
        done: called with this tail when there is nothing more to come.

    Attributes:
        log: the newest events. It is closed with what went wrong, if something did.
    """

    def __init__(
        self,
        store: StreamStore,
        owner: str,
        id: str,
        after: int,
        done: Callable[[Tail], None],
    ) -> None:
        self.log = Log(_PAGE, 1 << 62, after=after)
        self._store = store
        self._owner = owner
        self._id = id
        self._done = done
        self._decoder = EventDecoder()
        self._unfinished = Unfinished()
        self._tries = 0
        self._task = new_task()

    def start(self) -> None:
        """Begin to read."""
        self._task.start(self._run)

    def end(self) -> None:
        """End it: nobody follows it any more."""
        self._task.cancel()

    async def _run(self) -> None:
        reason: Exception = Forgotten()
        try:
            while not await self._read_on():
                pass
        except LLMStreamError as error:
            reason = error
        except Exception:
            logger.exception("following the run %s failed", self._id)
            reason = LLMStreamError()
        finally:
            self._done(self)
            self.log.close(reason)

    async def _read_on(self) -> bool:
        """Read what there is, or wait for it; return whether that was the end."""
        try:
            state = await self._read_page()
            if self._unfinished.last >= state.last:
                if state.is_live:
                    await self._wait(state)
                else:
                    return True
        except StoreUnavailable:
            self._tries += 1
            if self._tries > _TRIES:
                raise
            await anyio.sleep(_PAUSE)
        else:
            self._tries = 0
        return False

    async def _read_page(self) -> RunState:
        after = self._unfinished.last
        try:
            page = await self._store.read(self._owner, self._id, after, _PAGE)
        except Trimmed:
            if after >= self.log.last:
                raise
            self._unfinished.last = self.log.last  # what is before is nobody's here
            return await self._read_page()
        events = self._decoder.decode(after + 1, page.events)
        for event in events:
            self._unfinished.apply(event)
        self.log.append([event for event in events if event.seq > self.log.last])
        return page.state

    async def _wait(self, state: RunState) -> None:
        """Wait for news, for as long as the lease may last; then the producer may be lost."""
        with anyio.move_on_after(self._store.lease):
            await self._store.wait(self._owner, self._id, state.last)
            return
        events = self._unfinished.broken_off(partial(RunFailed.because, error=_LOST))
        encoded = [encode_event(event) for event in events]
        try:
            await self._store.seal(self._owner, self._id, state.last, encoded, "producer_lost")
        except LeaseHeld:
            pass


_LOST = LLMStreamError("The server that made this answer is gone.", code="producer_lost")
