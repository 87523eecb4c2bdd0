"""What a producer yields, held to the types that events may have."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["as_json", "check_flags", "check_patch", "check_strings"]


def check_strings(chunk: object, *names: str, optional: tuple[str, ...] = ()) -> None:
    """Refuse a chunk whose names and texts are none.

    Args:
        names: of the fields that must be strings.
        optional: of those that may be None, too.

    Raises:
        TypeError: if one is something else, and names it.
    """
    for name in names + optional:
        value = getattr(chunk, name)
        if isinstance(value, str) or (value is None and name in optional):
            continue
        field = f"{type(chunk).__name__}.{name}"
        raise TypeError(f"{field} must be a str, not {type(value).__qualname__}")


def check_flags(**flags: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        TypeError: if one is something else, and names it.
    """
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} is a bool, not {flag!r}")


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
