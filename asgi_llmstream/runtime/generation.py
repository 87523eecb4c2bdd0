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

import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from operator import itemgetter
from typing import Any, Literal

import anyio

from ..backend import Task, spawn, wakeup
from ..chunks import Error, Native, Raw, Usage
from ..drain import draining, stream_began, stream_ended
from ..errors import (
    FirstChunkTimeout,
    IdleTimeout,
    LLMStreamError,
    ShuttingDown,
    TotalTimeout,
    public_error,
)
from ..events import Event, RunStarted
from ..iterables import Steps, discard, open_steps
from ..lifecycle import Lifecycle
from ..message import Message
from ..options import StreamOptions
from ..result import Outcome, StreamResult
from ..sources import chunks_of
from .limits import Limits
from .tail import Tail
from .ticker import Ticker

__all__ = ["Generation", "OnFinish", "Stopped"]

logger = logging.getLogger("asgi_llmstream")

# A producer that never suspends lets others run after so many chunks, whoever reads.
_LONGEST_RUN = 256

OnFinish = Callable[[StreamResult], Any]
"""Called once with the result; may be a plain function or an async one."""


Stopped = Literal["error", "disconnected", "stalled", "cancelled", "shutdown"]
"""The outcomes of a run that is ended from outside."""


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
        self._task: Task | None = None
        self._running = False
        self._ticker: Ticker | None = None
        self._began = 0.0
        self._first_at: float | None = None
        self._ended_at: float | None = None
        self._limits = Limits.of(options)
        self._pulling_since: float | None = None
        self._cancels = 0
        self._close_by = math.inf
        self._drain_by: float | None = None
        self._settling = False
        self.done = False
        self._done = wakeup()

    @property
    def began_to_answer(self) -> bool:
        """Whether there is an event beyond the first, which says only that the run started."""
        return self._first_at is not None

    def start(self) -> None:
        """Start the producer's task, in a copy of the caller's context."""
        self._began = self._clock.now()
        self._context = copy_context()  # for `on_finish`, where the ticker has to call it
        stream_began(self._options.longest_end)
        self._emit(self._lifecycle.start())
        self._task = spawn(self._run)
        self._ticker = Ticker.current(self._clock)
        self._ticker.add(self, self._began + self._patience)

    def stop(
        self,
        outcome: Stopped,
        cause: BaseException | None = None,
    ) -> None:
        """End the run from outside, because nobody can or will read on. Returns at once."""
        if self.outcome is None:
            self.cause = cause
            self._end(outcome, self._lifecycle.abort(outcome))
            self._cancel()

    def fail(self, error: LLMStreamError) -> None:
        """End the run with an error that the client still sees. Returns at once."""
        if self.outcome is None:
            self.error = self.cause = error
            logger.warning("a stream was ended: %s", error)
            self._end("error", self._lifecycle.fail(error))
            self._cancel()

    async def wait(self) -> None:
        """Wait until the producer is closed and `on_finish` has run."""
        while not self.done:
            await self._done.wait()

    # The producer's task.

    async def _run(self) -> None:
        self._running = True
        try:
            if self.outcome is None:
                await self._produce()
            else:
                await discard(self._producer)  # stopped before its first step
        except BaseException as error:
            if error is not self.cause:
                self._raised(error)
            if isinstance(error, anyio.get_cancelled_exc_class()) and self._cancels == 0:
                raise  # a cancellation that is not ours to swallow
        finally:
            assert self._task is not None
            with self._task.shield():
                await self._settle()

    async def _produce(self) -> None:
        assert self._task is not None
        self._pulling_since = self._clock.now()
        steps = await open_steps(self._producer)
        try:
            await self._pull(steps)
        except BaseException as error:
            if self.outcome is None:
                self._fail(error)  # before closing, which may hang or raise something else
            raise
        finally:
            self._pulling_since = None
            if self._close_by == math.inf and not self._settling:
                self._arm_close()
            await steps.close(self._task.shield)

    async def _pull(self, steps: Steps) -> None:
        """Step the producer to its end, or until the run is over for another reason."""
        advance: Awaitable[Any] = steps.advance()
        clock, tail = self._clock, self.tail
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
                self._pulling_since = None
                unbroken = 0
                try:
                    await tail.room()
                except BaseException as error:
                    if steps.throw is None:
                        raise
                    self._pulling_since = clock.now()
                    advance = steps.throw(error)
                    continue
            self._pulling_since = clock.now()
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
            if self._first_at is None and type(chunk) not in (Usage, Native):
                self._first_at = self._clock.now()
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
        self._pulling_since = None
        self._emit(events)

    def _raised(self, error: BaseException) -> None:
        if self.outcome is None:
            self._fail(error)
        elif self._cancels == 0 or isinstance(error, Exception):
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

    # Deadlines: called by the ticker.

    def tick(self, now: float) -> float:
        if self.outcome is None and draining():
            self._drain(now)
        if self.outcome is None and (timeout := self._expired(now)) is not None:
            self.fail(timeout)
        if now >= self._close_by:
            self._close_is_late()
        return min(now + self._patience, self._next_deadline())

    def _drain(self, now: float) -> None:
        grace = self._options.shutdown_grace
        if self._drain_by is None:
            self._drain_by = math.inf if grace is None else now + grace
        if now >= self._drain_by:
            self.error = ShuttingDown()
            self.stop("shutdown")

    def _expired(self, now: float) -> LLMStreamError | None:
        return next((error() for due, error in self._deadlines() if due <= now), None)

    def _deadlines(self) -> list[tuple[float, type[LLMStreamError]]]:
        """When each deadline that runs is over; the first to pass is the reason."""
        options, limit, since = self._options, self._options.idle_timeout, self._pulling_since
        error: type[LLMStreamError] = IdleTimeout
        if self._first_at is None:
            error, limit, since = FirstChunkTimeout, options.first_chunk_timeout, self._began
        total = _due(self._began, options.total_timeout)
        return sorted([(_due(since, limit), error), (total, TotalTimeout)], key=itemgetter(0))

    def _next_deadline(self) -> float:
        if self.outcome is not None:
            return self._close_by
        deadline = self._deadlines()[0][0]
        return deadline if self._drain_by is None else min(deadline, self._drain_by)

    @property
    def _patience(self) -> float:
        """No deadline can begin and pass within this time, so looking as often is enough."""
        options = self._options
        limits = (options.first_chunk_timeout, options.idle_timeout, options.total_timeout)
        return min((limit for limit in limits if limit is not None), default=math.inf)

    # Closing.

    def _cancel(self) -> None:
        if self._task is None or self._cancels >= 2:
            return
        self._cancels += 1
        self._arm_close()
        if self._running:  # a task that is cancelled before its first step never takes it
            self._task.cancel()

    def _arm_close(self) -> None:
        self._close_by = self._clock.now() + self._options.close_timeout
        if self._ticker is not None:
            self._ticker.look(self, self._close_by)

    def _close_is_late(self) -> None:
        if self._settling:
            return
        if self._cancels < 2:
            self._cancel()
            return
        self._close_by = math.inf
        logger.error(
            "a producer ignored two cancellations for %s s each and was abandoned; "
            "it may still run: %r",
            self._options.close_timeout,
            self._producer,
        )
        spawn(self._settle, self._context)

    async def _settle(self) -> None:
        """Once: wait for the reader, run `on_finish`, let `wait` return."""
        if self._settling:
            return
        self._settling = True
        self._close_by = math.inf
        if self.outcome is None:
            self._fail(RuntimeError("the producer was given up"))
        try:
            await self.tail.left()
            await self._call_on_finish()
        finally:
            if self._ticker is not None:
                self._ticker.remove(self)
            self.done = True
            stream_ended()
            self._done.set()

    async def _call_on_finish(self) -> None:
        if self._on_finish is None:
            return
        try:
            returned = self._on_finish(self._result())
            if inspect.isawaitable(returned):
                await returned
        except Exception:
            logger.exception("on_finish raised")

    def _result(self) -> StreamResult:
        assert self.outcome is not None
        assert self._ended_at is not None
        first = None if self._first_at is None else self._first_at - self._began
        return StreamResult(
            outcome=self.outcome,
            message=self.message,
            error=self.cause,
            disconnected=self.disconnected,
            time_to_first_chunk=first,
            duration=self._ended_at - self._began,
            events=self.tail.appended,
        )


def _due(since: float | None, limit: float | None) -> float:
    return math.inf if since is None or limit is None else since + limit
