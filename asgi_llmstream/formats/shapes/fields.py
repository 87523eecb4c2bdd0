"""Fields of a request, checked; errors name the one at fault."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from ...errors import BadRequest

__all__ = ["ModelName", "Name", "bad_field", "convert", "given", "missing"]

T = TypeVar("T")

ModelName = Annotated[str, Meta(max_length=256)]
"""A model's name: protocols repeat it in every event."""

Name = Annotated[str, Meta(max_length=1024)]
"""Another name, or an id."""


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


def missing(path: str) -> BadRequest:
    """The error for a field that has to be there."""
    return BadRequest(f"{path} is required.", param=path, code="missing_field")


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
    if field := _MISSING.search(what):
        return missing(f"{path}.{field['name']}".lstrip("."))
    return bad_field(path, f"is not valid: {what}")
