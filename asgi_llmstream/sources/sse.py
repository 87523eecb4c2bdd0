"""Other packages' server-sent events, for the plain format: sse-starlette's `ServerSentEvent`,
`JSONServerSentEvent` and event dicts, FastAPI's `ServerSentEvent`, Litestar's
`ServerSentEventMessage`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..chunks import Chunk, Raw
from ..sse import ServerSentEvent
from .base import get, is_named
from .values import as_builtins

__all__ = ["is_event", "is_fields", "read_event", "read_fields", "read_own"]

# What sse-starlette's event dicts may hold. A separator of one's own is not kept: LF is the one
# that every client reads.
_FIELDS = frozenset({"data", "event", "id", "retry", "comment", "sep"})


def is_event(item: object) -> bool:
    """Return whether it is one of these packages' objects."""
    return is_named(item, "ServerSentEvent", "ServerSentEventMessage") and hasattr(item, "data")


def is_fields(item: dict[str, Any]) -> bool:
    """Return whether it is one of sse-starlette's event dicts."""
    return bool(item) and item.keys() <= _FIELDS


def read_own(item: ServerSentEvent) -> Iterable[Chunk]:
    return (Raw(item),)


def read_event(item: Any) -> Iterable[Chunk]:
    data = _fastapi_data(item) if hasattr(item, "raw_data") else get(item, "data")
    fields = {name: get(item, name) for name in ("event", "id", "retry", "comment")}
    return (_raw(data=data, **fields),)


def read_fields(item: dict[str, Any]) -> Iterable[Chunk]:
    return (_raw(**item),)


def _fastapi_data(item: Any) -> Any:
    """FastAPI's `data` is any value, and goes out as JSON, also a text."""
    if item.raw_data is not None or item.data is None:
        return item.raw_data
    return msgspec.json.encode(as_builtins(item.data, "ServerSentEvent.data"))


def _raw(
    data: Any = None,
    event: str | None = None,
    id: Any = None,
    retry: int | None = None,
    comment: Any = None,
    sep: object = None,
) -> Raw:
    if isinstance(data, bytes):
        data = data.decode("utf-8", "replace")
    own = ServerSentEvent(
        data=_text(data), event=event, id=_text(id), retry=retry, comment=_text(comment)
    )
    return Raw(own)


def _text(value: Any) -> str | None:
    plain = as_builtins(value, "ServerSentEvent's data")
    if plain is None or isinstance(plain, str):
        return plain
    return msgspec.json.encode(plain).decode()
