"""Plain typed events for a browser's `EventSource` (WHATWG HTML section 9.2).

`event:` is our event's type, `data:` its JSON, `id:` its cursor. The types never are "error",
which `EventSource` uses for its own connection errors.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from ...chunks import Raw
from ...errors import BadRequest, LLMStreamError
from ...events import Event, ItemAdded, PartDelta, RunStarted
from ...request import ChatMessage, ChatRequest
from ..base import Encoder, dumps, quote

__all__ = ["Events"]


class Events(Struct, frozen=True, kw_only=True):
    """The format of `GET /events`.

    Args:
        retry: milliseconds after which an `EventSource` reconnects; its own default if None.
    """

    retry: int | None = None

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = True
    route: ClassVar[str] = "/events"
    method: ClassVar[Literal["GET", "POST"]] = "GET"

    def __post_init__(self) -> None:
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry must not be negative: {self.retry}")

    def encoder(self) -> Encoder:
        return _Encoder(self).encode

    def decode(self, query: bytes, /) -> ChatRequest:
        """The `prompt` of a query string, and its `model`, if it names one.

        Raises:
            BadRequest: without a prompt.
        """
        given = parse_qs(query.decode("latin-1"))
        prompt = given.get("prompt", [""])[0]
        if not prompt:
            raise BadRequest("The query needs a prompt.", param="prompt", code="missing_field")
        return ChatRequest(
            messages=[ChatMessage(role="user", content=prompt)],
            model=given.get("model", [""])[0],
            stream=True,
        )

    def for_request(self, request: ChatRequest) -> Events:
        return self

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


class _Encoder:
    def __init__(self, format: Events) -> None:
        self._format = format
        self._run_id = ""
        self._delta_of: int | None = None
        self._delta_prefix = b""

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            return self._delta(event)
        if isinstance(event, ItemAdded) and isinstance(event.item, Raw):
            return event.item.data
        retry = b""
        if isinstance(event, RunStarted):
            self._run_id = event.id
            if self._format.retry is not None:
                # Inside an event that has data: on its own it breaks clients.
                retry = b"retry: %d\n" % self._format.retry
        fields = msgspec.to_builtins(event)
        name = fields["type"].encode("ascii")
        return b"id: %b\nevent: %b\n%bdata: %b\n\n" % (
            self._cursor(event),
            name,
            retry,
            dumps(fields),
        )

    def _delta(self, event: PartDelta) -> bytes:
        """The hot path, and flat: a delta says only which part it belongs to."""
        part = event.part
        if part.index != self._delta_of:
            self._delta_of = part.index
            self._delta_prefix = (
                b'\nevent: part-delta\ndata: {"type":"part-delta","kind":"%b","part":%d,"text":'
                % (part.kind.encode("ascii"), part.index)
            )
        return b"id: %b%b%b}\n\n" % (self._cursor(event), self._delta_prefix, quote(event.text))

    def _cursor(self, event: Event) -> bytes:
        return b"%b:%d" % (self._run_id.encode("ascii"), event.seq)
