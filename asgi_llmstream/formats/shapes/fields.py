"""What the request decoders share: JSON in, and errors that name the field."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from ...errors import BadRequest

__all__ = ["bad_field", "convert", "decode_json", "given"]

T = TypeVar("T")


def decode_json(body: bytes) -> dict[str, Any]:
    """The object in `body`.

    Raises:
        BadRequest: if there is none.
    """
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None
    if not isinstance(raw, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    return raw


def convert(raw: object, kind: type[T], at: str = "") -> T:
    """`raw` as a `kind`.

    Args:
        at: where in the body it stands, as "messages[0].content[1]".

    Raises:
        BadRequest: if it is none; `param` names the field at fault.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _from_msgspec(str(error), at) from None


def bad_field(path: str, what: str) -> BadRequest:
    """The error for a field: `what` continues a sentence that begins with its name."""
    return BadRequest(f"{path} {what}.", param=path, code="invalid_field")


def given(raw: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The fields of these names that are there and not null."""
    return {name: raw[name] for name in names if raw.get(name) is not None}


_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"required field `(?P<name>\w+)`")


def _from_msgspec(text: str, at: str) -> BadRequest:
    """msgspec says what is wrong and where in one sentence; the client gets the two apart."""
    found = _PATH.match(text)
    what, inner = (found["what"], found["path"] or "") if found else (text, "")
    path = f"{at}{'' if inner.startswith('[') else '.'}{inner}".strip(".")
    if missing := _MISSING.search(what):
        path = f"{path}.{missing['name']}".lstrip(".")
        return BadRequest(f"{path} is required.", param=path, code="missing_field")
    return bad_field(path, f"is not valid: {what}")
