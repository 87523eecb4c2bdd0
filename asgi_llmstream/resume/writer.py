"""The writer: brings a run's events into the store, and publishes them there.

It is a follower of the run's log like others, ahead of them: they see an event only when the
store has it. One append is in flight at a time; what comes meanwhile is the next one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, cast

import anyio

from ..backend import spawn, wakeup
from ..events import Event, Terminal
from ..runtime import Forgotten, Generation, Outcome, Ticker
from ..stores import (
    Behind,
    Ended,
    RunState,
    Stale,
    StoreUnavailable,
    StreamStore,
    UnknownRun,
    encode_event,
)

__all__ = ["Writer"]

_T = TypeVar("_T")

logger = logging.getLogger("asgi_llmstream")

# Seconds before an append is tried again: at first, and at the most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Writer:
    """Writes one run. It holds the run's log, so that `on_finish` hears what the store has.

    Args:
        run: it, before its first event.
        store: where to.
        state: of the run in the store.
        epoch: the claim on it.
    """

    def __init__(
        self,
        run: Generation,
        store: StreamStore,
        state: RunState,
        epoch: int,
    ) -> None:
        self._run = run
        self._store = store
        self._owner, self._id = state.run.owner, state.run.id
        self._epoch = epoch
        self._follower = run.log.follow(ahead=True)
        self._now = run.options.clock.now
        self._ticker = Ticker.current(run.options.clock)
        self._renew_at = math.inf
        self._is_due = False  # an append of nothing: to renew the lease, or to hear of a stop
        self._has_looked = wakeup()

    async def write(self) -> Exception:
        """Write until the store has all, or will not have it. Raise nothing.

        Returns:
            What those have to be told who still follow the log: `Forgotten`, where the store has
            the rest for them.
        """
        self._renewed()
        self._ticker.add(self, self._renew_at)
        listening = spawn(self._listen)
        try:
            return await self._write()
        finally:
            listening.cancel()
            self._ticker.remove(self)
            self._follower.leave(had_the_end=True)

    async def _write(self) -> Exception:
        try:
            await self._write_all()
        except UnknownRun:
            self._run.stop("stopped")  # it was erased
            self._run.log.publish(self._run.log.last)
        except Exception as error:
            if not isinstance(error, StoreUnavailable):
                logger.exception("a store raised what is none of its errors")
            reason = StoreUnavailable()
            self._run.overrule("error", reason)
            return reason
        return Forgotten()

    async def _write_all(self) -> None:
        try:
            while not await self._write_on():
                pass
        except Ended as error:
            self._give_way(error.state)
        except Stale:
            number = self._run.log.published
            read = partial(self._store.read, self._owner, self._id, number, 0)
            self._give_way((await self._patiently(read)).state)

    def _give_way(self, state: RunState) -> None:
        """Another one has ended it: what the store has is the truth."""
        logger.error("the run %s was ended elsewhere: %s", self._id, state.outcome)
        self._run.overrule(cast(Outcome, state.outcome))

    async def _write_on(self) -> bool:
        """Write what there is; return whether that was the end."""
        events = self._follower.take()
        if not events and not self._is_due:
            await self._follower.wait()
            return False
        self._is_due = False
        outcome = self._run.outcome if events and isinstance(events[-1], Terminal) else None
        state = await self._append(self._follower.cursor - len(events), events, outcome or "")
        self._renewed()
        if events:
            self._run.log.publish(events[-1].seq)
        if state.stopping:
            self._run.stop("stopped")
        self._has_looked.set()
        return outcome is not None

    async def _append(self, after: int, events: list[Event], outcome: str) -> RunState:
        encoded = [encode_event(event) for event in events]
        key = (self._owner, self._id, self._epoch)
        try:
            return await self._patiently(partial(self._store.append, *key, after, encoded, outcome))
        except Behind as error:
            raise StoreUnavailable() from error  # it has lost what it had acknowledged

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the store, again and again for `store_timeout` seconds at the most."""
        timeout = self._run.options.store_timeout
        give_up_at = math.inf if timeout is None else self._now() + timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                with anyio.fail_after(timeout):
                    return await ask()
            except (StoreUnavailable, OSError) as error:  # one of which is a `TimeoutError`
                if self._now() + pause > give_up_at:
                    raise StoreUnavailable() from error
                logger.warning("the store is away, the next try is in %s s: %s", pause, error)
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        """Wait for a stop that came to the store from somewhere else."""
        try:
            while self._run.outcome is None:
                await self._store.wait(self._owner, self._id, None)
                self._is_due = True
                self._follower.wake()
                await self._has_looked.wait()
        except Exception:
            logger.exception("a store's wait raised: a stop is heard of at the next append only")

    def _renewed(self) -> None:
        self._renew_at = self._now() + self._store.lease / 3

    def tick(self, now: float) -> float:
        if now >= self._renew_at:
            self._renewed()
            self._is_due = True
            self._follower.wake()
        return self._renew_at
