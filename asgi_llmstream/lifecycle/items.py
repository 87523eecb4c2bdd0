"""What comes whole, held to the types that events may have."""

from __future__ import annotations

from msgspec.structs import replace

from ..chunks import Data, Document, File, Metadata, Raw, Source, State, StateDelta
from ..events import Item
from ..sources import as_builtins
from .values import check_flags, check_patch, check_strings

__all__ = ["checked"]


def checked(chunk: Item | Raw) -> Item | Raw:
    """Return the item that events have of it.

    Raises:
        TypeError: if a field is of another type, or a value cannot be JSON.
        ValueError: if a patch is none.
    """
    match chunk:
        case Data(name=name, value=value):
            check_strings(chunk, "name", optional=("id",))
            check_flags(transient=chunk.transient)
            return replace(chunk, value=as_builtins(value, f"Data({name!r}).value"))
        case Source():
            check_strings(chunk, "url", optional=("title",))
        case Document():
            check_strings(chunk, "title", "media_type", optional=("filename",))
        case File():
            check_strings(chunk, "url", "media_type")
        case Metadata(fields=fields):
            return _metadata(fields)
        case State(value=value):
            return State(as_builtins(value, "State.value"))
        case StateDelta(patch=patch):
            patch = as_builtins(patch, "StateDelta.patch")
            check_patch(patch)
            return StateDelta(patch)
    return chunk


def _metadata(given: object) -> Metadata:
    fields = as_builtins(given, "Metadata.fields")
    if not isinstance(fields, dict):
        raise TypeError(f"metadata are a dict, not {type(given).__name__}")
    return Metadata(fields)
