"""What producers yield, whatever its type → chunks. Duck-typed: no SDK is imported.

`chunks_of` finds a reader for an object's class once and remembers it. A reader is stateless:
it turns one object into the chunks that it stands for, often one, sometimes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ..chunks import Chunk, Raw, Text
from ..sse import ServerSentEvent
from . import openai

__all__ = ["chunks_of"]

Reader = Callable[[Any], Iterable[Chunk]]

ACCEPTED = (
    "str, a chunk of asgi_llmstream.chunks, an OpenAI ChatCompletionChunk (or the dict of one), "
    "or a ServerSentEvent"
)


def chunks_of(item: object) -> Iterable[Chunk]:
    """The chunks that one yielded item stands for.

    Raises:
        TypeError: if nothing knows its type; names what is accepted.
        ValueError: if a server-sent event could not be framed (see `ServerSentEvent`).
    """
    reader = _READERS.get(type(item))
    if reader is None:
        _READERS[type(item)] = reader = _find_reader(item)
    return reader(item)


def _find_reader(item: object) -> Reader:
    if isinstance(item, str):
        return _read_str
    if isinstance(item, Chunk):
        return _read_chunk
    if isinstance(item, Mapping):
        return _read_mapping
    if isinstance(item, ServerSentEvent) or _is_server_sent_event(item):
        return _read_server_sent_event
    if openai.is_chat_chunk(item):
        return openai.read_chat_chunk
    raise TypeError(f"cannot stream {type(item).__qualname__}: a producer may yield {ACCEPTED}")


def _read_str(item: str) -> Iterable[Chunk]:
    return (Text(str(item)),)


def _read_chunk(item: Chunk) -> Iterable[Chunk]:
    return (item,)


def _read_mapping(item: Mapping[str, Any]) -> Iterable[Chunk]:
    # Told apart by shape each time: all of them are dicts.
    if "choices" in item:
        return openai.read_chat_mapping(item)
    if item and item.keys() <= _SSE_FIELDS:
        return (_raw(**item),)
    shape = ", ".join(sorted(map(str, item))) or "no keys"
    raise TypeError(f"cannot stream a dict with {shape}: a producer may yield {ACCEPTED}")


def _is_server_sent_event(item: object) -> bool:
    # sse-starlette's class, and others of the same name and fields.
    return type(item).__name__ == "ServerSentEvent" and hasattr(item, "data")


def _read_server_sent_event(item: Any) -> Iterable[Chunk]:
    if isinstance(item, ServerSentEvent):
        return (Raw(item.encode()),)
    return (_raw(**{name: getattr(item, name, None) for name in _SSE_FIELDS}),)


# What sse-starlette's event dicts may hold. A separator of one's own is not kept: LF is the one
# that every client reads.
_SSE_FIELDS = frozenset({"data", "event", "id", "retry", "comment", "sep"})


def _raw(
    data: Any = None,
    event: str | None = None,
    id: Any = None,
    retry: int | None = None,
    comment: str | None = None,
    sep: object = None,
) -> Raw:
    lines = "" if comment is None else "".join(f": {c}\n" for c in str(comment).splitlines())
    if data is None and event is None and id is None and retry is None:
        return Raw(lines.encode())
    sse = ServerSentEvent(
        data="" if data is None else str(data),
        event=event,
        id=None if id is None else str(id),
        retry=retry,
    )
    return Raw(lines.encode() + sse.encode())


_READERS: WeakKeyDictionary[type, Reader] = WeakKeyDictionary()
