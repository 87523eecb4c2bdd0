"""Delivery: follows the tail, encodes, and is the only owner of `send`.

It runs in the server's own task. A disconnect, `send_timeout` and the server's own cancellation
are all that interrupt a `send`, and nothing is sent after that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, MutableMapping
from typing import Any, Literal, Protocol

import anyio
import anyio.lowlevel

from ..backend import spawn
from ..errors import LimitExceeded, LLMStreamError, ShuttingDown
from ..events import Terminal
from ..formats.base import Format, WholeFormat
from ..options import StreamOptions
from ..runtime import Generation, Outcome, Stopped, Tail, Ticker
from ..sse import HEARTBEAT
from .http import RawHeaders, Receive, Send, json_headers

__all__ = [
    "Delivery",
    "Run",
    "StreamDelivery",
    "WholeDelivery",
    "conclude",
]

logger = logging.getLogger("asgi_llmstream")


# How long the last words to a client may take when the server cancels the request.
_LAST_WORDS = 1.0


class Run(Protocol):
    """What a delivery delivers: a `Generation`, or an application that streams by itself.

    Attributes:
        tail: its events.
        outcome: how it ended; None while it goes on.
        error: what the client may read of its failure.
        began_to_answer: whether the headers need wait no longer.
        disconnected: set by the delivery, when the client has left.
    """

    tail: Tail
    error: LLMStreamError | None
    disconnected: bool

    @property
    def outcome(self) -> Outcome | None: ...

    @property
    def began_to_answer(self) -> bool: ...

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        """End it from outside; returns at once."""

    def fail(self, error: LLMStreamError) -> None:
        """The same, with an error that the client is told, if there is a way to."""

    async def wait(self) -> None:
        """Wait until it is over, and everybody was told."""


class Delivery:
    """One response, from its headers to its end.

    Args:
        run: what is delivered.
        format: how.
        options: intervals, deadlines and policies.
        send: the server's; nobody else may call it.
        status: of the response, when the answer begins well.
        headers: of the response, whole.
    """

    def __init__(
        self,
        run: Run,
        format: Format,
        options: StreamOptions,
        send: Send,
        *,
        status: int = 200,
        headers: RawHeaders = (),
    ) -> None:
        self._run = run
        self._format = format
        self._options = options
        self._raw_send = send
        self._status = status
        self._headers = headers
        self._clock = options.clock
        self._ticker = Ticker.current(options.clock)
        self._scope = anyio.CancelScope()
        self._began = self._clock.now()
        self._sending_since: float | None = None
        self._sent_at = self._began
        self._committed = False
        self._ending = False
        self._over = False

    async def run(self, receive: Receive) -> None:
        """Deliver, then wait until the producer is closed and `on_finish` has run.

        Returns without a final body message when the client has left, which on every server
        closes the connection.
        """
        run = self._run
        self._ticker.add(self, self._began + self._patience)
        watcher = spawn(lambda: self._watch(receive))
        try:
            with self._scope:
                await self._deliver()
                self._over = True
        except anyio.get_cancelled_exc_class():
            run.stop("cancelled")
            await self._say_last_words()
            raise
        except BaseException as error:
            run.disconnected = True  # whatever the producer did, the client has no end of it
            run.stop("error", error)
            raise
        finally:
            self._over = True
            watcher.cancel()
            self._ticker.remove(self)
            run.tail.leave()
            await conclude(run)

    async def _deliver(self) -> None:
        raise NotImplementedError

    async def _say_last_words(self) -> None:
        """End visibly although the server wants its task back at once."""

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._over:
            # A task that was woken already is not cancelled any more, and must still not send.
            await anyio.sleep_forever()
        self._sending_since = self._clock.now()
        self._ending = not message.get("more_body", True)
        try:
            await self._raw_send(message)
        except OSError:
            # ASGI 2.4 servers say so when the client has gone; it is a disconnect like others.
            self._client_left("disconnected")
            await anyio.lowlevel.checkpoint_if_cancelled()
        self._sent_at = self._clock.now()
        self._sending_since = None

    async def _start(self, status: int, headers: RawHeaders) -> None:
        self._committed = True
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers]})

    async def _send_whole(self, status: int, body: bytes, headers: RawHeaders = ()) -> None:
        await self._start(status, json_headers(body, headers))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_error(self) -> None:
        """The failure before the first chunk, as a real HTTP status."""
        error: LLMStreamError = self._run.error or ShuttingDown()
        await self._send_whole(error.status, self._format.error_body(error), error.headers)

    def give_up(self) -> None:
        """Send nothing more, also not what is stuck in `send`."""
        self._client_left("stalled")

    def _client_left(self, how: Literal["disconnected", "stalled"]) -> None:
        if self._over or (self._ending and how == "disconnected"):
            return  # hypercorn says so while the last `send` has not returned yet
        self._over = True
        if self._options.on_disconnect == "cancel":
            self._run.stop(how)
        self._run.disconnected = True
        self._run.tail.leave()
        self._scope.cancel()

    async def _watch(self, receive: Receive) -> None:
        """Read `receive` until the client leaves. Most servers' `send` never says so."""
        try:
            while (await receive())["type"] != "http.disconnect":
                await anyio.lowlevel.checkpoint()
        except Exception:
            logger.warning("receive raised: taken for a disconnect", exc_info=True)
        self._client_left("disconnected")

    def tick(self, now: float) -> float:
        timeout, since = self._options.send_timeout, self._sending_since
        if timeout is None or since is None:
            return now + self._patience
        if now < since + timeout:
            return min(since + timeout, now + self._patience)
        self._client_left("stalled")
        return math.inf

    @property
    def _patience(self) -> float:
        """No deadline can begin and pass within this time, so looking as often is enough."""
        timeout = self._options.send_timeout
        return math.inf if timeout is None else timeout


class WholeDelivery(Delivery):
    """The answer in one piece, for clients that did not ask for a stream."""

    _run: Generation
    _format: WholeFormat

    async def _deliver(self) -> None:
        run = self._run
        run.tail.keep_none()
        while run.outcome is None:
            await run.tail.wait()
        if run.outcome != "finished":
            await self._send_error()
            return
        body = self._format.whole_body(run.started, run.message)
        await self._send_whole(self._status, body, self._headers)

    async def _say_last_words(self) -> None:
        if not self._committed:
            with anyio.move_on_after(_LAST_WORDS, shield=True):
                await self._send_error()


class StreamDelivery(Delivery):
    """The answer as an event stream."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._encode = self._format.encoder()
        self._commit_due = False
        self._heartbeat_due = False
        self._room_left = self._options.max_stream_size or math.inf

    async def _deliver(self) -> None:
        run = self._run
        while not (run.began_to_answer or run.outcome or self._commit_due):
            await run.tail.wait()
        broken = run.outcome not in (None, "finished")
        if broken and not run.began_to_answer:
            await self._send_error()
            return
        await self._start(self._status, self._headers)
        await self._follow()

    async def _follow(self) -> None:
        tail = self._run.tail
        while True:
            if tail.ready:
                body, more = self._take_ready()
                if body or not more:
                    await self._send_body(body, more)
                if not more:
                    return
            elif self._heartbeat_due and self._between_events:
                await self._send_body(HEARTBEAT)
            else:
                await tail.wait()

    @property
    def _between_events(self) -> bool:
        """Whether a comment may be sent: our encoders write whole events."""
        return True

    def _take_ready(self) -> tuple[bytes, bool]:
        """Everything that is ready, for one `send`, and whether there is more to come."""
        events = self._run.tail.take()
        encode = self._encode
        # Mostly it is one token.
        body = encode(events[0]) if len(events) == 1 else b"".join(map(encode, events))
        self._room_left -= len(body)
        if self._room_left < 0:
            self._run.fail(LimitExceeded())  # which adds the last event, if there is none yet
        return body, not isinstance(events[-1], Terminal)

    def _send_body(self, body: bytes, more: bool = True) -> Awaitable[None]:
        self._heartbeat_due = False
        return self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _say_last_words(self) -> None:
        if self._over or self._sending_since is not None:
            return  # the interrupted `send` was the last
        with anyio.move_on_after(_LAST_WORDS, shield=True):
            if not self._committed:
                await self._send_error()
            elif self._run.tail.ready:
                await self._send_body(*self._take_ready())

    def tick(self, now: float) -> float:
        options, due = self._options, super().tick(now)
        since, limit = self._began, options.commit_after
        if self._committed:
            since, limit = self._sent_at, options.heartbeat_interval
        if limit is None or self._sending_since is not None:
            return due
        if now < since + limit:
            return min(due, since + limit)
        if self._committed:
            self._heartbeat_due = True
        else:
            self._commit_due = True
        self._run.tail.wake()
        return due

    @property
    def _patience(self) -> float:
        options = self._options
        limits = (
            None if self._committed else options.commit_after,
            options.heartbeat_interval,
            options.send_timeout,
        )
        return min((limit for limit in limits if limit is not None), default=math.inf)


async def conclude(run: Run) -> None:
    """Wait until a run is over, whatever is done to the waiting task meanwhile."""
    try:
        await run.wait()
    except anyio.get_cancelled_exc_class():
        run.stop("cancelled")
        with anyio.CancelScope(shield=True):
            await run.wait()
        raise
