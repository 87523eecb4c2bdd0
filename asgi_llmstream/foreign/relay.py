"""A relay: one request to an application whose event stream others write.

The application runs as it always did, in the server's task, and what is no event stream passes
through untouched. When it begins one, a `StreamDelivery` takes over the server's `send`, and the
application's own `send` writes to its tail.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from traceback import walk_tb
from typing import Literal

import anyio
import anyio.lowlevel

from ..asgi.delivery import StreamDelivery
from ..asgi.http import App, Receive, Scope, Send, send_text
from ..asgi.http import Message as ASGIMessage
from ..asgi.slots import Slots
from ..backend import own_task, spawn, wakeup
from ..chunks import Raw
from ..errors import LimitExceeded, LLMStreamError, Overloaded, ShuttingDown
from ..events import ItemAdded, RunAborted, RunFinished, Terminal
from ..message import Message
from ..options import DEFAULT_OPTIONS, StreamOptions
from ..runtime import (
    Closing,
    Deadlines,
    OnFinish,
    Outcome,
    Stopped,
    StreamResult,
    Tail,
    Ticker,
    draining,
    stream_began,
    stream_ended,
    tell,
)
from .framing import AsIs, AsIsDelivery
from .receive import Receiver

__all__ = ["SCOPE_KEY", "Relay", "options_for"]

logger = logging.getLogger("asgi_llmstream")

SCOPE_KEY = "asgi_llmstream.relay"
"""Where a stream of ours finds the relay that it runs below."""

# Seconds for which the end is kept back, while the application has not returned; see `_raised`.
# Deadlines are as much later: what runs below may have the same, and a word for it.
_LATENCY = 0.1

_ANTI_BUFFERING = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


def options_for(scope: Scope, own: StreamOptions) -> StreamOptions:
    """What counts for a request to something of ours: the middleware's, if it was given none."""
    relay: Relay | None = scope.get(SCOPE_KEY)
    return own if relay is None or own is not DEFAULT_OPTIONS else relay.options


class Relay:
    """The `Run` of a foreign stream.

    Args:
        scope: of the request, as are `receive` and `send`.
        options: intervals, deadlines and policies.
        slots: how many streams there may be beside it.
        on_finish: called once, if there is a stream.
    """

    def __init__(
        self,
        scope: Scope,
        options: StreamOptions,
        receive: Receive,
        send: Send,
        slots: Slots,
        on_finish: OnFinish | None,
    ) -> None:
        self.options = options
        self.tail = Tail(options.buffer_events, options.buffer_size)
        self.error: LLMStreamError | None = None
        self.disconnected = False
        self.began_to_answer = True
        self.outcome: Outcome | None = None
        self._scope = scope
        self._outer: Relay | None = scope.get(SCOPE_KEY)
        scope[SCOPE_KEY] = self
        self._receiver = Receiver(receive)
        self._server_send = send
        self._slots = slots
        self._on_finish = on_finish
        # What becomes of the response: it is none of ours, ours to deliver, or not let through.
        self._way: Literal["pass", "stream", "refuse"] = "pass"
        self._stands_aside = False
        self._seq = 0
        self._cause: BaseException | None = None
        self._finish_by = math.inf
        self._closing = Closing(options, self._give_up)
        self._held = ExitStack()
        self._app_is_over = False
        self._over = wakeup()
        self._delivered = False
        self._delivery_ended = wakeup()

    @contextmanager
    def stand_aside(self) -> Iterator[None]:
        """A stream of ours answers, as long as this is entered: it does all this itself.

        Raises:
            Overloaded: if there are too many streams.
        """
        self._stands_aside = True
        with ExitStack() as held:
            if self._outer is not None:
                held.enter_context(self._outer.stand_aside())
            held.enter_context(self._slots.one())
            yield

    def and_finish(self, on_finish: OnFinish | None) -> OnFinish:
        """Calls the stream's own, ours, and that of a relay around us."""

        async def both(result: StreamResult) -> None:
            await tell(on_finish, result)
            await tell(self._on_finish, result)

        return both if self._outer is None else self._outer.and_finish(both)

    async def call(self, app: App) -> None:
        """Run the application to its end, and deliver what it streams."""
        try:
            with own_task() as self._closing.task:
                await app(self._scope, self._receiver.receive, self._send)
        except BaseException as error:
            if self._way == "stream":
                self._raised(error)
            if not _told_by_us(error):
                raise
        finally:
            self._closing.over()
            try:
                if self._way == "stream":
                    await self._conclude()
            finally:
                self._held.close()
                self._receiver.close()
                # A cycle otherwise, which would stay until the garbage is collected.
                self._restore_scope()

    def _raised(self, error: BaseException) -> None:
        """After its last message that is none of the client's business, with one exception:
        Starlette's BaseHTTPMiddleware ends what broke off first, as if it were whole, and
        raises then."""
        has_ended = self._finish_by < math.inf
        if not isinstance(error, Exception):
            if not has_ended:
                self._abort("cancelled", error)
                self._give_up_delivery()
        elif not has_ended or _came_through(error, "starlette.middleware.base"):
            self._abort("disconnected" if self._receiver.client_has_left else "error", error)

    async def _conclude(self) -> None:
        if self._finish_by < math.inf:
            self._finish()
        self._abort(self._outcome_of_its_own())
        self._app_is_over = True
        self._over.set()
        with anyio.CancelScope(shield=True):
            while not self._delivered:
                await self._delivery_ended.wait()

    def _outcome_of_its_own(self) -> Stopped:
        """Why it returned in mid-stream. It may have heard of the reason before we did."""
        if self._receiver.client_has_left:
            return "disconnected"
        return "shutdown" if draining() else "error"

    def _restore_scope(self) -> None:
        if self._outer is None:
            self._scope.pop(SCOPE_KEY, None)
        else:
            self._scope[SCOPE_KEY] = self._outer

    async def wait(self) -> None:
        while not self._app_is_over and self.outcome != "finished":
            await self._over.wait()

    # The application's side.

    async def _send(self, message: ASGIMessage) -> None:
        if self._way == "pass" and self._is_ours(message):
            await self._begin(message)
        elif self._way == "pass":
            await self._server_send(message)
        elif self._way == "stream" and self.outcome is None and self._finish_by == math.inf:
            await self._push(message)
        else:
            await self._send_in_vain()

    def _is_ours(self, message: ASGIMessage) -> bool:
        """Whether it begins an event stream that comments can be put into."""
        if self._stands_aside or message["type"] != "http.response.start":
            return False
        if not isinstance(message.get("headers", ()), list | tuple):
            message["headers"] = list(message["headers"])  # or the server would find it used up
        headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", ())}
        essence = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        return (
            essence == b"text/event-stream"
            and headers.get(b"content-encoding", b"identity").strip().lower() == b"identity"
            and b"content-length" not in headers
            and not message.get("trailers", False)
            and self._scope["method"] != "HEAD"
            and message.get("status") not in (204, 304)
        )

    async def _begin(self, start: ASGIMessage) -> None:
        try:
            if draining():
                raise ShuttingDown(retry_after=1)
            self._held.enter_context(self._slots.one())
        except Overloaded as error:
            await self._refuse(error)
        else:
            self._stream(start)

    async def _refuse(self, error: LLMStreamError) -> None:
        self._way = "refuse"
        await send_text(self._server_send, error.status, error.message, error.headers)
        self._leave(at_once=True)

    def _stream(self, start: ASGIMessage) -> None:
        headers = [(bytes(name), bytes(value)) for name, value in start.get("headers", ())]
        names = {name.lower() for name, _ in headers}
        headers += [pair for pair in _ANTI_BUFFERING if pair[0] not in names]
        options = self.options
        self._delivery: StreamDelivery | None = AsIsDelivery(
            self, AsIs(), options, self._server_send, status=start["status"], headers=headers
        )
        # Applications may send in several tasks, and for room only one can wait.
        self._one_waits = anyio.Lock(fast_acquire=True)
        self._began = self._ended_at = options.clock.now()
        self._spoke_at: float | None = None
        self._size_left = options.max_stream_size or math.inf
        self._deadlines = Deadlines(options, self._began, lag=_LATENCY)
        self._deadlines.spoke_at = self._began  # how it is silent is its own affair
        self._ticker = Ticker.current(options.clock)
        self._ticker.add(self, self._deadlines.next(self._began))
        self._held.callback(self._ticker.remove, self)
        stream_began(options.longest_end)
        self._held.callback(stream_ended)
        self._way = "stream"
        spawn(partial(self._deliver, self._delivery))

    async def _deliver(self, delivery: StreamDelivery) -> None:
        try:
            try:
                await delivery.run(self._receiver.wait_for_disconnect)
            except Exception:
                logger.warning("send raised: the stream is over", exc_info=True)
            await tell(self._on_finish, self._result())
        except BaseException:
            pass  # the event loop ends
        finally:
            self._held.close()
            self._delivery = None  # a cycle
            self._delivered = True
            self._delivery_ended.set()

    async def _push(self, message: ASGIMessage) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"an event stream cannot go on with {message['type']!r}")
        if body := bytes(message.get("body", b"")):
            self._size_left -= len(body)
            if self._size_left < 0:
                self.fail(LimitExceeded())
                return
            if self._spoke_at is None:
                self._spoke_at = self.options.clock.now()
            self.tail.append([ItemAdded(self._next(), Raw(body))])
        if message.get("more_body", False):
            async with self._one_waits:
                await self.tail.room()
        elif self._receiver.client_has_left:
            self.stop("disconnected")  # which it knew before we did, and came to an end itself
        else:
            self._finish_by = self.options.clock.now() + _LATENCY
            self._ticker.look(self, self._finish_by)
            self._receiver.tell()
            await anyio.lowlevel.checkpoint()

    async def _send_in_vain(self) -> None:
        """Nobody reads any more, which is to be told from version 2.4 of the ASGI spec on."""
        if str(self._scope.get("asgi", {}).get("spec_version", "2.0")) >= "2.4":
            raise _Gone("the stream is over")
        await anyio.lowlevel.checkpoint()  # it may never suspend otherwise

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _end(self, outcome: Outcome, event: Terminal) -> None:
        self.outcome = outcome
        self._ended_at = self.options.clock.now()
        self.tail.append([event])
        self._over.set()

    def _finish(self) -> None:
        if self.outcome is None:
            self._end("finished", RunFinished(self._next(), None, "stop"))

    def _abort(self, outcome: Outcome, cause: BaseException | None = None) -> None:
        if self.outcome is None:
            self._cause = cause
            self._end(outcome, RunAborted(self._next(), None, outcome))

    # The delivery's side, and the ticker's.

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        """The application is told by its `receive`, and time to look there is what it has after
        its client left. It would not look for an end of our making."""
        if self._finish_by < math.inf:
            self._finish()  # it has said all that it had to say, and may have more to do
        else:
            self._abort(outcome, cause)
            self._leave(at_once=outcome in ("error", "shutdown"))

    def fail(self, error: LLMStreamError) -> None:
        """There is no word for an error that every client of a foreign stream would know."""
        if self.outcome is None:
            logger.warning("a stream was ended: %s", error)
        self.stop("error", error)

    def tick(self, now: float) -> float:
        if now >= self._finish_by:
            self._finish()
        if self.outcome is None and (error := self._deadlines.passed(now)) is not None:
            if isinstance(error, ShuttingDown):
                self.stop("shutdown")
            else:
                self.fail(error)
        if self.outcome is not None:
            return math.inf
        return min(self._finish_by, self._deadlines.next(now))

    def _leave(self, *, at_once: bool) -> None:
        is_asked = self._receiver.is_asked
        self._receiver.tell()
        self._closing.wait(0 if at_once and not is_asked else None)

    def _give_up(self) -> None:
        logger.error(
            "an application ignored two cancellations for %s s each, and holds up its server: %s",
            self.options.close_timeout,
            self._scope.get("path"),
        )
        self._app_is_over = True
        self._over.set()

    def _give_up_delivery(self) -> None:
        if self._delivery is not None:
            self._delivery.give_up()

    def _result(self) -> StreamResult:
        assert self.outcome is not None
        return StreamResult(
            outcome=self.outcome,
            message=Message(),
            error=self._cause,
            disconnected=self.disconnected,
            time_to_first_chunk=None if self._spoke_at is None else self._spoke_at - self._began,
            duration=self._ended_at - self._began,
            events=self.tail.appended - 1,
            scope=self._scope,
        )


class _Gone(OSError):
    """What `send` raises after the end of a stream."""


def _told_by_us(error: BaseException) -> bool:
    """Whether the application did as it was told: `_Gone`, or what Starlette makes of it."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_told_by_us, error.exceptions))
    return isinstance(error, _Gone) or (
        isinstance(error.__context__, _Gone) and type(error).__name__ == "ClientDisconnect"
    )


def _came_through(error: BaseException, module: str) -> bool:
    """Whether code of this module raised it, or passed it on."""
    frames = walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == module for frame, _ in frames)
