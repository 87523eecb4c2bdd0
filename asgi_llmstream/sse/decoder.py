"""Reading server-sent events as a browser does (WHATWG HTML section 9.2.6)."""

from __future__ import annotations

import codecs
import re
from typing import Any

from .event import ServerSentEvent

__all__ = ["Parser", "parse_sse"]


class Parser:
    """Bytes in, events out; WHATWG HTML section 9.2.6, line ends and characters cut anywhere."""

    def __init__(self) -> None:
        self.comments = 0
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._after_cr = False
        self._data: list[str] = []
        self._fields: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._after_cr:
            text = text.removeprefix("\n")
        self._after_cr = text.endswith("\r")
        *lines, self._rest = re.split(r"\r\n|\r|\n", self._rest + text)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
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
    return Parser().feed(data)
