"""`LLMStreamMiddleware`: heartbeats, limits and honest ends for streams that exist already.

An application runs as it always did, in the server's task, and what is no event stream passes
through untouched. When it begins one, a `StreamDelivery` takes over the server's `send`, and the
application's own `send` writes to its tail.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar

import anyio
import anyio.lowlevel

from .backend import spawn, wakeup
from .chunks import Raw
from .drain import draining, stream_began, stream_ended
from .errors import LLMStreamError
from .events import Event, ItemAdded, RunAborted, RunFinished, Terminal
from .formats.base import Encoder
from .http import Receive, Scope, Send
from .options import StreamOptions
from .result import Outcome
from .runtime.delivery import StreamDelivery
from .runtime.generation import Stopped
from .runtime.tail import Tail
from .runtime.ticker import Ticker
from .sse import HEARTBEAT

__all__ = ["SCOPE_KEY", "LLMStreamMiddleware"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Message = MutableMapping[str, Any]

SCOPE_KEY = "asgi_llmstream.middleware"
"""Where a stream of ours below the middleware finds it, to take over its options."""

_ANTI_BUFFERING = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class LLMStreamMiddleware:
    """Wraps an ASGI application whose responses may be `text/event-stream`.

    Event streams get heartbeats between their events, headers against buffering, `send_timeout`,
    `total_timeout` and the drain. An application that raises or returns in mid-stream aborts the
    connection instead of ending it cleanly, which a client would take for the end. Everything
    else passes through as it is: other responses, event streams with a content encoding, web
    sockets. Streams of this package below it take its options unless they have their own.

    Args:
        app: the application.
        options: `heartbeat_interval`, `send_timeout`, `total_timeout`, `close_timeout`,
            `shutdown_grace` and the buffer sizes count, in seconds and bytes.
    """

    def __init__(self, app: App, options: StreamOptions = StreamOptions()) -> None:  # noqa: B008
        self._app = app
        self.options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, as ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        relay = _Relay(self.options, receive, send)
        scope[SCOPE_KEY] = relay
        await relay.call(self._app, scope)


class _AsIs:
    """The format of streams that were encoded elsewhere."""

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = True

    def encoder(self) -> Encoder:
        def encode(event: Event) -> bytes:
            is_raw = isinstance(event, ItemAdded) and isinstance(event.item, Raw)
            return event.item.data if is_raw else b""  # type: ignore[attr-defined]

        return encode

    def error_body(self, error: LLMStreamError) -> bytes:
        raise NotImplementedError  # the application has begun to answer


class _Relay:
    """One request: the application on one side, and once it streams, a delivery on the other."""

    def __init__(self, options: StreamOptions, receive: Receive, send: Send) -> None:
        self.options = options
        self.tail = Tail(options.buffer_events, options.buffer_size)
        self.error: LLMStreamError | None = None
        self.disconnected = False
        self.began_to_answer = True
        self.outcome: Outcome | None = None
        self._receiver = _Receiver(receive)
        self._raw_send = send
        self._passes = False
        self._streams = False
        self._seq = 0
        self._began = self._drain_by = self._close_by = math.inf
        self._scope = anyio.CancelScope()
        self._app_is_over = False
        self._app_ended = wakeup()
        self._delivered = False
        self._delivery_ended = wakeup()
        self._delivery_error: BaseException | None = None

    def stand_aside(self) -> None:
        """A stream of ours answers: it does all this itself."""
        self._passes = True

    async def call(self, app: App, scope: Scope) -> None:
        """Run the application to its end, and deliver what it streams."""
        try:
            with self._scope:
                await app(scope, self._receiver.receive, self._send)
        except BaseException as error:
            if self._streams:
                self._abort("error" if isinstance(error, Exception) else "cancelled")
            raise
        finally:
            if self._streams:
                await self._conclude()

    async def _conclude(self) -> None:
        self._abort("error")  # unless it sent its last message
        self._app_is_over = True
        self._app_ended.set()
        with anyio.CancelScope(shield=True):
            while not self._delivered:
                await self._delivery_ended.wait()
        self._ticker.remove(self)
        stream_ended()

    async def wait(self) -> None:
        while not self._app_is_over:
            await self._app_ended.wait()

    # The application's side.

    async def _send(self, message: Message) -> None:
        if self._streams:
            await self._push(message)
        elif not self._passes and message["type"] == "http.response.start" and _is_ours(message):
            self._begin(message)
        else:
            await self._raw_send(message)

    def _begin(self, start: Message) -> None:
        self._streams = True
        headers = [*start.get("headers", ())]
        names = {name.lower() for name, _ in headers}
        headers += [pair for pair in _ANTI_BUFFERING if pair[0] not in names]
        delivery = _RelayDelivery(
            self, _AsIs(), self.options, self._raw_send, status=start["status"], headers=headers
        )
        stream_began(self.options.longest_end)
        self._began = self.options.clock.now()
        self._ticker = Ticker.current(self.options.clock)
        self._ticker.add(self, self._next_look())
        spawn(lambda: self._deliver(delivery))

    async def _deliver(self, delivery: StreamDelivery) -> None:
        try:
            await delivery.run(self._receiver.wait_for_disconnect)
        except BaseException:
            pass  # the server's `send` failed, and the application has been told
        finally:
            self._delivered = True
            self._delivery_ended.set()

    async def _push(self, message: Message) -> None:
        if message["type"] != "http.response.body" or self.outcome is not None:
            await anyio.lowlevel.checkpoint()  # it may never suspend otherwise
            return
        if body := message.get("body", b""):
            self.tail.append([ItemAdded(self._next(), Raw(bytes(body)))])
        if not message.get("more_body", False):
            self._end("finished", RunFinished(self._next(), None, "stop"))
        else:
            await self.tail.room()

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _end(self, outcome: Outcome, event: Terminal) -> None:
        self.outcome = outcome
        self.tail.append([event])

    def _abort(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self._end(outcome, RunAborted(self._next(), None, outcome))

    # The delivery's side, and the ticker's.

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        """End the stream; the application is told by its `receive`, and cancelled if it stays."""
        self._abort(outcome)
        self._receiver.leave()
        if self._close_by == math.inf:
            self._close_by = self.options.clock.now() + self.options.close_timeout
            self._ticker.look(self, self._close_by)

    def fail(self, error: LLMStreamError) -> None:
        """There is no word for an error that every client of a foreign stream would know."""
        self.stop("error", error)

    def tick(self, now: float) -> float:
        options = self.options
        if draining() and options.shutdown_grace is not None:
            self._drain_by = min(self._drain_by, now + options.shutdown_grace)
        if self.outcome is None and now >= self._drain_by:
            self.stop("shutdown")
        if self.outcome is None and now >= self._total():
            self.stop("error")
        if now >= self._close_by:
            self._close_by = math.inf
            self._scope.cancel()
        return self._next_look()

    def _total(self) -> float:
        return self._began + (self.options.total_timeout or math.inf)

    def _next_look(self) -> float:
        ends = (self._drain_by, self._total()) if self.outcome is None else ()
        return min(self._close_by, *ends, math.inf)


class _RelayDelivery(StreamDelivery):
    """Heartbeats only between events, and no final message where the application sent none."""

    _end_of_event = b"\n\n"

    async def _send_body(self, body: bytes, more: bool = True) -> None:
        if body and body is not HEARTBEAT:
            # Long enough to hold the longest end of an event, CRLF CRLF.
            self._end_of_event = (self._end_of_event + body)[-4:]
        if more or self._run.outcome == "finished":
            await super()._send_body(body, more)
        elif body:
            await super()._send_body(body, True)

    @property
    def _between_events(self) -> bool:
        return self._end_of_event.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))


class _Receiver:
    """One `receive` for two readers: the application, and the watch for a disconnect."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._reading = False
        self._messages: deque[Message] = deque()
        self._gone: Message | None = None
        self._waiting = [wakeup(), wakeup()]

    async def receive(self) -> Message:
        """The application's."""
        while True:
            if self._messages:
                return self._messages.popleft()
            if self._gone is not None:
                return self._gone
            await self._read_or_wait(0)

    async def wait_for_disconnect(self) -> Message:
        """The watch's: passes over everything else."""
        while self._gone is None:
            await self._read_or_wait(1)
        return self._gone

    def leave(self) -> None:
        """Tell the application that the client has gone, whether or not it has."""
        if self._gone is None:
            self._gone = {"type": "http.disconnect"}
        self._wake()

    async def _read_or_wait(self, reader: int) -> None:
        if self._reading:
            await self._waiting[reader].wait()
            return
        self._reading = True
        try:
            message = await self._receive()
        finally:
            self._reading = False
            self._wake()
        if message["type"] == "http.disconnect":
            self._gone = message
        else:
            self._messages.append(message)

    def _wake(self) -> None:
        for waiting in self._waiting:
            waiting.set()


def _is_ours(start: Message) -> bool:
    """Whether it begins an event stream that comments can be put into."""
    content_type, encoding = b"", b"identity"
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-type":
            content_type = value
        elif name.lower() == b"content-encoding":
            encoding = value
    essence = content_type.split(b";")[0].strip().lower()
    return essence == b"text/event-stream" and encoding.strip().lower() == b"identity"
