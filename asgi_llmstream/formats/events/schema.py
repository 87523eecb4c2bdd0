"""The JSON Schema of the plain events' data, made from the events themselves."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, Struct

from ...chunks import Usage
from ...events import (
    CaughtUp,
    Event,
    Item,
    NativeAdded,
    Part,
    PartEnded,
    PartKind,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepEnded,
    StepStarted,
    UsageReported,
)
from ..base import Schema

__all__ = ["event_schema"]


class PartDelta(Event, frozen=True, tag="part-delta"):
    """A part grows by `text`, which is never empty; `part` is its index.

    Deltas that waited together are one; `seq` is that of the last of them.
    """

    kind: PartKind
    part: int
    text: str


class ItemAdded(Event, frozen=True, tag="item-added"):
    """Something that comes whole."""

    item: Item


_EVENTS: tuple[type[Struct], ...] = (
    RunStarted,
    StepStarted,
    PartStarted,
    PartDelta,
    PartEnded,
    ItemAdded,
    NativeAdded,
    UsageReported,
    StepEnded,
    CaughtUp,
    RunFinished,
    RunFailed,
    RunAborted,
)
_PARTS: tuple[type[Struct], ...] = (Part, *get_args(Item), Usage)


def event_schema() -> Schema:
    """Return the schema of any one event's `data`; its `type` is the event's type, too."""
    known = (*_EVENTS, *_PARTS)
    references, definitions = msgspec.json.schema_components(known, ref_template="#/$defs/{name}")
    for kind in known:
        definitions[kind.__name__] |= _as_sent(kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PlainEvent",
        "description": "One plain event of asgi-llmstream: run-started, any number of the others, "
        "then exactly one of run-finished, run-failed and run-aborted.",
        "oneOf": [*references[: len(_EVENTS)]],
        "$defs": definitions,
    }


def _as_sent(kind: type[Struct]) -> dict[str, Any]:
    """Return what msgspec says of reading: a field with a default is sent all the same."""
    tag = [name] if (name := kind.__struct_config__.tag_field) else []
    sent = [
        field.encode_name
        for field in msgspec.structs.fields(kind)
        if field.default is NODEFAULT
        or not (kind.__struct_config__.omit_defaults or field.default is msgspec.UNSET)
    ]
    about, *_ = (kind.__doc__ or "").split("\n\n")
    return {"required": [*tag, *sent], "description": " ".join(about.split())}
