"""`ServerSentEvent` and its bytes (WHATWG HTML section 9.2); reading `Last-Event-ID`.

The framing is the one that no known client chokes on: LF only, no byte-order mark, every event
ends in a blank line and has data, a heartbeat is one comment line without a blank line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

__all__ = ["HEARTBEAT", "ServerSentEvent", "last_event_id"]

HEARTBEAT = b": ping\n"

_LINE_END = re.compile(r"\r\n|\r|\n")


class ServerSentEvent(Struct, frozen=True):
    """One event, checked when it is made.

    Args:
        data: the payload; each line end in it (CRLF, CR or LF) begins a new `data:` line, and
            the client puts them together again with LF. Without any, not even an empty one, it
            is no event to a client, and is not sent as one.
        event: the event's type; the client takes "message" when it is left out.
        id: what an `EventSource` sends back as `Last-Event-ID`. ASCII, since some clients never
            reconnect with another.
        retry: milliseconds that an `EventSource` waits before it reconnects.
        comment: for whoever looks at the wire: lines that stand before the event, which clients
            pass over.

    Raises:
        ValueError: if `event` or `id` holds CR, LF or NUL, which would end the field or be
            ignored by the client; if `id` is not ASCII; if `retry` is negative.
        TypeError: if a field has another type.
    """

    data: str | None = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("data", self.data), ("comment", self.comment)):
            _check_text(name, value)
        for name, value in (("event", self.event), ("id", self.id)):
            _check_text(name, value)
            if value is not None and any(c in value for c in "\r\n\0"):
                raise ValueError(f"{name} must not contain CR, LF or NUL: {value!r}")
        if self.id is not None and not self.id.isascii():
            raise ValueError(f"id must be ASCII: {self.id!r}")
        if self.retry is not None:
            if not isinstance(self.retry, int) or isinstance(self.retry, bool):
                raise TypeError(f"retry must be an int, not {type(self.retry).__name__}")
            if self.retry < 0:
                raise ValueError(f"retry must not be negative: {self.retry}")

    def encode(self) -> bytes:
        """The event as it goes over the wire, its closing blank line included.

        One without data would be passed over by browsers, and break other clients (WHATWG HTML
        section 9.2.6): of it only the comment is written.
        """
        lines = self._comment() if self.data is None else self._lines()
        return "".join(lines).encode("utf-8", "replace")

    def encode_as_it_is(self) -> bytes:
        """The event with all its fields, also without data, for clients that are known to read
        such ones: its id is then where an `EventSource` comes back."""
        return "".join(self._lines()).encode("utf-8", "replace")

    def _comment(self) -> Iterator[str]:
        # Some clients cut lines in more places than others, and a comment must not become a field.
        return (f": {line}\n" for line in (self.comment or "").splitlines())

    def _lines(self) -> Iterator[str]:
        yield from self._comment()
        fields = [*self._fields()]
        yield from fields
        if fields:
            yield "\n"

    def _fields(self) -> Iterator[str]:
        if self.id is not None:
            yield f"id: {self.id}\n"
        if self.event:
            yield f"event: {self.event}\n"
        if self.retry is not None:
            yield f"retry: {self.retry}\n"
        for line in () if self.data is None else _LINE_END.split(self.data):
            yield f"data: {line}\n"


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def last_event_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The `Last-Event-ID` that a reconnecting `EventSource` sends, or None.

    Args:
        headers: of the ASGI scope.
    """
    for name, value in headers:
        if name.lower() == b"last-event-id":
            return value.decode("utf-8", "replace")
    return None
