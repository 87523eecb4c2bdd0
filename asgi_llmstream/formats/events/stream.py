"""Plain typed events for a browser's `EventSource` (WHATWG HTML section 9.2).

`event:` is our event's type, `data:` its JSON, `id:` its cursor. The types never are "error",
which `EventSource` uses for its own connection errors.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from ...chunks import Raw
from ...errors import LLMStreamError
from ...events import Event, ItemAdded, PartDelta, RunStarted
from ...request import ChatRequest
from ...sse import ServerSentEvent
from ..base import Encoder, Method, Operation, Schema
from ..wire import dumps, quote
from .openapi import operation
from .request import decode_request
from .schema import event_schema

__all__ = ["Events"]


class Events(Struct, frozen=True, kw_only=True):
    """The format of `GET /events?prompt=`, and of `POST /events` with a whole conversation in
    OpenAI chat's words. `GET /events/schema` is the JSON Schema of its events.

    Args:
        retry: milliseconds after which an `EventSource` reconnects; its own default if None.
        envelope: put our events around the producer's own. Without it the producer yields
            `ServerSentEvent`s only, and they go out exactly as they are, with nothing of ours
            between them but heartbeats. Their ids, and `Last-Event-ID`, are then the
            application's, and a stream that breaks off has no last word: the connection does.
        offered: the names of the tools that the client runs; None if unknown, as of an
            `EventSource`.

    Raises:
        ValueError: if `retry` is negative, or would need the envelope.
    """

    retry: int | None = None
    envelope: bool = True
    offered: frozenset[str] | None = None

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = True
    cursors: ClassVar[Literal["own"]] = "own"
    route: ClassVar[str] = "/events"
    methods: ClassVar[tuple[Method, ...]] = ("GET", "POST")
    names_model: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry must not be negative: {self.retry}")
        if self.retry is not None and not self.envelope:
            raise ValueError("retry goes out in events of ours: without them, yield it yourself")

    def encoder(self) -> Encoder:
        return _Encoder(self).encode if self.envelope else _as_it_is

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields)

    def for_request(self, request: ChatRequest) -> Events:
        if "messages" not in request.body:
            return self
        return msgspec.structs.replace(self, offered=request.offered)

    def error_body(self, error: LLMStreamError) -> bytes:
        fields: dict[str, Any] = {
            "type": "error",
            "message": error.message,
            "code": error.code,
            "status": error.status,
        }
        if error.param is not None:
            fields["param"] = error.param
        return dumps(fields)

    def operation(self, method: Method, /) -> Operation:
        return operation(method, has_envelope=self.envelope)

    def schema(self) -> Schema | None:
        return event_schema() if self.envelope else None


def _as_it_is(event: Event) -> bytes:
    if isinstance(event, ItemAdded) and isinstance(event.item, Raw):
        return event.item.event.encode_as_it_is()
    return b""


class _Encoder:
    def __init__(self, format: Events) -> None:
        self._run_id = b""
        # Goes out inside the next event that has data: on its own it breaks clients.
        self._retry = format.retry
        self._delta_of: int | None = None
        self._delta_middle = b""

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            delta = self._delta(event)
            return delta if self._retry is None else self._take_retry() + delta
        if isinstance(event, ItemAdded) and isinstance(event.item, Raw):
            return self._own(event.item.event)
        if isinstance(event, RunStarted):
            self._run_id = event.id.encode("ascii")
        fields = msgspec.to_builtins(event)
        name = fields["type"].encode("ascii")
        return b"id: %b:%d\nevent: %b\n%bdata: %b\n\n" % (
            self._run_id,
            event.seq,
            name,
            self._take_retry(),
            dumps(fields),
        )

    def _delta(self, event: PartDelta) -> bytes:
        """The hot path, and flat: a delta says only which part it belongs to."""
        part = event.part
        if part.index != self._delta_of:
            self._delta_of = part.index
            self._delta_middle = b',"kind":"%b","part":%d,"text":' % (
                part.kind.encode("ascii"),
                part.index,
            )
        return b'id: %b:%d\nevent: part-delta\ndata: {"type":"part-delta","seq":%d%b%b}\n\n' % (
            self._run_id,
            event.seq,
            event.seq,
            self._delta_middle,
            quote(event.text),
        )

    def _own(self, event: ServerSentEvent) -> bytes:
        """A producer's own event. Of one without data only the comment is to be seen."""
        if event.data is None:
            if event.retry is not None:
                self._retry = event.retry
        elif event.retry is None:
            event = msgspec.structs.replace(event, retry=self._retry)
            self._retry = None
        else:
            self._retry = None
        return event.encode()

    def _take_retry(self) -> bytes:
        if self._retry is None:
            return b""
        retry, self._retry = self._retry, None
        return b"retry: %d\n" % retry
