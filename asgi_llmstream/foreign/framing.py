"""Event streams that were encoded elsewhere, as they are."""

from __future__ import annotations

from typing import ClassVar

from ..errors import LLMStreamError
from ..events import BytesAdded, Event
from ..formats.base import Encoder
from ..sse import Decoder

__all__ = ["AsIs"]


class AsIs:
    """The format of one such stream, and its framing."""

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = True
    offered: ClassVar[None] = None

    def __init__(self) -> None:
        self._decoder = Decoder()

    def encoder(self) -> Encoder:
        return self._encode

    def _encode(self, event: Event) -> bytes:
        if not isinstance(event, BytesAdded):
            return b""
        self._decoder.skip(event.data)
        return event.data

    def error_body(self, error: LLMStreamError) -> bytes:
        raise NotImplementedError  # the application has begun to answer

    @property
    def between_events(self) -> bool:
        """Tell whether a comment may stand behind what was encoded last."""
        return self._decoder.between_events
