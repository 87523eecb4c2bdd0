"""Delivery: one response from its headers to its end, and the only owner of `send`.

It runs in the server's own task. A disconnect, `send_timeout` and the server's own cancellation
are all that interrupt a `send`, and nothing is sent after that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Iterator, MutableMapping
from enum import IntEnum
from typing import Any, Literal

import anyio
import anyio.lowlevel

from ..backend import spawn
from ..errors import LLMStreamError, ShuttingDown
from ..events import RunAborted, RunFailed, Terminal
from ..formats.base import Format
from ..options import StreamOptions
from ..runtime import Readable, Reader, Run, Ticker, draining
from .http import NO_STORE, RawHeaders, Receive, Send, json_headers

__all__ = [
    "Delivery",
    "Phase",
    "conclude",
    "error_of",
    "pieces_of",
]

logger = logging.getLogger("asgi_llmstream")

# Seconds that the last words to a client may take when the server cancels the request.
_LAST_WORDS = 1.0
# Bytes of the largest piece: progress of a slow but steady reader is to be seen.
_PIECE = 64 * 1024


class Phase(IntEnum):
    """The stages of a response. It only ever moves on."""

    WAITING = 0  # for the first chunk: any status is still possible
    COMMITTED = 1  # the headers are on their way
    ENDING = 2  # so is the last message
    OVER = 3  # nothing may be sent any more


_OVER = Phase.OVER  # looked up for every token


class Delivery:
    """One response, from its headers to its end.

    Args:
        run: what is delivered.
        reader: of it.
        format: how.
        options: intervals, deadlines and policies.
        send: the server's; nobody else may call it.
        status: of the response, when the answer begins well.
        headers: of the response, whole.
    """

    def __init__(
        self,
        run: Readable,
        reader: Reader,
        format: Format,
        options: StreamOptions,
        send: Send,
        *,
        status: int = 200,
        headers: RawHeaders = (),
    ) -> None:
        self._run = run
        self._reader = reader
        self._format = format
        self._options = options
        self._raw_send = send
        self._status = status
        self._headers = headers
        self._now = options.clock.now
        self._ticker = Ticker.current(options.clock)
        self._scope = anyio.CancelScope()
        self._sending_since: float | None = None
        self._give_up_at = math.inf  # whatever `send` does then
        self._is_said_to_be_gone = False
        self._phase = Phase.WAITING

    async def run(self, receive: Receive) -> None:
        """Deliver.

        Returns without a final body message when the client has left, which on every server
        closes the connection.
        """
        self._ticker.add(self, self._now() + self._patience)
        watcher = spawn(lambda: self._watch(receive))
        had_the_end = False
        try:
            with self._scope:
                await self._deliver()
                had_the_end = True
        except anyio.get_cancelled_exc_class():
            self._run.stop("cancelled")
            await self._say_last_words()
            had_the_end = self._phase is Phase.ENDING and self._sending_since is None
            raise
        except BaseException as error:
            self._run.stop("error", error)
            raise
        finally:
            self._phase = Phase.OVER
            watcher.cancel()
            self._ticker.remove(self)
            self._reader.leave(had_the_end=had_the_end and not self._is_said_to_be_gone)

    async def _deliver(self) -> None:
        raise NotImplementedError

    async def _say_last_words(self) -> None:
        """End visibly although the server wants its task back at once."""
        if self._phase >= Phase.ENDING or self._sending_since is not None:
            return  # the interrupted `send` was the last
        with anyio.move_on_after(_LAST_WORDS, shield=True):
            await self._end_in_haste()

    async def _end_in_haste(self) -> None:
        raise NotImplementedError

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._phase is _OVER:
            # A task that was woken already is not cancelled any more, and must still not send.
            await anyio.sleep_forever()
        if not message.get("more_body", True):
            self._phase = Phase.ENDING
        self._sending_since = self._now()
        try:
            await self._raw_send(message)
        except OSError:
            # ASGI 2.4 servers say so when the client has gone; it is a disconnect like others.
            self._client_left("disconnected")
            await anyio.lowlevel.checkpoint_if_cancelled()
        self._sending_since = None

    async def _start(self, status: int, headers: RawHeaders) -> None:
        self._phase = max(self._phase, Phase.COMMITTED)
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers]})

    async def _send_whole(self, status: int, body: bytes, headers: RawHeaders = ()) -> None:
        await self._start(status, json_headers(body, headers))
        await self._send_body(body, more=False)

    def _send_body(self, body: bytes, *, more: bool) -> Awaitable[None]:
        if len(body) > _PIECE:
            return self._send_pieces(body, more)
        return self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _send_pieces(self, body: bytes, more: bool) -> None:
        left = len(body)
        for piece in pieces_of(body):
            left -= len(piece)
            await self._send_body(piece, more=more or left > 0)

    async def _send_error(self, end: Terminal | None) -> None:
        """Send the failure before the first chunk as a real HTTP status."""
        error = error_of(end)
        headers = [*error.headers, NO_STORE]
        await self._send_whole(error.status, self._format.error_body(error), headers)

    def give_up(self) -> None:
        """Send nothing more, also not what is stuck in `send`."""
        self._client_left("stalled")

    def _client_left(self, how: Literal["disconnected", "stalled"]) -> None:
        if self._phase is Phase.OVER:
            return
        self._phase = Phase.OVER
        if self._options.on_disconnect != "complete":
            self._run.stop(how)
        self._reader.leave()
        self._scope.cancel()

    def _told_of_disconnect(self) -> None:
        if self._phase is Phase.ENDING:
            # hypercorn says so while the last `send` has not returned yet: it soon does.
            self._give_up_in(self._options.close_timeout)
        elif draining():
            # uvicorn 0.43 and 0.44 say so of every client when they are told to end.
            self._is_said_to_be_gone = True
            if self._options.on_disconnect != "complete":
                self._run.stop("shutdown")
        else:
            self._client_left("disconnected")

    async def _watch(self, receive: Receive) -> None:
        """Read `receive` until the client leaves. Most servers' `send` never says so."""
        try:
            while (await receive())["type"] != "http.disconnect":
                await anyio.lowlevel.checkpoint()
        except Exception:
            logger.warning("receive raised: taken for a disconnect", exc_info=True)
        self._told_of_disconnect()

    def _give_up_in(self, seconds: float) -> None:
        """Bound what is sent, and a `send` that is stuck."""
        self._give_up_at = min(self._give_up_at, self._now() + seconds)
        self._ticker.look(self, self._give_up_at)

    def tick(self, now: float) -> float:
        options, since = self._options, self._sending_since
        if draining() and options.shutdown_grace is not None:
            bound = now + options.shutdown_grace + options.close_timeout
            self._give_up_at = min(self._give_up_at, bound)
        due = self._give_up_at
        if options.send_timeout is not None and since is not None:
            due = min(due, since + options.send_timeout)
        if now < due:
            return min(due, now + self._patience)
        self._client_left("stalled")
        return math.inf

    @property
    def _patience(self) -> float:
        """No deadline can begin and pass within so many seconds: looking as often is enough."""
        timeout = self._options.send_timeout
        return math.inf if timeout is None else timeout


def error_of(end: Terminal | None) -> LLMStreamError:
    """Return what the client may know of an end before the answer began."""
    if isinstance(end, RunFailed) or (isinstance(end, RunAborted) and end.is_stop):
        return end.error
    return ShuttingDown()  # of the other ends no client hears


def pieces_of(body: bytes) -> Iterator[bytes]:
    """Cut what would be long in going out."""
    return (body[start : start + _PIECE] for start in range(0, len(body), _PIECE))


async def conclude(run: Run) -> None:
    """Wait until a run is over, whatever is done to the waiting task meanwhile."""
    try:
        await run.wait()
    except anyio.get_cancelled_exc_class():
        run.stop("cancelled")
        with anyio.CancelScope(shield=True):
            await run.wait()
        raise
