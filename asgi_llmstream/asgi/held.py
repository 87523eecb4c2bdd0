"""The end of a response's body, held back until the run is over."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress

import anyio

from ..runtime import draining
from .http import ASGIMessage, Send

__all__ = ["HeldEnd"]

# Seconds that the empty message may take.
_PATIENCE = 1.0


class HeldEnd:
    """A `send` that has the client get everything at once, but keeps the connection open while
    the process drains.

    granian exits when its connections have ended, whatever their tasks still do: `on_finish`
    would be cut off.

    Args:
        send: the server's.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_held = False

    def send(self, message: ASGIMessage) -> Awaitable[None]:
        """Send a message; of the last one not that it is."""
        if message.get("more_body", True):  # mostly it is a token
            return self._send(message)
        return self._send_last(message)

    async def _send_last(self, message: ASGIMessage) -> None:
        if draining():
            await self._send({**message, "more_body": True})
            self._is_held = True
        else:
            await self._send(message)

    async def release(self) -> None:
        """Send the end, if it was held back; also where the request is cancelled."""
        if self._is_held:
            with suppress(OSError), anyio.move_on_after(_PATIENCE, shield=True):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
