"""Generation: one task runs the producer from first to last.

It turns what the producer yields into events on the tail, keeps the message, and runs
`on_finish`. It never touches `receive` or `send`, so that the producer can be cancelled whatever
the client does.

How a producer is cancelled, each rule found by a failure:

- Natively and once; again after `close_timeout`; after another it is abandoned.
- No cancel scope is entered between two of its steps: it may hold scopes of its own across them.
- A cancellation that reaches this task between two steps is thrown into the producer: it belongs
  to a timeout or task group that the producer holds across its `yield`, or it is ours.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable
from contextvars import copy_context
from enum import IntEnum
from typing import Any, Literal

import anyio

from ..backend import Task, new_task, spawn, wakeup
from ..chunks import Error, Native, Raw, Usage
from ..errors import LLMStreamError, ShuttingDown, public_error
from ..events import Event, RunStarted
from ..lifecycle import Lifecycle
from ..message import Message
from ..options import StreamOptions
from ..producers import Steps, discard, open_steps
from ..sources import chunks_of
from .closing import Closing
from .deadlines import Deadlines
from .drain import stream_began, stream_ended
from .limits import Limits
from .result import OnFinish, Outcome, StreamResult, tell
from .tail import Tail
from .ticker import Ticker

__all__ = ["Generation", "Stopped"]

logger = logging.getLogger("asgi_llmstream")

# A producer that never suspends lets others run after so many chunks, whoever reads.
_LONGEST_RUN = 256

Stopped = Literal["error", "disconnected", "stalled", "cancelled", "shutdown"]
"""The outcomes of a run that is ended from outside."""


class _Phase(IntEnum):
    """What is still to be waited for. It only ever moves on."""

    RUNNING = 0  # the producer: to speak until there is an outcome, then to close
    SETTLING = 1  # the reader, and `on_finish`
    DONE = 2


class Generation:
    """One run of a producer.

    Args:
        producer: see `iterables.Producer`.
        options: intervals, deadlines and policies.
        id: names the run.
        model: goes into the first event.
        carries_raw: whether the producer's own server-sent events can go out.
        on_finish: see `OnFinish`.
    """

    def __init__(
        self,
        producer: object,
        options: StreamOptions,
        *,
        id: str,
        model: str,
        carries_raw: bool = False,
        on_finish: OnFinish | None = None,
    ) -> None:
        self._producer = producer
        self._options = options
        self._clock = options.clock
        self._carries_raw = carries_raw
        self._on_finish = on_finish
        self.started = RunStarted(1, id, int(self._clock.time()), model)
        self._lifecycle = Lifecycle(id=id, created=self.started.created, model=model)
        self.tail = Tail(options.buffer_events, options.buffer_size)
        self.message = Message()
        self.outcome: Outcome | None = None
        self.error: LLMStreamError | None = None
        self.cause: BaseException | None = None
        self.disconnected = False
        self._limits = Limits.of(options)
        self._phase = _Phase.RUNNING
        self._task: Task = new_task()
        self._closing = Closing(options, self._give_up)
        self._began = self._ended_at = self._clock.now()
        self._deadlines = Deadlines(options, self._began)
        self._done = wakeup()

    @property
    def began_to_answer(self) -> bool:
        """Whether there is an event beyond the first, which says only that the run started."""
        return self._deadlines.spoke_at is not None

    def start(self) -> None:
        """Start the producer's task, in a copy of the caller's context."""
        self._began = self._clock.now()
        self._deadlines = Deadlines(self._options, self._began)
        self._context = copy_context()  # for `on_finish`, where it is not the task that calls it
        stream_began(self._options.longest_end)
        self._emit(self._lifecycle.start())
        self._ticker = Ticker.current(self._clock)
        self._ticker.add(self, self._deadlines.next(self._began))
        self._task.start(self._run)

    def stop(
        self,
        outcome: Stopped,
        cause: BaseException | None = None,
    ) -> None:
        """End the run from outside, because nobody can or will read on. Returns at once."""
        if self.outcome is None:
            self.cause = cause
            self._end(outcome, self._lifecycle.abort(outcome))
            self._closing.cancel()

    def fail(self, error: LLMStreamError) -> None:
        """End the run with an error that the client still sees. Returns at once."""
        if self.outcome is None:
            self.error = self.cause = error
            logger.warning("a stream was ended: %s", error)
            self._end("error", self._lifecycle.fail(error))
            self._closing.cancel()

    async def wait(self) -> None:
        """Wait until the producer is closed and `on_finish` has run."""
        while self._phase < _Phase.DONE:
            await self._done.wait()

    # The producer's task.

    async def _run(self) -> None:
        self._closing.task = self._task
        try:
            if self.outcome is None:
                await self._produce()
            else:
                await discard(self._producer)  # stopped before its first step
        except BaseException as error:
            if error is not self.cause:
                self._raised(error)
            if isinstance(error, anyio.get_cancelled_exc_class()) and not self._closing.cancels:
                raise  # a cancellation that is not ours to swallow
        finally:
            with self._task.shield():
                await self._settle()

    async def _produce(self) -> None:
        self._deadlines.asked_at = self._clock.now()
        steps = await open_steps(self._producer)
        try:
            await self._pull(steps)
        except BaseException as error:
            if self.outcome is None:
                self._fail(error)  # before closing, which may hang or raise something else
            raise
        finally:
            self._closing.wait()
            await steps.close(self._task.shield)

    async def _pull(self, steps: Steps) -> None:
        """Step the producer to its end, or until the run is over for another reason."""
        advance: Awaitable[Any] = steps.advance()
        clock, tail, deadlines = self._clock, self.tail, self._deadlines
        unbroken = 0
        while True:
            try:
                item = await advance
            except StopAsyncIteration:
                if self.outcome is None:
                    self._end("finished", self._lifecycle.finish())
                return
            if self.outcome is not None:
                return  # it went on although it was cancelled: what it says is too late
            self._take(item)
            if self.outcome is not None:
                return
            unbroken += 1
            if tail.full or unbroken >= _LONGEST_RUN:
                deadlines.asked_at = None
                unbroken = 0
                try:
                    await tail.room()
                except BaseException as error:
                    if steps.throw is None:
                        raise
                    deadlines.asked_at = clock.now()
                    advance = steps.throw(error)
                    continue
            deadlines.asked_at = clock.now()
            advance = steps.advance()

    def _take(self, item: object) -> None:
        for chunk in chunks_of(item):
            if type(chunk) is Raw and not self._carries_raw:
                raise TypeError(
                    "a ServerSentEvent goes out on the plain format only: use format=Events()"
                )
            events = self._lifecycle.feed(chunk)
            if not events:
                continue
            if type(chunk) is Error:
                self.error = LLMStreamError(chunk.message, code=chunk.code, status=chunk.status)
                self.cause = self.error
                self._end("error", events)
                return
            # Usage and what is the provider's own say nothing yet.
            if self._deadlines.spoke_at is None and type(chunk) not in (Usage, Native):
                self._deadlines.spoke_at = self._clock.now()
            self._emit(events)
            if self._limits is not None:
                self._limits.check(events)

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            self.message.apply(event)
        self.tail.append(events)

    def _end(self, outcome: Outcome, events: list[Event]) -> None:
        """The run's last events: from here on nothing that the producer does is seen."""
        self.outcome = outcome
        self._ended_at = self._clock.now()
        self._emit(events)

    def _raised(self, error: BaseException) -> None:
        if self.outcome is None:
            self._fail(error)
        elif not self._closing.cancels or isinstance(error, Exception):
            logger.error("the producer raised after its stream had ended", exc_info=error)

    def _fail(self, error: BaseException) -> None:
        self.cause = error
        try:
            self.error = public_error(error)
        except Exception:  # it cannot even say what it is
            logger.exception("%s does not say what may be shown", type(error).__name__)
            self.error = LLMStreamError()
        if error is self.error:
            logger.warning("the producer raised %s: %s", type(error).__name__, error)
        else:
            logger.error("the producer raised", exc_info=error)
        self._end("error", self._lifecycle.fail(self.error))

    # Deadlines.

    def tick(self, now: float) -> float:
        if self.outcome is None and (error := self._deadlines.passed(now)) is not None:
            if isinstance(error, ShuttingDown):
                self.error = error
                self.stop("shutdown")
            else:
                self.fail(error)
        if self.outcome is not None:
            return math.inf
        return self._deadlines.next(now)

    # Closing.

    def _give_up(self) -> None:
        logger.error(
            "a producer ignored two cancellations for %s s each and was abandoned; "
            "it may still run: %s",
            self._options.close_timeout,
            getattr(self._producer, "__qualname__", type(self._producer).__qualname__),
        )
        spawn(self._settle, self._context)

    async def _settle(self) -> None:
        """Once: wait for the reader, run `on_finish`, let `wait` return."""
        if self._phase >= _Phase.SETTLING:
            return
        if self.outcome is None:
            self._fail(RuntimeError("the producer was given up"))
        self._phase = _Phase.SETTLING
        self._closing.over()
        try:
            await self.tail.left()
            await tell(self._on_finish, self._result())
        finally:
            self._ticker.remove(self)
            self._phase = _Phase.DONE
            stream_ended()
            self._done.set()

    def _result(self) -> StreamResult:
        assert self.outcome is not None
        spoke_at = self._deadlines.spoke_at
        return StreamResult(
            outcome=self.outcome,
            message=self.message,
            error=self.cause,
            disconnected=self.disconnected,
            time_to_first_chunk=None if spoke_at is None else spoke_at - self._began,
            duration=self._ended_at - self._began,
            events=self.tail.appended,
        )
