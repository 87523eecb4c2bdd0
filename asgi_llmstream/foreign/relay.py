"""A relay: one request to an application whose responses may be event streams.

The application runs as it always did, in the server's task, and what is no event stream passes
through untouched. When it begins one, a delivery takes over the server's `send`, and the
application's own `send` writes to the log of a `ForeignRun`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import anyio.lowlevel

from ..asgi.admission import Admitted, Around, Door
from ..asgi.held import HeldEnd
from ..asgi.http import App, ASGIMessage, Receive, Scope, Send, send_text
from ..asgi.streamed import StreamDelivery
from ..backend import own_task, spawn
from ..errors import LLMStreamError, Overloaded
from ..runtime import Closing
from .framing import AsIs
from .receive import Receiver
from .run import ForeignRun, log_given_up, tell_to_leave

__all__ = ["Relay"]

_ANTI_BUFFERING = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class Relay:
    """The way of one request: through, or into a stream of ours, or refused.

    Args:
        scope: of the request, as are `receive` and `send`.
        door: of the middleware.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, door: Door) -> None:
        self._scope = scope
        self._server_send = send
        self._end = HeldEnd(send)
        self._door = door
        self._around = Around(door, scope)
        self._receiver = Receiver(receive, door.options)
        self._run: ForeignRun | None = None
        self._refusal: Closing | None = None
        self._held = ExitStack()

    async def call(self, app: App) -> None:
        """Run the application to its end, and deliver what it streams."""
        try:
            with own_task() as self._task:
                await app(self._scope, self._receiver.receive, self._send)
        except BaseException as error:
            if self._run is not None:
                self._run.raised(error)
            if not _told_by_us(error):
                raise
        finally:
            try:
                await self._conclude()
            finally:
                self._held.close()
                self._receiver.close()
                self._around.leave()
                del self._task

    async def _conclude(self) -> None:
        if self._refusal is not None:
            self._refusal.over()
        if self._run is not None:
            try:
                await self._run.conclude()
            finally:
                await self._end.release()

    async def _send(self, message: ASGIMessage) -> None:
        """The application's `send`."""
        if self._run is not None and self._run.is_listening:
            await self._run.push(message)
        elif self._run is not None or self._refusal is not None:
            await self._send_in_vain()
        elif not self._around.stands_aside and _begins_event_stream(message, self._scope):
            await self._begin(message)
        else:
            await self._server_send(message)

    async def _send_in_vain(self) -> None:
        """Nobody reads any more, which is to be told from version 2.4 of the ASGI spec on."""
        if str(self._scope.get("asgi", {}).get("spec_version", "2.0")) >= "2.4":
            raise _Gone("the stream is over")
        await anyio.lowlevel.checkpoint()  # it may never suspend otherwise

    async def _begin(self, start: ASGIMessage) -> None:
        try:
            admitted = self._held.enter_context(self._door.admit_foreign(self._scope))
        except Overloaded as error:
            await self._refuse(error)
        else:
            self._stream(start, admitted)

    async def _refuse(self, error: LLMStreamError) -> None:
        options = self._door.options
        self._refusal = Closing(options, partial(log_given_up, options.close_timeout, self._scope))
        self._refusal.task = self._task
        await send_text(self._server_send, error.status, error.message, error.headers)
        tell_to_leave(self._receiver, self._refusal, at_once=True)

    def _stream(self, start: ASGIMessage, admitted: Admitted) -> None:
        as_is, run = AsIs(), ForeignRun(admitted, self._scope, self._receiver, self._task)
        delivery = StreamDelivery(
            run,
            run.log.follow(),
            as_is,
            admitted.options,
            self._end.send,
            status=start["status"],
            headers=_against_buffering(start),
            framing=as_is,
        )
        self._run = run
        run.begin()
        spawn(partial(self._deliver, run, delivery))

    async def _deliver(self, run: ForeignRun, delivery: StreamDelivery) -> None:
        try:
            await run.deliver(delivery)
        finally:
            self._held.close()


def _begins_event_stream(message: ASGIMessage, scope: Scope) -> bool:
    """Return whether it begins an event stream that comments can be put into."""
    if message["type"] != "http.response.start":
        return False
    if not isinstance(message.get("headers", ()), list | tuple):
        message["headers"] = list(message["headers"])  # or the server would find it used up
    headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", ())}
    return (
        _essence(headers) == b"text/event-stream"
        and headers.get(b"content-encoding", b"identity").strip().lower() == b"identity"
        and b"content-length" not in headers
        and not message.get("trailers", False)
        and scope["method"] != "HEAD"
        and message.get("status") not in (204, 304)
    )


def _essence(headers: Mapping[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").split(b";")[0].strip().lower()


def _against_buffering(start: ASGIMessage) -> list[tuple[bytes, bytes]]:
    headers = [(bytes(name), bytes(value)) for name, value in start.get("headers", ())]
    names = {name.lower() for name, _ in headers}
    return headers + [pair for pair in _ANTI_BUFFERING if pair[0] not in names]


class _Gone(OSError):
    """Raised by `send` after the end of a stream."""


def _told_by_us(error: BaseException) -> bool:
    """Return whether the application did as it was told: `_Gone`, or what Starlette makes of
    it."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_told_by_us, error.exceptions))
    return isinstance(error, _Gone) or (
        isinstance(error.__context__, _Gone) and type(error).__name__ == "ClientDisconnect"
    )
