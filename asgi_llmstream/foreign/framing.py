"""Event streams that were encoded elsewhere, as they are."""

from __future__ import annotations

from typing import ClassVar

from ..chunks import Raw
from ..errors import LLMStreamError
from ..events import Event, ItemAdded
from ..formats.base import Encoder
from ..sse import Boundaries

__all__ = ["AsIs"]


class AsIs:
    """The format of one such stream, and its framing."""

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = True

    def __init__(self) -> None:
        self._boundaries = Boundaries()

    def encoder(self) -> Encoder:
        return self._encode

    def _encode(self, event: Event) -> bytes:
        if not isinstance(event, ItemAdded) or not isinstance(event.item, Raw):
            return b""
        self._boundaries.feed(event.item.data)
        return event.item.data

    def error_body(self, error: LLMStreamError) -> bytes:
        raise NotImplementedError  # the application has begun to answer

    @property
    def between_events(self) -> bool:
        """Whether a comment may stand behind what was encoded last."""
        return self._boundaries.between_events
