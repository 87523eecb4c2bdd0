"""What every format is, and the JSON that all of them write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from ..errors import LLMStreamError
from ..events import Event, ItemAdded, PartDelta, PartEnded, PartStarted, RunFinished, RunStarted
from ..message import Message, MessagePart
from ..request import ChatRequest

__all__ = [
    "Encoder",
    "Format",
    "RequestFormat",
    "WholeFormat",
    "data",
    "dumps",
    "named",
    "quote",
    "replay",
]

Encoder = Callable[[Event], bytes]
"""Turns the events of one stream, in order, into bytes; empty where the format has no word."""


class Format(Protocol):
    """A protocol that a client speaks: immutable configuration, from which encoders are made.

    Attributes:
        headers: what the protocol wants beside the event stream's own headers.
        carries_raw: whether a producer's own `ServerSentEvent`s may go out on it.
    """

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]]
    carries_raw: ClassVar[bool]

    def encoder(self) -> Encoder:
        """A new encoder, for one stream from its first event on."""

    def error_body(self, error: LLMStreamError) -> bytes:
        """The JSON body of an HTTP error, before a stream has begun."""


class RequestFormat(Format, Protocol):
    """A format that has requests of its own, so that `ChatApp` can serve it.

    Attributes:
        route: where, below the app's mount, as "/chat/completions".
        method: "POST"; or "GET", whose requests are query strings.
    """

    route: ClassVar[str]
    method: ClassVar[Literal["GET", "POST"]]

    def decode(self, body: bytes, /) -> ChatRequest:
        """The request in a body, or for GET in a query string.

        Raises:
            BadRequest: if it is not one; names the field at fault.
        """

    def for_request(self, request: ChatRequest) -> RequestFormat:
        """This format, set up as the request wants it."""


class WholeFormat(RequestFormat, Protocol):
    """A format that also has answers in one piece, for requests that want no stream."""

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        """The JSON body of a finished answer."""


# Clients that read lines with `str.splitlines()` cut at these three, so they go out escaped. In
# JSON they can stand only inside strings, where an escape means the same.
_LINE_CUTTERS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)


def dumps(value: Any) -> bytes:
    """JSON in one line. Lone surrogates, the halves of an emoji that a model's output was cut
    in, become U+FFFD."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_without_surrogates(msgspec.to_builtins(value)))
    if not encoded.isascii():
        for raw, escaped in _LINE_CUTTERS:
            encoded = encoded.replace(raw, escaped)
    return encoded


_encode_text = msgspec.json.Encoder().encode


def quote(text: str) -> bytes:
    """The same for one string, quickly: this runs for every token."""
    if text.isascii():
        return _encode_text(text)
    return dumps(text)


def data(payload: bytes) -> bytes:
    """One event of only data, as most formats have it."""
    return b"data: " + payload + b"\n\n"


def named(name: str, fields: dict[str, Any]) -> bytes:
    """One event whose name stands in `event:` and, as its type, in its data."""
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), dumps({"type": name, **fields}))


def replay(started: RunStarted, message: Message) -> Iterator[Event]:
    """The events of a finished answer, each part in one piece: what is written of these, whole,
    cannot disagree with what is streamed. Their sequence numbers and steps are left out."""
    yield started
    for item in message.content:
        if not isinstance(item, MessagePart):
            yield ItemAdded(0, item)
            continue
        yield PartStarted(0, item.part)
        if item.text:
            yield PartDelta(0, item.part, item.text)
        yield PartEnded(0, item.part, item.text, item.signature)
    reason = message.finish_reason or "stop"
    yield RunFinished(0, message.usage, reason, message.native_finish_reason)


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case dict():
            return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
        case list() | tuple():
            return [_without_surrogates(item) for item in value]
        case _:
            return value
