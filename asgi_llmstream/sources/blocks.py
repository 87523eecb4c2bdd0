"""Content as a list of blocks, as many providers and LangChain have it, each block a dict or an
SDK's object with a `type`.

Images, audio and the calls of tools that the provider runs itself are not read. Nor are tool
calls: wherever blocks hold them, they are streamed elsewhere too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..chunks import Chunk, Reasoning, Refusal, Source, Text
from .base import get, string

__all__ = ["read_block", "read_content", "read_sources"]


def read_content(content: Any) -> Iterator[Chunk]:
    """The chunks of a message's content: None, text, or a list of texts and blocks.

    Raises:
        TypeError: if it is none of these.
    """
    if not isinstance(content, list | tuple):
        if text := string(content):
            yield Text(text)
        return
    for block in content:
        if isinstance(block, str):
            yield Text(block)
        else:
            yield from read_block(block)


def read_block(block: Any) -> Iterable[Chunk]:
    """The chunks of one block; none for one of a type that says nothing to a reader."""
    reader = _BLOCKS.get(get(block, "type"))
    return () if reader is None else reader(block)


def read_sources(annotations: Any) -> Iterator[Source]:
    """The sources among the annotations of a text: those that have an address."""
    for annotation in annotations or ():
        # Chat completions keep it one level below.
        annotation = get(annotation, "url_citation") or annotation
        if url := get(annotation, "url"):
            yield Source(string(url), get(annotation, "title"))


def _read_text(block: Any) -> Iterator[Chunk]:
    if text := string(get(block, "text")):
        yield Text(text)
    yield from read_sources(get(block, "annotations") or get(block, "citations"))


def _read_refusal(block: Any) -> Iterator[Chunk]:
    yield Refusal(string(get(block, "refusal")))


def _read_thinking(block: Any) -> Iterator[Chunk]:
    """Anthropic's `thinking` is a text with a signature, Mistral's a list of texts."""
    thinking = get(block, "thinking")
    pieces = thinking if isinstance(thinking, list) else [{"text": thinking}]
    text = "".join(string(get(piece, "text")) for piece in pieces)
    yield from _reasoning(text, get(block, "signature"))


def _read_redacted(block: Any) -> Iterator[Chunk]:
    if data := string(get(block, "data")):
        yield Reasoning("", data, redacted=True)


def _read_reasoning(block: Any) -> Iterator[Chunk]:
    """LangChain's own `reasoning`, or OpenAI's list of summaries."""
    text = string(get(block, "reasoning"))
    text += "".join(string(get(part, "text")) for part in get(block, "summary") or ())
    extras = get(block, "extras")
    yield from _reasoning(text, extras and get(extras, "signature"))


def _read_reasoning_content(block: Any) -> Iterator[Chunk]:
    """Bedrock's."""
    content = get(block, "reasoning_content") or block
    yield from _reasoning(string(get(content, "text")), get(content, "signature"))


def _reasoning(text: str, signature: Any) -> Iterator[Chunk]:
    if text or signature:
        yield Reasoning(text, string(signature) or None)


_BLOCKS: dict[Any, Callable[[Any], Iterator[Chunk]]] = {
    "text": _read_text,
    "output_text": _read_text,
    "refusal": _read_refusal,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "reasoning": _read_reasoning,
    "reasoning_content": _read_reasoning_content,
}
