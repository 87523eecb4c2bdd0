"""A foreign run: an application that streams by itself, below the middleware."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from traceback import walk_tb
from typing import Literal

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from ..asgi.admission import Admitted
from ..asgi.delivery import Delivery
from ..asgi.http import ASGIMessage, Scope
from ..backend import OwnTask, wakeup
from ..errors import LimitExceeded, LLMStreamError
from ..events import BytesAdded, Event, RunAborted, RunFinished
from ..runtime import Closing, Outcome, Run, Stopped, draining
from .receive import Receiver

__all__ = ["LATENCY", "ForeignRun", "tell_to_leave"]

logger = logging.getLogger("asgi_llmstream")

LATENCY = 0.1
"""Seconds for which the end is kept back, while the application has not returned; see `raised`.
Deadlines are as much later: what runs below may have the same, and a word for it."""


class ForeignRun(Run):
    """A run whose maker is an application. Its log holds the pieces that it sends.

    Args:
        admitted: its options, and who is told of it.
        scope: of the request.
        receiver: the application's.
        task: the application's.
    """

    def __init__(self, admitted: Admitted, scope: Scope, receiver: Receiver, task: OwnTask) -> None:
        # How it is silent is its own affair.
        options = replace(admitted.options, first_chunk_timeout=None)
        super().__init__(options, admitted.audience, lag=LATENCY)
        self._scope = scope
        self._receiver = receiver
        self._closing.task = task
        self._finish_by = math.inf  # when the end that it has said goes out
        self._delivery: Delivery | None = None
        # Applications may send in several tasks, and for room only one can wait.
        self._one_waits = anyio.Lock(fast_acquire=True)
        self._size_left = self.options.max_stream_size or math.inf
        self._is_closed = False
        self._closed = wakeup()

    @property
    def is_listening(self) -> bool:
        """True until it ends, in its own words or by ours."""
        return self.outcome is None and self._finish_by == math.inf

    async def deliver(self, delivery: Delivery) -> None:
        """Deliver it, and settle it: to be run in a task of its own."""
        self._delivery = delivery
        try:
            try:
                await delivery.run(self._receiver.wait_for_disconnect)
            except Exception:
                logger.warning("send raised: the stream is over", exc_info=True)
            while not self._is_closed and self.outcome != "finished":
                await self._closed.wait()
            await self.settle()
        except BaseException:  # the event loop ends
            self._abort("cancelled")
            with anyio.CancelScope(shield=True):
                await self.settle()
        finally:
            self._delivery = None  # a cycle
            self._finish()

    def emit(self, events: Sequence[Event]) -> None:
        """Write events to the log: of the message nothing is known."""
        self.log.append(events)

    # The application's side.

    async def push(self, message: ASGIMessage) -> None:
        """Take what it sends.

        Raises:
            RuntimeError: if that is nothing that may follow the start of a response.
        """
        if message["type"] != "http.response.body":
            raise RuntimeError(f"an event stream cannot go on with {message['type']!r}")
        if body := bytes(message.get("body", b"")):
            self._size_left -= len(body)
            if self._size_left < 0:
                self.fail(LimitExceeded())
                return
            if self.deadlines.spoke_at is None:
                self.spoke()
            self.emit([BytesAdded(self.log.last + 1, body)])
        if message.get("more_body", False):
            async with self._one_waits:
                await self.log.room()
        elif self._receiver.client_has_left:
            self.stop(_who_left())  # which it knew before we did, and came to an end itself
        else:
            self._finish_by = self._now() + LATENCY
            self._ticker.look(self, self._finish_by)
            self._receiver.tell()
            await anyio.lowlevel.checkpoint()

    def raised(self, error: BaseException) -> None:
        """Note what it raised: after its last message that is none of the client's business,
        with one exception. Starlette's BaseHTTPMiddleware ends what broke off first, as if it
        were whole, and raises then."""
        has_ended = self._finish_by < math.inf
        if not isinstance(error, Exception):
            if not has_ended:
                self._abort("cancelled", error)
                self._give_up_delivery()
        elif not has_ended or _came_through(error, "starlette.middleware.base"):
            self._abort(_who_left() if self._receiver.client_has_left else "error", error)

    async def conclude(self) -> None:
        """Wait, behind its return, until what it said is delivered and everybody was told."""
        self._closing.over()
        if self._finish_by < math.inf:
            self._end_well()
        self._abort(self._outcome_of_its_own())
        self._set_closed()
        try:
            await self.wait()
        except anyio.get_cancelled_exc_class():
            self._give_up_delivery()
            with anyio.CancelScope(shield=True):
                await self.wait()
            raise

    def _outcome_of_its_own(self) -> Stopped:
        """Tell why it returned in mid-stream. It may have heard of the reason before we did."""
        return _who_left() if self._receiver.client_has_left or draining() else "error"

    def _set_closed(self) -> None:
        self._is_closed = True
        self._closed.set()

    def _give_up_delivery(self) -> None:
        if self._delivery is not None:
            self._delivery.give_up()

    def _end_well(self) -> None:
        if self.outcome is None:
            self.end("finished", [RunFinished(self.log.last + 1, None, "stop")])
            self._closed.set()  # its delivery need not wait until it returns

    def _abort(self, outcome: Outcome, cause: BaseException | None = None) -> None:
        if self.outcome is None:
            self.end(outcome, [RunAborted(self.log.last + 1, None, outcome)], cause)

    # The delivery's side, and the ticker's.

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        """Tell the application, by its `receive`. Time to look there is what it has after its
        client left; it would not look for an end of our making."""
        if self._finish_by < math.inf:
            self._end_well()  # it has said all that it had to say, and may have more to do
        else:
            self._abort(outcome, cause)
            at_once = outcome in ("error", "shutdown")
            tell_to_leave(self._receiver, self._closing, at_once=at_once)

    def fail(self, error: LLMStreamError) -> None:
        """Break the stream off: no word for an error is known to every client of such streams."""
        if self.outcome is None:
            logger.warning("%s: the stream was ended: %s", self.where, error)
        self.stop("error", error)

    def tick(self, now: float) -> float:
        if now >= self._finish_by:
            self._end_well()
        return min(self._finish_by, super().tick(now)) if self.outcome is None else math.inf

    def _give_up(self) -> None:
        log_given_up(self.options.close_timeout, self._scope)
        self._set_closed()

    @property
    def _pieces(self) -> int:
        return self.log.last - 1


def tell_to_leave(receiver: Receiver, closing: Closing, *, at_once: bool) -> None:
    """Have an application return: by its `receive`, or else by a cancellation.

    Args:
        at_once: cancel it soon, if it does not listen.
    """
    is_asked = receiver.is_asked
    receiver.tell()
    closing.wait(0 if at_once and not is_asked else None)


def _who_left() -> Literal["disconnected", "shutdown"]:
    """Return what a disconnect is: uvicorn 0.43 and 0.44 report one when they are told to end."""
    return "shutdown" if draining() else "disconnected"


def log_given_up(close_timeout: float, scope: Scope) -> None:
    logger.error(
        "an application ignored two cancellations for %s s each, and holds up its server: %s",
        close_timeout,
        scope.get("path"),
    )


def _came_through(error: BaseException, module: str) -> bool:
    """Return whether code of this module raised it, or passed it on."""
    frames = walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == module for frame, _ in frames)
