"""The stored form of a message: what a database keeps of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, Struct

from ..chunks import FinishReason, RunBy, Usage
from ..events import Item, Part, PartKind
from .content import Content, MessagePart

__all__ = ["Stored", "restored", "stored"]


class StoredPart(Struct, frozen=True, tag_field="type", tag="part", omit_defaults=True):
    """A part without the numbers that its place among the others gives it; a call that does not
    say who runs it is the client's."""

    kind: PartKind
    text: str
    id: str
    step: int
    name: str = ""
    signature: str | None = None
    by: RunBy | None = None
    redacted: bool = False


StoredContent = StoredPart | Item


class Stored(Struct, frozen=True, kw_only=True):
    """A whole message, see `Message` for the fields."""

    id: str
    model: str
    created: int
    content: list[StoredContent]
    completed: int | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    finish_details: dict[str, Any] | None = None


def stored(content: Iterable[Content]) -> list[StoredContent]:
    """Return what is kept of a message's parts and items."""
    return [_stored(item) if isinstance(item, MessagePart) else item for item in content]


def _stored(of: MessagePart) -> StoredPart:
    part = of.part
    by = part.by if part.runs_elsewhere else None
    return StoredPart(
        part.kind,
        of.text,
        part.id,
        part.step,
        part.name,
        of.signature,
        by,
        bool(part.redacted),
    )


def restored(content: Iterable[StoredContent]) -> list[Content]:
    """Return the parts, numbered by their places, and the items."""
    kinds: Counter[PartKind] = Counter()
    restored: list[Content] = []
    for item in content:
        if isinstance(item, StoredPart):
            restored.append(_restored(item, kinds.total(), kinds[item.kind]))
            kinds[item.kind] += 1
        else:
            restored.append(item)
    return restored


def _restored(of: StoredPart, index: int, ordinal: int) -> MessagePart:
    by = "client" if of.kind == "tool_call" and of.by is None else of.by
    hidden = of.redacted or UNSET
    part = MessagePart(Part(index, of.kind, ordinal, of.step, of.id, of.name, by, hidden))
    part.signature = of.signature
    part.pieces = [of.text] if of.text else []
    return part
