"""Event streams that others encoded, as they are."""

from __future__ import annotations

from typing import Any, ClassVar

from ..asgi.delivery import StreamDelivery
from ..chunks import Raw
from ..errors import LLMStreamError
from ..events import Event, ItemAdded
from ..formats.base import Encoder
from ..sse import HEARTBEAT, Boundaries

__all__ = ["AsIs", "AsIsDelivery"]


class AsIs:
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


class AsIsDelivery(StreamDelivery):
    """Heartbeats only between events, and no final message where the application sent none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._boundaries = Boundaries()

    async def _send_body(self, body: bytes, more: bool = True) -> None:
        if body is not HEARTBEAT:
            self._boundaries.feed(body)
        if more or self._run.outcome == "finished":
            await super()._send_body(body, more)
        elif body:
            await super()._send_body(body, True)

    @property
    def _between_events(self) -> bool:
        return self._boundaries.between_events
