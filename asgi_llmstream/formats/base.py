"""The interface of a format: a protocol that clients speak."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, ClassVar, Literal, Protocol, TypeGuard

from ..errors import LLMStreamError
from ..events import Event, RunStarted
from ..message import Message
from ..request import ChatRequest

__all__ = [
    "CountedFormat",
    "DocumentedFormat",
    "Encoder",
    "Format",
    "Method",
    "NumberedFormat",
    "Operation",
    "PlainFormat",
    "PublishedFormat",
    "RequestFormat",
    "Schema",
    "StoredFormat",
    "StoredOperation",
    "WholeFormat",
    "answers_whole",
    "counts_bytes",
    "counts_events",
    "cursors_of",
    "has_envelope",
    "is_plain",
    "says_failures",
    "schema_of",
    "stored_operations_of",
    "takes_merged",
]

Encoder = Callable[[Event], bytes]
"""Turns the events of one stream, in order, into bytes; empty where the format has no word."""

Method = Literal["GET", "POST"]

Schema = dict[str, Any]
"""A JSON Schema (2020-12)."""

Operation = dict[str, Any]
"""An Operation Object (OpenAPI 3.1 section 4.8.10), or the part of one that we know."""


StoredOperation = tuple[str, str, str, Operation]
"""The method, path and name of a further route that a format has with a store, and the route."""


class Format(Protocol):
    """A protocol that a client speaks: immutable configuration, from which encoders are made.

    Attributes:
        headers: what the protocol wants beside the event stream's own headers.
        carries_raw: whether a producer's own `ServerSentEvent`s may go out on it.
    """

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]]
    carries_raw: ClassVar[bool]

    @property
    def offered(self) -> Collection[str] | None:
        """The names of the tools that the client offered to run: a call of any other is not the
        client's to answer. None if the protocol's requests do not tell."""

    def encoder(self) -> Encoder:
        """A new encoder, for one stream from its first event on."""

    def error_body(self, error: LLMStreamError) -> bytes:
        """The JSON body of an HTTP error, before a stream has begun."""


class RequestFormat(Format, Protocol):
    """A format that has requests of its own, so that `ChatApp` can serve it.

    Attributes:
        route: where, below the app's mount, as "/chat/completions".
        methods: "POST", and "GET", whose requests are query strings; one of them or both.
        names_model: whether its requests name the model: then one that does not is refused where
            there are several.
    """

    route: ClassVar[str]
    methods: ClassVar[tuple[Method, ...]]
    names_model: ClassVar[bool]

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        """The request that these fields make: of POST the body's JSON object, of GET those of
        the query, each as text. A large body's are decoded in a thread.

        Raises:
            BadRequest: if they are none; names the field at fault.
        """

    def for_request(self, request: ChatRequest) -> RequestFormat:
        """This format, set up as the request wants it."""


class WholeFormat(Format, Protocol):
    """A format that also has answers in one piece, for requests that want no stream."""

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        """The JSON body of a finished answer."""


class PlainFormat(Format, Protocol):
    """A format that is no event stream. It has neither heartbeats nor a word for a failure: in the
    place of that the connection is broken off.

    Attributes:
        media_type: of its responses.
    """

    media_type: ClassVar[str]


class NumberedFormat(Format, Protocol):
    """A format whose clients come back with the `id:` of the last event that they have.

    Attributes:
        cursors: "own": its encoders write ids of the shape `RUN:NUMBER`, and each event stands for
            itself. "added": they write none, and ids are added where a store keeps the stream.
    """

    cursors: ClassVar[Literal["own", "added"]]


class CountedFormat(Format, Protocol):
    """A format whose clients come back with how many events they have: deltas that wait together
    go out one by one.

    Attributes:
        counts_events: True.
    """

    counts_events: ClassVar[Literal[True]]


class DocumentedFormat(RequestFormat, Protocol):
    """A format that knows more of its route than that it takes JSON and gives a stream."""

    def operation(self, method: Method, /) -> Operation:
        """The route in an OpenAPI document."""


class StoredFormat(RequestFormat, Protocol):
    """A format whose protocol has routes of its own for answers that a store keeps."""

    def stored_operations(self) -> Iterable[StoredOperation]:
        """Those routes, in an OpenAPI document."""


class PublishedFormat(RequestFormat, Protocol):
    """A format of our own: no vendor says what it looks like."""

    def schema(self) -> Schema | None:
        """The schema of its events' data; None if that is not ours to say."""


def answers_whole(format: Format) -> TypeGuard[WholeFormat]:
    """Tell whether the format has answers in one piece."""
    return hasattr(format, "whole_body")


def is_plain(format: Format) -> TypeGuard[PlainFormat]:
    """Tell whether the format is no event stream."""
    return hasattr(format, "media_type")


def schema_of(format: RequestFormat | PublishedFormat) -> Schema | None:
    """Return what the format's events look like, if it says so."""
    schema = getattr(format, "schema", None)
    return schema() if schema is not None else None


def has_envelope(format: Format) -> bool:
    """Tell whether the stream is ours: if not, it has the producer's own events and ids, and none
    of ours (`Events(envelope=False)`)."""
    return bool(getattr(format, "envelope", True))


def says_failures(format: Format) -> bool:
    """Tell whether a failure in mid-stream has a word; if not, the connection is broken off."""
    return has_envelope(format) and not is_plain(format)


def cursors_of(format: Format) -> Literal["own", "added"] | None:
    """Tell whether its clients come back with an `id:`, and who writes it."""
    cursors: Literal["own", "added"] | None = getattr(format, "cursors", None)
    return cursors


def counts_events(format: Format) -> bool:
    """Tell whether its clients count events."""
    return hasattr(format, "counts_events")


def counts_bytes(format: Format) -> bool:
    """Tell whether the client comes back with how many bytes it has: nothing may stand between
    events that is none of the run's (`OpenAIChat(counts_bytes=True)`)."""
    return bool(getattr(format, "counts_bytes", False))


def stored_operations_of(format: RequestFormat | StoredFormat) -> Iterable[StoredOperation]:
    """Return the format's own routes for answers that a store keeps."""
    operations = getattr(format, "stored_operations", None)
    return operations() if operations is not None else ()


def takes_merged(format: Format) -> bool:
    """Tell whether deltas that wait together may go out as one."""
    return not (counts_events(format) or counts_bytes(format))
