"""One `receive` for two readers: a foreign application, and our watch for its client's leaving."""

from __future__ import annotations

import logging
import math
from collections import deque

import anyio
import anyio.lowlevel

from ..asgi.http import ASGIMessage, Receive
from ..backend import Task, Wakeup, spawn, wakeup
from ..errors import ReadTooLate
from ..options import StreamOptions
from ..runtime import Ticker

__all__ = ["Receiver"]

logger = logging.getLogger("asgi_llmstream")

# Bytes of a body that are read before the application has asked for them.
_MOST_WAITING = 2**20
# Bytes that a message of any size counts for, or many small ones would be much.
_MESSAGE_SIZE = 1024


class Receiver:
    """The application reads by itself, until there is a watch or nothing is to come but the
    disconnect; from then on a task of its own does. Only so can it be told of an end that the
    server knows nothing of.

    A body is not read far ahead: its client waits until the application asks. But while nobody
    reads, nobody hears of a disconnect either. So an application that takes nothing of it for
    `send_timeout` seconds is taken for one that never will: what waits is given up, and so is
    what comes.

    Args:
        receive: the server's.
        options: `send_timeout` and the clock count.
    """

    def __init__(self, receive: Receive, options: StreamOptions) -> None:
        self._server_receive = receive
        self._timeout = options.send_timeout
        self._clock = options.clock
        self._reading = False
        self._body_is_whole = False
        self._messages: deque[ASGIMessage] = deque()
        self._size = 0  # of them
        self._give_up_at = math.inf  # on who does not take them
        self._given_up = False
        self._gone: ASGIMessage | None = None  # what the server said
        self._over = False
        self._asking = 0
        self._at_once = False  # came the last message
        self._task: Task | None = None
        self._waiting: list[Wakeup] = []

    @property
    def client_has_left(self) -> bool:
        """True once the server has said so."""
        return self._gone is not None

    @property
    def is_asked(self) -> bool:
        """True while the application listens at this moment."""
        return self._asking > 0

    async def receive(self) -> ASGIMessage:
        """The application's.

        Raises:
            ReadTooLate: if the body was given up.
        """
        self._asking += 1
        try:
            if self._task is None and not self._body_is_whole:
                return await self._read()
            self._begin_to_read()
            return await self._next()
        finally:
            self._asking -= 1

    async def wait_for_disconnect(self) -> ASGIMessage:
        """The watch's: passes over everything else."""
        self._begin_to_read()
        while self._gone is None:
            await self._news()
        return self._gone

    def tell(self) -> None:
        """Tell the application that its response is over, as servers do: the client has gone."""
        self._over = True
        self._tell_all()

    def close(self) -> None:
        """Read no more; and whoever still listens need not."""
        self.tell()
        self._wait_for_reader(math.inf)
        if self._task is not None:
            self._task.cancel()

    async def _next(self) -> ASGIMessage:
        """Return the next message that the task has read.

        What is there already comes at once, as from servers: who only wants to know has cancelled
        this beforehand, or soon will. But so does every other message only, or no timeout would
        end a loop around this.
        """
        paused, self._at_once = self._at_once, False
        if paused:
            await anyio.lowlevel.checkpoint()
        elif not self._is_ready and anyio.current_effective_deadline() == -math.inf:
            for _ in range(2):  # for the task to begin, and to take what is there
                await anyio.lowlevel.cancel_shielded_checkpoint()
        self._at_once = self._is_ready and not paused
        while not self._is_ready:
            await self._news()
        return self._take()

    @property
    def _is_ready(self) -> bool:
        return bool(self._messages or self._gone or self._over or self._given_up)

    def _take(self) -> ASGIMessage:
        if self._messages:
            message = self._messages.popleft()
            self._size -= _size_of(message)
            self._wait_for_reader(math.inf)
            self._tell_all()
            return message
        if self._gone is not None or self._over:
            return self._gone or {"type": "http.disconnect"}
        raise ReadTooLate(
            f"the request body was given up: {_MOST_WAITING} bytes of it waited for "
            f"send_timeout ({self._timeout} s), and nobody read them. Read it before the "
            "event stream begins, or more often"
        )

    async def _news(self) -> None:
        """Wait until something has changed. Applications may ask in several tasks at once."""
        mine = wakeup()
        self._waiting.append(mine)
        try:
            await mine.wait()
        finally:
            self._waiting.remove(mine)

    def _begin_to_read(self) -> None:
        if self._task is None:
            self._task = spawn(self._read_on)

    def _tell_all(self) -> None:
        for waiting in self._waiting:
            waiting.set()

    async def _read_on(self) -> None:
        while self._gone is None:
            if self._reading or self._size >= _MOST_WAITING:
                await self._news()
                continue
            try:
                message = await self._read()
            except Exception:
                logger.warning("receive raised: taken for a disconnect", exc_info=True)
                message = {"type": "http.disconnect"}
                self._gone = message
            if message["type"] != "http.disconnect":
                self._keep(message)
            self._tell_all()
            await anyio.lowlevel.checkpoint()  # `receive` may never suspend

    def _keep(self, message: ASGIMessage) -> None:
        if self._given_up:
            return
        self._messages.append(message)
        self._size += _size_of(message)
        if self._size >= _MOST_WAITING and self._timeout is not None:
            self._wait_for_reader(self._clock.now() + self._timeout)

    async def _read(self) -> ASGIMessage:
        self._reading = True
        try:
            message = await self._server_receive()
        finally:
            self._reading = False
            self._tell_all()
        if message["type"] == "http.disconnect":
            self._gone = message
        self._body_is_whole = not message.get("more_body", False)
        return message

    # The ticker's side.

    def _wait_for_reader(self, until: float) -> None:
        if until == self._give_up_at:
            return
        self._give_up_at = until
        ticker = Ticker.current(self._clock)
        if until < math.inf:
            ticker.add(self, until)
        else:
            ticker.remove(self)

    def tick(self, now: float) -> float:
        if now < self._give_up_at:
            return self._give_up_at
        logger.warning("nobody reads a request's body: it is given up")
        self._given_up = True
        self._messages.clear()
        self._size = 0
        self._wait_for_reader(math.inf)
        self._tell_all()
        return math.inf


def _size_of(message: ASGIMessage) -> int:
    return len(message.get("body", b"")) + _MESSAGE_SIZE
