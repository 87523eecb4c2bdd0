"""Reading server-sent events as a browser does (WHATWG HTML section 9.2.6)."""

from __future__ import annotations

import re
from typing import Any

from .event import ServerSentEvent

__all__ = ["Decoder", "parse_sse"]

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Decoder:
    """Bytes in, events out; these may be cut anywhere, also in a line end or a character.

    Attributes:
        comments: how many comment lines have come.
    """

    def __init__(self) -> None:
        self.comments = 0
        self._line: list[bytes] = []  # the pieces of one that has no end yet
        self._after_cr = False
        self._in_event = False
        self._at_start = True
        self._data: list[str] = []
        self._fields: dict[str, Any] = {}

    @property
    def between_events(self) -> bool:
        """Tell whether a comment line may stand here: it would be no part of an event."""
        return not (self._in_event or self._line)

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take in bytes; the events that end in them.

        Raises:
            ValueError: for an id that is not ASCII or a type with a NUL: see `ServerSentEvent`.
        """
        lines = self._lines(chunk)
        return [event for line in lines if (event := self._read(line)) is not None]

    def skip(self, chunk: bytes) -> None:
        """Take in bytes whose events nobody wants: only `between_events` stays true.

        Of a line no more than its first byte is kept, which says what it is.
        """
        self._lines(chunk)
        self._line = [piece[:1] for piece in self._line[:1]]

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        first, *lines = _LINE_END.split(chunk)
        if first:
            self._line.append(first)
        if not lines:
            return []
        lines.insert(0, b"".join(self._line))
        self._line = [rest] if (rest := lines.pop()) else []
        for line in lines:
            if not line.startswith(b":"):
                self._in_event = line != b""
        return lines

    def _read(self, line: bytes) -> ServerSentEvent | None:
        if self._at_start:
            line, self._at_start = line.removeprefix(_BYTE_ORDER_MARK), False
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "data":
            self._data.append(value)
        elif name == "retry":
            if value.isascii() and value.isdigit():
                self._fields["retry"] = int(value)
        elif name == "event" or (name == "id" and "\0" not in value):
            self._fields[name] = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, self._data = self._data, []
        fields, self._fields = self._fields, {}
        fields["event"] = fields.get("event") or None
        return ServerSentEvent("\n".join(data), **fields) if data else None


def parse_sse(data: bytes) -> list[ServerSentEvent]:
    """The events of a whole body, as a browser dispatches them; an unfinished last one is lost.

    `id` is what the event itself says; it is not carried over to the next one.

    Raises:
        ValueError: for an id that is not ASCII or a type with a NUL: see `ServerSentEvent`.
    """
    return Decoder().feed(data)
