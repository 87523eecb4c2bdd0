"""From what producers yield, whatever its type, to chunks. Private. Duck-typed: no SDK is imported.

A reader turns one object into the chunks that it stands for, often one, sometimes none. It is
stateless: how the chunks belong together is the lifecycle's to know. `chunks_of` finds the reader
for an object's class once and remembers it; dicts are told apart by their keys each time. Only
bytes may end inside a character: a `Reading` knows what came before.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ..chunks import (
    Chunk,
    Data,
    Document,
    File,
    Finish,
    Metadata,
    Native,
    Raw,
    Source,
    State,
    StateDelta,
    Text,
    Upstream,
    Usage,
)
from ..sse import ServerSentEvent
from . import anthropic, google, langchain, openai, pydantic_ai, responses, sse
from .failures import as_exception, public_error, read_error
from .mistakes import unknown
from .values import as_builtins, known_to_json

__all__ = [
    "Reading",
    "as_builtins",
    "as_exception",
    "chunks_of",
    "is_item",
    "known_to_json",
    "public_error",
    "unknown",
]

Reader = Callable[[Any], Iterable[Chunk]]


class Reading:
    """Reads what one producer yields, item by item in its order.

    Attributes:
        cut: whether bytes ended inside a character, which further ones may complete.
    """

    def __init__(self) -> None:
        self.cut = False
        self._decoder = _UTF8("replace")

    def chunks_of(self, item: object) -> Iterable[Chunk]:
        """Return the chunks that `item` stands for, as `chunks_of` does."""
        if isinstance(item, bytes | bytearray):
            return self._decode(item)
        return self._mended(chunks_of(item)) if self.cut else chunks_of(item)

    def end(self) -> Iterable[Chunk]:
        """Return what is left: U+FFFD for a character that nothing completed."""
        return self._decode(b"", final=True) if self.cut else ()

    def _decode(self, part: bytes | bytearray, final: bool = False) -> Iterable[Chunk]:
        text = self._decoder.decode(part, final)
        self.cut = bool(self._decoder.getstate()[0])
        return (Text(text),) if text else ()

    def _mended(self, said: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in said:
            if type(chunk) not in _LEAVE_TEXT_OPEN:
                yield from self.end()
            yield chunk


_UTF8 = getincrementaldecoder("utf-8")
# What may stand in the middle of a text, as the lifecycle's table has it.
_LEAVE_TEXT_OPEN = frozenset(
    {Data, Document, File, Metadata, Native, Raw, Source, State, StateDelta, Upstream, Usage}
)


def chunks_of(item: object) -> Iterable[Chunk]:
    """The chunks that one yielded item stands for.

    Raises:
        TypeError: if nothing knows its type, and says what may be meant; if a field that should
            be text is none.
        ValueError: if a server-sent event could not be framed (see `ServerSentEvent`).
    """
    reader = _READERS.get(type(item))
    if reader is None:
        _READERS[type(item)] = reader = _find_reader(item)
    return reader(item)


def is_item(value: object) -> bool:
    """Return whether `value` is something to say, though one could iterate over it."""
    if isinstance(value, tuple):
        return langchain.is_pair(value)
    return type(value) in _READERS or _look_up(value) is not None


def _find_reader(item: Any) -> Reader:
    reader = _look_up(item)
    if reader is None:
        raise unknown(item)
    return reader


def _look_up(item: Any) -> Reader | None:
    for kinds, reader in _BY_CLASS:
        if isinstance(item, kinds):
            return reader
    return next((reader for looks_like_it, reader in _BY_LOOKS if looks_like_it(item)), None)


def _tells_chunks(item: object) -> bool:
    """Return whether it is a `Message`, or whatever else knows its chunks itself."""
    return hasattr(item, "to_chunks")


def _read_told(item: Any) -> Iterable[Chunk]:
    chunks: Iterable[Chunk] = item.to_chunks()
    return chunks


def _read_str(item: str) -> Iterable[Chunk]:
    return (Text(str.__str__(item)),)  # the text itself, also of an enum's member


def _read_bytes(item: bytes) -> Iterable[Chunk]:
    return (Text(item.decode("utf-8", "replace")),)


def _read_chunk(item: Chunk) -> Iterable[Chunk]:
    return (item,)


def _read_finish(item: Finish) -> Iterable[Chunk]:
    return (_LEFT, item)  # the producer's own word


def _read_mapping(item: Mapping[str, Any]) -> Iterable[Chunk]:
    fields = item if isinstance(item, dict) else dict(item)
    for has_this_shape, reader in _BY_SHAPE:
        if has_this_shape(fields):
            return reader(fields)
    raise unknown(fields)


def _read_tuple(item: tuple[Any, ...]) -> Iterable[Chunk]:
    if langchain.is_pair(item):
        return langchain.read_pair(item)
    raise unknown(item)


_LEFT = Upstream("left")

_BY_CLASS: tuple[tuple[type | tuple[type, ...], Reader], ...] = (
    (str, _read_str),
    ((bytes, bytearray), _read_bytes),
    (Finish, _read_finish),
    (Chunk, _read_chunk),
    (Mapping, _read_mapping),
    (tuple, _read_tuple),
    (ServerSentEvent, sse.read_own),
)

# Tried in this order, with the first object of a class.
_BY_LOOKS: tuple[tuple[Callable[[Any], bool], Reader], ...] = (
    (_tells_chunks, _read_told),
    (sse.is_event, sse.read_event),
    (openai.is_chat, openai.read_chat),
    (langchain.is_message, langchain.read_message),
    (pydantic_ai.is_event, pydantic_ai.read_event),
    (pydantic_ai.is_result, pydantic_ai.read_result),
    (google.is_response, google.read_response),
    (responses.is_event, responses.read_event),
    (responses.is_whole, responses.read_whole),
    (anthropic.is_event, anthropic.read_event),
    (openai.is_helper_event, openai.read_helper_event),
)

_BY_SHAPE: tuple[tuple[Callable[[dict[str, Any]], bool], Reader], ...] = (
    (lambda item: "choices" in item, openai.read_chat),
    (anthropic.is_event, anthropic.read_event),
    (responses.is_event, responses.read_event),
    (responses.is_whole, responses.read_whole),
    (lambda item: bool(item.get("error")), read_error),
    (langchain.is_event, langchain.read_event),
    (sse.is_fields, sse.read_fields),
)

_READERS: WeakKeyDictionary[type, Reader] = WeakKeyDictionary()
