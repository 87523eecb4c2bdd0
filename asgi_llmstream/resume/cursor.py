"""Cursors: where a client is in a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from ..errors import BadRequest

__all__ = ["Cursor"]

# One that somebody else sent is not even looked at.
_ALPHABET = re.compile(r"[A-Za-z0-9.:_-]{1,100}")
_CURSOR = re.compile(r"(?:([0-9a-f]{32}):)?([0-9]{1,15})(?:\.([0-9]{1,6}))?")


class Cursor(NamedTuple):
    """The number of the last event that a client has.

    Attributes:
        number: 0 is the beginning.
        frames: how many server-sent events of the next event it has, too.
        run: whose events they are; "" if it does not say.
    """

    number: int
    frames: int = 0
    run: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one, as `id:` has it, or only a number.

        Raises:
            BadRequest: if it is none.
        """
        match = _CURSOR.fullmatch(text) if _ALPHABET.fullmatch(text) else None
        if match is None:
            raise BadRequest("This is no cursor of a stream.", param="cursor", code="bad_cursor")
        run, number, frames = match.groups()
        return cls(int(number), int(frames or 0), run or "")

    @classmethod
    def ours(cls, text: str | None) -> Self | None:
        """Return the cursor if it is one that names its run."""
        if text is None or _ALPHABET.fullmatch(text) is None:
            return None
        match = _CURSOR.fullmatch(text)
        return cls.parse(text) if match is not None and match[1] else None

    @classmethod
    def asked(cls, headers: Iterable[tuple[bytes, bytes]], query: Mapping[str, list[str]]) -> Self:
        """Return the cursor of a request: its `Last-Event-ID`, else its `cursor`, else 0.

        An `EventSource` keeps its address for ever, so the header wins.

        Raises:
            BadRequest: if there are several, or it is none.
        """
        given = [v.decode("latin-1") for name, v in headers if name == b"last-event-id"]
        given = given or query.get("cursor", [])
        if len(given) > 1:
            raise BadRequest("Several cursors.", param="cursor", code="bad_cursor")
        return cls.parse(given[0]) if given else cls(0)
