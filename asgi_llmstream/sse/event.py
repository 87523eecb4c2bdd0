"""`ServerSentEvent` and its bytes (WHATWG HTML section 9.2); reading `Last-Event-ID`.

The framing is the one that no known client chokes on: LF only, no byte-order mark, every event
ends in a blank line and has data, a heartbeat is one comment line without a blank line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

__all__ = ["HEARTBEAT", "Boundaries", "ServerSentEvent", "last_event_id"]

HEARTBEAT = b": ping\n"

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_END_BYTES = re.compile(rb"\r\n|\r|\n")


class ServerSentEvent(Struct, frozen=True):
    """One event, checked when it is made.

    Args:
        data: the payload; each line end in it (CRLF, CR or LF) begins a new `data:` line, and
            the client puts them together again with LF.
        event: the event's type; the client takes "message" when it is left out.
        id: what an `EventSource` sends back as `Last-Event-ID`. ASCII, since some clients never
            reconnect with another.
        retry: milliseconds that an `EventSource` waits before it reconnects.

    Raises:
        ValueError: if `event` or `id` holds CR, LF or NUL, which would end the field or be
            ignored by the client; if `id` is not ASCII; if `retry` is negative.
        TypeError: if a field has another type.
    """

    data: str = ""
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            raise TypeError(f"data must be a str, not {type(self.data).__name__}")
        for name, value in (("event", self.event), ("id", self.id)):
            if value is None:
                continue
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, not {type(value).__name__}")
            if any(c in value for c in "\r\n\0"):
                raise ValueError(f"{name} must not contain CR, LF or NUL: {value!r}")
        if self.id is not None and not self.id.isascii():
            raise ValueError(f"id must be ASCII: {self.id!r}")
        if self.retry is not None:
            if not isinstance(self.retry, int) or isinstance(self.retry, bool):
                raise TypeError(f"retry must be an int, not {type(self.retry).__name__}")
            if self.retry < 0:
                raise ValueError(f"retry must not be negative: {self.retry}")

    def encode(self) -> bytes:
        """The event as it goes over the wire, its closing blank line included."""
        lines = []
        if self.id is not None:
            lines.append(f"id: {self.id}\n")
        if self.event:
            lines.append(f"event: {self.event}\n")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}\n")
        lines.extend(f"data: {line}\n" for line in _LINE_END.split(self.data))
        lines.append("\n")
        return "".join(lines).encode("utf-8", "replace")


class Boundaries:
    """Follows a stream that others write, to know where something may stand between its events.

    A line ends in CRLF, CR or LF, an event in a blank line; a comment is no part of an event
    (WHATWG HTML section 9.2.6).
    """

    def __init__(self) -> None:
        self._in_event = False
        self._line = b""  # of the current one the first byte, which says what it is
        self._after_cr = False

    def feed(self, data: bytes) -> None:
        """Take in what was sent."""
        if not data:
            return
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        *lines, rest = _LINE_END_BYTES.split(data)
        for line in lines:
            line = self._line + line
            if not line.startswith(b":"):
                self._in_event = bool(line)
            self._line = b""
        self._line = (self._line + rest)[:1]

    @property
    def between_events(self) -> bool:
        """Whether a comment line may be sent now."""
        return not self._in_event and not self._line


def last_event_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The `Last-Event-ID` that a reconnecting `EventSource` sends, or None.

    Args:
        headers: of the ASGI scope.
    """
    for name, value in headers:
        if name.lower() == b"last-event-id":
            return value.decode("utf-8", "replace")
    return None
