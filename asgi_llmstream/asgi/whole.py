"""The answer in one piece, for clients that did not ask for a stream."""

from __future__ import annotations

from ..events import RunFinished, RunStarted, Terminal
from ..formats.base import WholeFormat
from ..message import Message
from .delivery import Delivery, Phase

__all__ = ["WholeDelivery"]


class WholeDelivery(Delivery):
    """The answer in one piece, for clients that did not ask for a stream."""

    _format: WholeFormat

    async def _deliver(self) -> None:
        message, started = Message(), RunStarted(1, "", 0, "")
        while True:
            for event in self._reader.take():
                message.apply(event)
                if isinstance(event, RunStarted):
                    started = event
                elif isinstance(event, RunFinished):
                    body = self._format.whole_body(started, message)
                    await self._send_whole(self._status, body, self._headers)
                    return
                elif isinstance(event, Terminal):
                    await self._send_error(event)
                    return
            await self._reader.wait()

    async def _end_in_haste(self) -> None:
        if self._phase is Phase.WAITING:
            await self._send_error(None)
