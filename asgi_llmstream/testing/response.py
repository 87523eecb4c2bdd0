"""The answer of an application to one request, as it comes."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from json import loads
from typing import Any, Literal

import anyio
import anyio.lowlevel

from ..asgi.http import Scope
from ..sse import Decoder, ServerSentEvent

__all__ = ["App", "Response"]

# Frameworks type their applications in their own words.
App = Callable[[Any, Any, Any], Awaitable[None]]


class Response:
    """The answer so far, and the client's end of the connection.

    Every wait raises `TimeoutError` after the client's `timeout`.

    Attributes:
        sends: the ASGI messages that reached the client, in order.
        error: what the app raised.
        disconnected: whether the client has left.
        sent_after_disconnect: how many messages the app began to send after that. One or two
            are no fault: it may not have been told yet.
        sent_after_told: how many it began to send after `receive` or `send` had told it.
    """

    def __init__(self, body: bytes, raises: bool, suspends: bool, timeout: float) -> None:
        self.sends: list[Mapping[str, Any]] = []
        self.error: BaseException | None = None
        self.disconnected = False
        self.sent_after_disconnect = 0
        self.sent_after_told = 0
        self._request: bytes | None = body
        self._raises = raises
        self._suspends = suspends
        self._timeout = timeout
        self._violation: AssertionError | None = None
        self._start: Mapping[str, Any] | None = None
        self._chunks: list[bytes] = []
        self._chunks_read = self._chunks_parsed = self._events_read = 0
        self._events: list[ServerSentEvent] = []
        self._decoder = Decoder()
        self._expected: Literal["start", "body", "nothing"] = "start"
        self._complete = self._returned = self._stalled = self._told = False
        self._last_chunk = math.inf
        self._changed = anyio.Event()

    # What has come.

    @property
    def status(self) -> int:
        """The HTTP status. Raises `RuntimeError` before `started`."""
        return int(self._head["status"])

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name. Raises `RuntimeError` before `started`."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._head.get("headers", ()):
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    @property
    def _head(self) -> Mapping[str, Any]:
        if self._start is None:
            raise RuntimeError("the response has not started: await response.started() first")
        return self._start

    @property
    def body(self) -> bytes:
        """All bytes so far."""
        return b"".join(self._chunks)

    def json(self) -> Any:
        """The body so far, decoded. Raises `ValueError` if it is not JSON."""
        return loads(self.body)

    @property
    def comments(self) -> int:
        """The number of comment lines, which is to say heartbeats, that have come so far."""
        self._parse()
        return self._decoder.comments

    @property
    def complete(self) -> bool:
        """True once the final body message has come."""
        return self._complete

    @property
    def aborted(self) -> bool:
        """True if the app returned or raised without the end of what it had started: a server
        then breaks the connection."""
        return self._returned and self._start is not None and self._expected != "nothing"

    async def started(self) -> None:
        """Wait for the status and the headers.

        Raises:
            ConnectionAbortedError: if they cannot come any more.
        """
        await self._until(lambda: self._start is not None or self._over, "the headers")
        if self._start is None:
            raise ConnectionAbortedError("there was no response") from self.error

    async def chunk(self) -> bytes:
        """The body of the next body message, which is one `send` of the app.

        Raises:
            EndOfStream: of anyio, if there is none and none will come.
            ConnectionAbortedError: the same, and the app left without the end.
        """
        await self._until(lambda: len(self._chunks) > self._chunks_read or self._over, "a chunk")
        if self._chunks_read == len(self._chunks):
            raise self._ending()
        self._chunks_read += 1
        return self._chunks[self._chunks_read - 1]

    async def event(self) -> ServerSentEvent:
        """The next event, parsed as it comes; independent of `chunk`. Raises as `chunk` does."""
        await self._until(lambda: self._parse() > self._events_read or self._over, "an event")
        if self._events_read == len(self._events):
            raise self._ending()
        self._events_read += 1
        return self._events[self._events_read - 1]

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """The events from here to the end.

        Raises:
            ConnectionAbortedError: if the app left without the end; what came before is
                yielded first.
        """
        while True:
            try:
                event = await self.event()
            except anyio.EndOfStream:
                return
            yield event

    async def read_to_end(self) -> bytes:
        """Wait until nothing more will come; the whole body. An abort does not raise here."""
        await self._until(lambda: self._over, "the end of the response")
        return self.body

    async def returned(self) -> None:
        """Wait until the app has returned or raised."""
        await self._until(lambda: self._returned, "the app to return")

    # What the client does.

    def disconnect(self) -> None:
        """Leave: `receive` says so from now on, and what is sent is dropped."""
        self.disconnected = True
        self._notify()

    def disconnect_after(self, chunks: int) -> None:
        """Leave inside the `send` of the body message of this number, counted from 1."""
        self._last_chunk = chunks
        self._leave_if_due()

    def stall(self) -> None:
        """Stop reading: `send` blocks, as at a full socket, until `resume` or `disconnect`."""
        self._stalled = True

    def resume(self) -> None:
        """Read on after `stall`."""
        self._stalled = False
        self._notify()

    # Inside.

    @property
    def _over(self) -> bool:
        return self._complete or self._returned or self.disconnected

    def _ending(self) -> Exception:
        if self._complete or self.disconnected:
            return anyio.EndOfStream("the response has ended")
        aborted = ConnectionAbortedError("the app left without the final body message")
        aborted.__cause__ = self.error
        return aborted

    def _leave_if_due(self) -> None:
        if len(self._chunks) >= self._last_chunk:
            self.disconnect()

    def _parse(self) -> int:
        for chunk in self._chunks[self._chunks_parsed :]:
            self._chunks_parsed += 1
            self._events += self._decoder.feed(chunk)
        return len(self._events)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _until(self, ready: Callable[[], bool], what: str) -> None:
        try:
            with anyio.fail_after(self._timeout):
                while not ready():
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {self._timeout} s for {what}") from None

    def _raise(self, failure: BaseException | None, raise_app_exceptions: bool) -> None:
        first: BaseException | None = self._violation
        if first is None and isinstance(self.error, Exception) and raise_app_exceptions:
            first = self.error
        if first is None or (failure is not None and not isinstance(failure, Exception)):
            first = failure  # the last is a KeyboardInterrupt, or pytest's skip
        if first is None and self.error is not None and not isinstance(self.error, Exception):
            first = AssertionError(f"the app let {self.error!r} through, which nobody asked for")
        if first is not None:
            if failure is not None and failure is not first:
                first.add_note(f"The block raised, too: {failure!r}")
            raise first

    async def _run(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            self.error = error
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._returned = True
            self._notify()

    async def _receive(self) -> dict[str, Any]:
        if self._request is not None and not self.disconnected:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        while not (self.disconnected or self._expected == "nothing"):
            await self._changed.wait()
        self._told = self.disconnected
        return {"type": "http.disconnect"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        self._check(message)
        self.sent_after_disconnect += self.disconnected
        self.sent_after_told += self._told
        if self._suspends:
            await anyio.lowlevel.checkpoint()
        while self._stalled and not self.disconnected:
            await self._changed.wait()
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._expected = "nothing" if last else "body"
        if self.disconnected:
            if self._raises:
                self._told = True
                raise OSError("the client has disconnected")
            return
        self.sends.append(dict(message))
        if message["type"] == "http.response.start":
            self._start = self.sends[-1]
        else:
            self._chunks.append(bytes(message.get("body", b"")))
            self._complete = last
            self._leave_if_due()
        self._notify()

    def _check(self, message: Mapping[str, Any]) -> None:
        kind = str(message.get("type"))
        if kind not in ("http.response.start", "http.response.body"):
            self._violate(f"the app sent a message of the type {kind!r}")
        if self._expected == "nothing":
            self._violate(f"the app sent {kind} after the final body message")
        if self._expected != kind.rpartition(".")[2]:
            state = "before the start" if self._expected == "start" else "a second time"
            self._violate(f"the app sent {kind} {state}")
        if kind == "http.response.body" and not isinstance(message.get("body", b""), bytes):
            self._violate(f"the app sent a body that is not bytes: {message['body']!r}")
        for name, value in message.get("headers", ()):
            if not (isinstance(name, bytes) and isinstance(value, bytes)) or name != name.lower():
                self._violate(f"the app sent a header not in lower-case bytes: {name!r}, {value!r}")

    def _violate(self, text: str) -> None:
        self._violation = self._violation or AssertionError(text)
        self._notify()
        raise self._violation
