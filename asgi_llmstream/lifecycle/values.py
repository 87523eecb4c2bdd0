"""What a producer yields, held to the types that events may have: text, and JSON's own."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["as_builtins", "as_json", "check_patch", "check_strings"]


def check_strings(*values: object, optional: tuple[object, ...] = ()) -> None:
    """Refuse a chunk whose names and texts are none.

    Args:
        values: what must be a string.
        optional: what may be None, too.

    Raises:
        TypeError: if one is something else.
    """
    for value in (*values, *(value for value in optional if value is not None)):
        if not isinstance(value, str):
            raise TypeError(f"a chunk's names and texts are str, not {type(value).__name__}")


def check_patch(patch: Any) -> None:
    """Refuse a JSON Patch that is none: a client that applies it would break.

    Raises:
        ValueError: if it is something else than operations in a list (RFC 6902 section 4).
    """
    if not isinstance(patch, list) or not all(map(_is_operation, patch)):
        raise ValueError(f"this is no JSON Patch (RFC 6902): {patch!r}")


def _is_operation(value: Any) -> bool:
    match value:
        case {"op": "add" | "replace" | "test", "path": path, "value": _}:
            return _is_pointer(path)
        case {"op": "remove", "path": path}:
            return _is_pointer(path)
        case {"op": "move" | "copy", "path": path, "from": source}:
            return _is_pointer(path) and _is_pointer(source)
        case _:
            return False


def _is_pointer(value: Any) -> bool:
    return value == "" or (isinstance(value, str) and value.startswith("/"))


def as_json(value: Any) -> str:
    """`value` as text."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half an emoji, as a model's output may be cut
        return json.dumps(value, separators=(",", ":"))


def as_builtins(value: Any) -> Any:
    """`value` as JSON's own types, so that formats and stores need not know any other."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_object)


def _plain_object(value: Any) -> Any:
    # Pydantic's models say themselves what they are in JSON; the rest is shown as text.
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)
