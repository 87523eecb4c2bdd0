"""Generation: one task runs the producer from first to last.

It turns what the producer yields into events of its log. It never touches `receive` or `send`,
so that the producer can be cancelled whatever the client does.

How a producer is cancelled, each rule found by a failure:

- Natively and once; again after `close_timeout`; after another it is abandoned.
- No cancel scope is entered between two of its steps: it may hold scopes of its own across them.
- A cancellation that reaches this task between two steps is thrown into the producer: it belongs
  to a timeout or task group that the producer holds across its `yield`, or it is ours.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection, Coroutine
from typing import Any

import anyio

from ..backend import Task, new_task, spawn
from ..chunks import Error, Finish, Native, Raw, Step, Text, Upstream, Usage
from ..errors import LLMStreamError
from ..lifecycle import Lifecycle
from ..options import StreamOptions
from ..producers import Steps, discard, name_of, open_steps
from ..sources import Reading, as_exception, public_error
from .blocking import Watched
from .limits import Limits
from .log import Log
from .result import Outcome
from .run import Audience, Run, Stopped

__all__ = ["Generation"]

logger = logging.getLogger("asgi_llmstream")

# A producer that never suspends lets others run after so many chunks, whoever reads.
_LONGEST_RUN = 256

_NOBODY = Audience()

# What has no words for a client: beside these, a stream without an envelope is the producer's own.
_WORDLESS = (Error, Finish, Native, Raw, Step, Upstream, Usage)


class Generation(Run):
    """A run whose maker is a producer.

    Args:
        producer: see `producers.Producer`.
        options: intervals, deadlines and policies.
        audience: who is told of it.
        id: names the run.
        model: goes into the first event.
        carries_raw: whether the producer's own server-sent events can go out.
        has_envelope: whether anything else can.
        offered: the names of the tools that the client runs, see `Lifecycle`.
        log: see `Run`.
    """

    def __init__(
        self,
        producer: object,
        options: StreamOptions,
        audience: Audience = _NOBODY,
        *,
        id: str,
        model: str,
        carries_raw: bool = False,
        has_envelope: bool = True,
        offered: Collection[str] | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__(options, audience, log=log)
        self._producer = producer
        self.name = name_of(producer)
        self._carries_raw = carries_raw
        self._has_envelope = has_envelope
        self._time = options.clock.time
        self._lifecycle = Lifecycle(id=id, created=int(self._time()), model=model, offered=offered)
        self._reading = Reading()
        self._limits = Limits.of(options)
        self._task: Task = new_task()

    def start(self) -> None:
        """Start the producer's task, in a copy of the caller's context."""
        self.begin()
        self.emit(self._lifecycle.start())
        self._task.start(self._run)

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        if self.outcome is None:
            self.end(outcome, self._lifecycle.abort(outcome), cause)
            self._closing.cancel()

    def fail(self, error: LLMStreamError) -> None:
        if self.outcome is None:
            logger.warning("%s: the stream was ended: %s", self.where, error)
            self.end("error", self._lifecycle.fail(error), error)
            self._closing.cancel()

    def overrule(self, outcome: Outcome, cause: BaseException | None = None) -> None:
        """Take over an end that is not ours: what is not published never was."""
        if self.outcome is None:
            self.end(outcome, [])
            self._closing.cancel()
        self.outcome, self.cause = outcome, cause
        self.log.retract()

    # The producer's task.

    async def _run(self) -> None:
        self._closing.task = self._task
        try:
            if self.outcome is None:
                await self._watched(self._produce())
            else:
                await discard(self._producer)  # stopped before its first step
        except BaseException as error:
            if error is not self.cause:
                self._raised(error)
            if isinstance(error, anyio.get_cancelled_exc_class()) and not self._closing.cancels:
                raise  # a cancellation that is not ours to swallow
        finally:
            with self._task.shield():
                await self.settle()

    def _watched(self, main: Coroutine[Any, Any, None]) -> Awaitable[None]:
        limit = self.options.block_warning
        return main if limit is None else Watched(main, self.name, self._now, limit)

    async def _produce(self) -> None:
        self.deadlines.asked_at = self._now()
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
        now, log, deadlines = self._now, self.log, self.deadlines
        unbroken = 0
        while True:
            try:
                item = await advance
            except StopAsyncIteration:
                if self.outcome is None:
                    self._complete()
                return
            if self.outcome is not None:
                return  # it went on although it was cancelled: what it says is too late
            try:
                self._take(item)
            except (TypeError, ValueError) as error:
                deadlines.asked_at = now()
                raise await steps.blame(error) from None
            if self.outcome is not None:
                return
            unbroken += 1
            if log.full or unbroken >= _LONGEST_RUN:
                deadlines.asked_at = None
                unbroken = 0
                try:
                    await log.room()
                except BaseException as error:
                    if steps.throw is None:
                        raise
                    deadlines.asked_at = now()
                    advance = steps.throw(error)
                    continue
            deadlines.asked_at = now()
            advance = steps.advance()

    def _complete(self) -> None:
        for rest in self._reading.end():
            self._take(rest)
        self.end("finished", self._lifecycle.finish(int(self._time())))

    def _take(self, item: object) -> None:
        feed, reading = self._lifecycle.feed, self._reading
        for chunk in (
            (Text(item),) if type(item) is str and not reading.cut else reading.chunks_of(item)
        ):
            kind = type(chunk)
            if kind is Raw and not self._carries_raw:
                raise TypeError(
                    "a ServerSentEvent goes out on the plain format only, as it is: use "
                    "format=Events(), or yield what every format has a word for, as Text or Data"
                )
            if not self._has_envelope and not isinstance(chunk, _WORDLESS):
                raise TypeError(
                    f"Events(envelope=False) sends ServerSentEvents only, and no {kind.__name__}: "
                    "yield those, or leave the envelope on"
                )
            events = feed(chunk)
            if not events:
                continue
            if kind is not Text and isinstance(chunk, Error):
                self.end("error", events, as_exception(chunk))
                return
            # Usage and what is the provider's own say nothing yet.
            if self.deadlines.spoke_at is None and kind not in (Usage, Native):
                self.spoke()
            self.emit(events)
            if self._limits is not None:
                self._limits.check(events)

    def _raised(self, error: BaseException) -> None:
        if self.outcome is None:
            self._fail(error)
        elif not self._closing.cancels or isinstance(error, Exception):
            logger.error(
                "%s: the producer raised after its stream had ended", self.where, exc_info=error
            )

    def _fail(self, error: BaseException) -> None:
        try:
            shown = public_error(error)
        except Exception:  # it cannot even say what it is
            logger.exception("%s does not say what may be shown", type(error).__name__)
            shown = LLMStreamError()
        if error is shown:
            level = logging.INFO if shown.status < 500 else logging.WARNING
            logger.log(
                level, "%s: the producer raised %s: %s", self.where, type(error).__name__, error
            )
        else:
            logger.error("%s: the producer raised", self.where, exc_info=error)
        self.end("error", self._lifecycle.fail(shown), error)

    # Closing.

    def _give_up(self) -> None:
        logger.error(
            "a producer ignored two cancellations for %s s each and was abandoned; "
            "it may still run: %s",
            self.options.close_timeout,
            self.where,
        )
        spawn(self.settle, self._context)
