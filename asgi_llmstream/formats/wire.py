"""Bytes in and out: JSON, and the server-sent events that carry it."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import BadRequest
from ..lifecycle import without_halves

__all__ = ["DONE", "data", "decode_json", "dumps", "named", "quote", "utf8"]

DONE = b"data: [DONE]\n\n"
"""The last event of the protocols that say so."""


def decode_json(
    body: bytes, max_depth: int | None = None, max_items: int | None = None
) -> dict[str, Any]:
    """The object in `body`, safe to be walked through.

    Args:
        max_depth: how deep its lists and objects may be nested.
        max_items: how many values may be in it, which is known before any is made.

    Raises:
        BadRequest: if there is none, it is nested more deeply, or there are more.
    """
    if max_items is not None:
        _check_items(body, max_items)
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None
    if not isinstance(raw, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if max_depth is not None:
        _check_depth(raw, max_depth)
    return raw


def _check_items(body: bytes, limit: int) -> None:
    """Count the values by what stands in front of them; where that is little enough with what
    stands in strings, there is no need to look for those."""
    if _separators(body) <= limit:
        return
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = bare.count(b'"') // 2  # each of them is a value, or the name of one
    if strings > 2 * limit or _separators(b"".join(bare.split(b'"')[::2])) > limit:
        raise BadRequest(f"The body has more than {limit} values.", code="too_many_values")


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _check_depth(body: Any, limit: int) -> None:
    """Level by level: whoever walked down into it might not come back."""
    level, depth = [body], 0
    while level:
        depth += 1
        if depth > limit:
            raise BadRequest(f"The body is nested more than {limit} deep.", code="too_deep")
        inside = (v.values() if isinstance(v, dict) else v for v in level)
        level = [v for values in inside for v in values if isinstance(v, dict | list)]


# Clients that read lines with `str.splitlines()` cut at these three, so they go out escaped. In
# JSON they can stand only inside strings, where an escape means the same.
_LINE_CUTTERS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)


def dumps(value: Any) -> bytes:
    """JSON in one line; halves of characters become U+FFFD."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(without_halves(msgspec.to_builtins(value)))
    if not encoded.isascii():
        for raw, escaped in _LINE_CUTTERS:
            encoded = encoded.replace(raw, escaped)
    return encoded


def utf8(text: str) -> bytes:
    """Text as it is, with the same done to halves."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        mended: str = without_halves(text)
        return mended.encode()


_encode_text = msgspec.json.Encoder().encode


def quote(text: str) -> bytes:
    """The same for one string, quickly: this runs for every token."""
    if text.isascii():
        return _encode_text(text)
    return dumps(text)


def data(payload: bytes) -> bytes:
    """One event of only data, as most formats have it."""
    return b"data: " + payload + b"\n\n"


def named(name: str, fields: dict[str, Any]) -> bytes:
    """One event whose name stands in `event:` and, as its type, in its data."""
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), dumps({"type": name, **fields}))
