"""What a producer yields, held to the types that events may have: text, and JSON's own."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["as_builtins", "as_json", "check_strings"]


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
