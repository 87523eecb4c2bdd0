"""A run: one answer being made, from its beginning until everybody was told of its end."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from enum import IntEnum
from typing import Any, Literal

from msgspec import Struct, field

from ..backend import Wakeup, own_task, spawn, wakeup
from ..errors import LLMStreamError, ShuttingDown
from ..events import Event
from ..message import Message
from ..options import StreamOptions
from ..producers import name_of
from ..request import ChatRequest
from .closing import Closing
from .deadlines import Deadlines
from .log import Log
from .result import OnFinish, Outcome, StreamResult
from .signals import process_signals
from .ticker import Ticker

__all__ = ["Audience", "Moment", "Observer", "Phase", "Run", "Stopped"]

logger = logging.getLogger("asgi_llmstream")

Stopped = Literal["error", "disconnected", "stalled", "cancelled", "shutdown", "stopped"]
"""The outcomes of a run that is ended from outside."""


Moment = Literal["begun", "first event", "ended"]
"""A run begins; has said something; is over, and `on_finish` has run."""

Observer = Callable[[Moment, "Run"], object]
"""Hears of a run at each moment, once at the most; in the event loop, so it must not block."""


class Audience(Struct, frozen=True, kw_only=True):
    """Who is told of a run.

    Attributes:
        on_finish: called one after the other with its result.
        scope: of the request that it answers, for the result.
        request: the same, where `ChatApp` decoded it.
        observers: called as it goes on.
    """

    on_finish: tuple[OnFinish, ...] = ()
    scope: Mapping[str, Any] = field(default_factory=dict)
    request: ChatRequest | None = None
    observers: tuple[Observer, ...] = ()


class Phase(IntEnum):
    """The stages of a run. It only ever moves on.

    phase       the maker                  the log                what moves it on
    --------    -----------------------    -------------------    -------------------------
    READY       has not begun              is empty               `begin`
    RUNNING     speaks                     grows                  `end`: there is an outcome
    CLOSING     comes to its end           has its last event     `settle`
    SETTLING    is closed, or given up     is read to its end     readers and `on_finish`
    DONE        is closed, or given up     is read
    """

    READY = 0
    RUNNING = 1
    CLOSING = 2
    SETTLING = 3
    DONE = 4


class Run:
    """One answer being made. What makes it is the subclass's: a producer, or an application.

    Args:
        options: intervals, deadlines and policies.
        audience: who is told of it.
        lag: by how many seconds its deadlines are later.
        log: where its events go; one that forgets what its reader has, if left out.

    Attributes:
        phase: see `Phase`.
        log: its events.
        message: what they say, folded.
        outcome: how it ended; None until it is `CLOSING`.
        cause: what ended it, if that was an error.
        deadlines: when it is over although nobody ended it.
        name: of who makes it, for the log.
    """

    name = "an application"

    def __init__(
        self,
        options: StreamOptions,
        audience: Audience,
        *,
        lag: float = 0,
        log: Log | None = None,
    ) -> None:
        self.options = options
        self.phase = Phase.READY
        self.log = log or Log(options.buffer_events, options.buffer_size)
        self.message = Message()
        self.outcome: Outcome | None = None
        self.cause: BaseException | None = None
        self._audience = audience
        self._now = options.clock.now
        self._lag = lag
        self._began = self._ended_at = self._now()
        self.deadlines = Deadlines(options, self._began, lag=lag)
        self._closing = Closing(options, self._give_up)
        self._untold = iter(audience.on_finish)
        self._is_told_elsewhere = False
        self._waiting: list[Wakeup] = []

    def begin(self) -> None:
        """Let time run: deadlines count from now, and a drain waits for this run."""
        self._began = self._now()
        self.deadlines = Deadlines(self.options, self._began, lag=self._lag)
        self.phase = Phase.RUNNING
        self._context = copy_context()  # for `on_finish`, where the maker's task is given up
        process_signals.stream_began(self.options.longest_end(len(self._audience.on_finish)))
        self._ticker = Ticker.current(self.options.clock)
        self._ticker.add(self, self.deadlines.next(self._began))
        self._observe("begun")

    def emit(self, events: Sequence[Event]) -> None:
        """Write events to the log and the message."""
        for event in events:
            self.message.apply(event)
        self.log.append(events)

    def spoke(self) -> None:
        """Note the first event that says something."""
        self.deadlines.spoke_at = self._now()
        self._observe("first event")

    def end(
        self, outcome: Outcome, events: Sequence[Event], cause: BaseException | None = None
    ) -> None:
        """Write the last events: from here on nothing that the maker does is seen."""
        self.phase = max(self.phase, Phase.CLOSING)
        self.outcome = outcome
        self.cause = cause
        self._ended_at = self._now()
        self.emit(events)

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        """End it from outside, because nobody can or will read on. Return at once."""
        raise NotImplementedError

    def fail(self, error: LLMStreamError) -> None:
        """End it from outside with an error that the client still sees. Return at once."""
        raise NotImplementedError

    def drain(self) -> None:
        """Give it `shutdown_grace` seconds from now."""
        self.deadlines.drain(self._now())
        self._ticker.look(self, self._now())

    def _give_up(self) -> None:
        """Go on without a maker that ignores its cancellation."""
        raise NotImplementedError

    def tick(self, now: float) -> float:
        if self.outcome is None and (error := self.deadlines.passed(now)) is not None:
            if isinstance(error, ShuttingDown):
                self.stop("shutdown")
            else:
                self.fail(error)
        return math.inf if self.outcome is not None else self.deadlines.next(now)

    async def wait(self) -> None:
        """Wait until the maker is closed and `on_finish` has run."""
        while self.phase < Phase.DONE:
            self._waiting.append(mine := wakeup())
            await mine.wait()

    async def settle(self) -> None:
        """Wait for the readers, call `on_finish`, let `wait` return. Only the first call does."""
        if self.phase >= Phase.SETTLING:
            return
        self.phase = Phase.SETTLING
        self._closing.over()
        try:
            await self.log.read()
            await self._tell(self.result())
        finally:
            if not self._is_told_elsewhere:
                self._finish()

    def _finish(self) -> None:
        if self.phase < Phase.DONE:
            self.phase = Phase.DONE
            self._ticker.remove(self)
            process_signals.stream_ended()
            self._observe("ended")
            self._log_the_end()
            for waiting in self._waiting:
                waiting.set()

    def _log_the_end(self) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            told = self.result()
            spoke = told.time_to_first_chunk
            logger.debug(
                "%s: %s after %.3f s, first chunk after %s, %d events",
                self.where,
                told.outcome,
                told.duration,
                "none" if spoke is None else f"{spoke:.3f} s",
                told.events,
            )

    async def _tell(self, result: StreamResult) -> None:
        """Call each `on_finish` that was not called yet."""
        for on_finish in self._untold:
            try:
                returned = on_finish(result)
                if inspect.isawaitable(returned):
                    await self._in_time(returned, result)
            except Exception:
                logger.exception("on_finish raised: %s, of %s", name_of(on_finish), self.where)

    async def _in_time(self, telling: Awaitable[Any], result: StreamResult) -> None:
        """Await what `on_finish` returned, for `finish_timeout` seconds at the most."""

        def go_on() -> None:
            logger.error("on_finish ignored two cancellations and was abandoned")
            self._is_told_elsewhere = True
            spawn(tell_the_others, self._context)

        async def tell_the_others() -> None:
            try:
                await self._tell(result)
            finally:
                self._finish()

        limit = Closing(self.options, go_on)
        try:
            with own_task() as limit.task:
                if self.options.finish_timeout is not None:
                    limit.wait(self.options.finish_timeout)
                await telling
        finally:
            if limit.cancels:
                timeout = self.options.finish_timeout
                logger.error("on_finish took over finish_timeout (%s s): cancelled", timeout)
            limit.over()

    def _observe(self, moment: Moment) -> None:
        for observer in self._audience.observers:
            try:
                observer(moment, self)
            except Exception:
                logger.exception("an observer raised")

    @property
    def where(self) -> str:
        """Its maker and the request that it answers, for the log."""
        scope = self._audience.scope
        # A path is what a client sent: it must not make lines of its own.
        path = scope.get("path", "").encode("unicode_escape").decode()
        return f"{self.name}, answering {scope.get('method', '')} {path}" if path else self.name

    @property
    def _pieces(self) -> int:
        return self.log.last

    def result(self) -> StreamResult:
        """Say how it ended."""
        assert self.outcome is not None
        spoke_at = self.deadlines.spoke_at
        return StreamResult(
            outcome=self.outcome,
            message=self.message,
            error=self.cause,
            disconnected=self.log.left_early,
            time_to_first_chunk=None if spoke_at is None else spoke_at - self._began,
            duration=self._ended_at - self._began,
            events=self._pieces,
            scope=self._audience.scope,
            request=self._audience.request,
        )
