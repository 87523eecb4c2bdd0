"""Halves of characters: JSON can cut one outside of Unicode's first plane in two (RFC 8259,
section 8.2), and models' output is cut there. UTF-8 has no halves."""

from __future__ import annotations

from typing import Any

__all__ = ["join", "without_halves"]


def join(half: str, text: str) -> tuple[str, str]:
    """Return what may be said of a text that goes on, and the half that it ends with.

    Args:
        half: which it ended with before; may be empty.
        text: how it goes on; not empty.
    """
    if half:
        pair = (half + text[0]).encode("utf-16-le", "surrogatepass")
        text = pair.decode("utf-16-le", "surrogatepass") + text[1:]
    if "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""


def without_halves(value: Any) -> Any:
    """Return JSON's `value` with U+FFFD for each half, and with each two that belong together
    joined, so that UTF-8 can hold it."""
    match value:
        case str():
            if value.isascii():
                return value
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case dict():
            return {without_halves(k): without_halves(v) for k, v in value.items()}
        case list() | tuple():
            return [without_halves(item) for item in value]
        case _:
            return value
