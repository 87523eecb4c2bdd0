"""One `receive` for two readers: a foreign application, and our watch for its client's leaving."""

from __future__ import annotations

import logging
from collections import deque

import anyio.lowlevel

from ..asgi.http import ASGIMessage, Receive
from ..backend import Task, Wakeup, spawn, wakeup

__all__ = ["Receiver"]

logger = logging.getLogger("asgi_llmstream")

# Messages of a body that the application has not asked for yet.
_MOST_WAITING = 16


class Receiver:
    """The application reads by itself, until there is a watch or nothing is to come but the
    disconnect; from then on a task of its own does. Only so can it be told of an end that the
    server knows nothing of.
    """

    def __init__(self, receive: Receive) -> None:
        self._server_receive = receive
        self._reading = False
        self._body_is_whole = False
        self._messages: deque[ASGIMessage] = deque()
        self._gone: ASGIMessage | None = None  # what the server said
        self._over = False
        self._asking = 0
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
        """The application's."""
        self._asking += 1
        try:
            if self._task is None and not self._body_is_whole:
                return await self._read()
            self._begin_to_read()
            # Who only wants to know what is there already cancels this at its first `await`: time
            # for the task that reads to begin, and to take what is there.
            await anyio.lowlevel.cancel_shielded_checkpoint()
            await anyio.lowlevel.cancel_shielded_checkpoint()
            while not self._messages:
                if self._gone is not None or self._over:
                    return self._gone or {"type": "http.disconnect"}
                await self._news()
            message = self._messages.popleft()
            self._tell_all()
            return message
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
        if self._task is not None:
            self._task.cancel()

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
            # A body that nobody reads is not read for him, though its end then goes unnoticed.
            if self._reading or len(self._messages) >= _MOST_WAITING:
                await self._news()
                continue
            try:
                message = await self._read()
            except Exception:
                logger.warning("receive raised: taken for a disconnect", exc_info=True)
                message = {"type": "http.disconnect"}
                self._gone = message
            if message["type"] != "http.disconnect":
                self._messages.append(message)
            self._tell_all()

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
