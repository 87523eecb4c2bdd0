"""How large an answer may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import LimitExceeded
from ..events import Event, ItemAdded, PartDelta, size_of
from ..options import StreamOptions

__all__ = ["Limits"]


class Limits:
    """Counts what an answer's events hold, against `StreamOptions`."""

    def __init__(self, chunk: float, message: float, arguments: float) -> None:
        self._chunk = chunk
        self._message = message
        self._arguments = arguments
        self._size = 0
        self._call_sizes: dict[int, int] = {}

    @staticmethod
    def of(options: StreamOptions) -> Limits | None:
        """The limits that are set; None if none is, so that a token then costs nothing."""
        limits = (options.max_chunk_size, options.max_message_size, options.max_tool_arguments)
        if limits == (None, None, None):
            return None
        return Limits(*(math.inf if limit is None else limit for limit in limits))

    def check(self, events: Sequence[Event]) -> None:
        """Count further events.

        Raises:
            LimitExceeded: if there is too much of something.
        """
        for event in events:
            if isinstance(event, PartDelta | ItemAdded):
                self._count(event, size_of(event))

    def _count(self, event: PartDelta | ItemAdded, size: int) -> None:
        self._size += size
        if size > self._chunk or self._size > self._message:
            raise LimitExceeded()
        if isinstance(event, PartDelta) and event.part.kind == "tool_call":
            index = event.part.index
            self._call_sizes[index] = call_size = self._call_sizes.get(index, 0) + size
            if call_size > self._arguments:
                raise LimitExceeded("The model wrote more for a tool call than is allowed.")
