"""Events as bytes, for stores. A token costs four bytes beside its text.

    event        bytes
    ---------    -----------------------------------------------------------------------------
    PartDelta    a msgpack array: the part's index and kind in one number, the text
    others       a msgpack map of their fields
    what neither can say, as half an emoji or a number of 70 bits, is JSON in ASCII

An event's number is its place, so it is not in there but for the rare kinds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import get_args

import msgspec

from ..events import AnyEvent, Event, Part, PartDelta, PartKind, PartStarted

__all__ = ["EventDecoder", "encode_event"]

_KINDS: tuple[PartKind, ...] = get_args(PartKind)
_NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS)}
_JSON = ord("{")  # no msgpack map or array of ours begins so

_encode = msgspec.msgpack.Encoder().encode
_decode_map = msgspec.msgpack.Decoder(AnyEvent).decode
_decode_delta = msgspec.msgpack.Decoder(tuple[int, str]).decode


def encode_event(event: Event) -> bytes:
    """Return the event as bytes, without loss."""
    try:
        if type(event) is PartDelta and event.merged == 1:
            part = event.part
            return _encode((part.index * len(_KINDS) + _NUMBER_OF[part.kind], event.text))
        return _encode(event)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(msgspec.to_builtins(event)).encode("ascii")


class EventDecoder:
    """Turns the bytes of one run's events, in order, into events.

    It may begin with any of them. Of a part whose beginning it has not seen, a delta knows only
    the index and the kind.

    Args:
        parts: those that have begun already.
    """

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._parts = {part.index: part for part in parts}

    def decode(self, number: int, encoded: Iterable[bytes]) -> list[Event]:
        """Return the events.

        Args:
            number: of the first of them.
            encoded: each as `encode_event` made it.

        Raises:
            ValueError: if they are something else.
        """
        return [self._decode(seq, data) for seq, data in enumerate(encoded, number)]

    def _decode(self, seq: int, data: bytes) -> Event:
        if not data:
            raise ValueError("an event has at least a byte")
        if data[0] & 0xF0 == 0x90:  # a msgpack array
            place, text = _decode_delta(data)
            return PartDelta(seq, self._part(*divmod(place, len(_KINDS))), text)
        event: Event
        if data[0] == _JSON:
            event = msgspec.convert(json.loads(data), AnyEvent)
        else:
            event = _decode_map(data)
        if isinstance(event, PartStarted):
            self._parts[event.part.index] = event.part
        return event

    def _part(self, index: int, kind: int) -> Part:
        part = self._parts.get(index)
        if part is None:
            part = self._parts[index] = Part(index, _KINDS[kind], index, 0, "")
        return part
