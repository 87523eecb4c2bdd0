"""Any value → JSON's own types. An object reaches no client by its `str()`, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

__all__ = ["as_builtins", "known_to_json"]


def as_builtins(value: Any, field: str) -> Any:
    """Return `value` as JSON's own types, so that formats and stores need not know any other.

    Besides those it may hold dataclasses, objects of pydantic, attrs and msgspec, enums, UUIDs,
    dates and times, `Decimal`, bytes, sets and tuples.

    Args:
        field: what it is, as "Data('user').value", for the error.

    Raises:
        TypeError: if something in it is none of these. It names the field and the class, and
            nothing of what the object holds.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise TypeError(f"{field} holds itself, or is nested too deeply for JSON") from None
    except Exception:
        path, culprit = _find(value, field)
    what = type(culprit).__qualname__
    if isinstance(culprit, Mapping):
        what += " with keys that are no text"
    raise TypeError(
        f"{path} is no JSON, which is all that a client is sent, but: {what}. Make it text, a "
        "dict, a dataclass or a pydantic model of what the client may see"
    )


def known_to_json(value: Any) -> Any:
    """Return the same of what a provider sent along; null in place of what is no JSON."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped_or_none)


def _encode(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped)


# Of classes made of JSON's own types: their values, and not what they choose to show.
_DERIVED: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)


def _dumped(value: Any) -> Any:
    for kind, as_it_is in _DERIVED:
        if isinstance(value, kind):
            return as_it_is(value)
    # Pydantic's models say themselves what they are in JSON.
    return value.model_dump(mode="json")


def _dumped_or_none(value: Any) -> Any:
    try:
        return _dumped(value)
    except Exception:
        return None


def _find(value: Any, path: str) -> tuple[str, Any]:
    """Return where in `value` is something that is no JSON, and that."""
    for step, inside in _inside(value):
        try:
            _encode(inside)
        except Exception:
            return _find(inside, path + step)
    return path, value


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", inside) for key, inside in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{index}]", inside) for index, inside in enumerate(value))
    else:
        yield from ((f".{name}", getattr(value, name, None)) for name in _fields_of(type(value)))


def _fields_of(cls: Any) -> Iterator[str]:
    """Yield the fields' names: of msgspec, dataclasses, pydantic and attrs."""
    yield from getattr(cls, "__struct_fields__", ())
    yield from getattr(cls, "__dataclass_fields__", ())
    yield from getattr(cls, "__pydantic_fields__", ())
    yield from (attribute.name for attribute in getattr(cls, "__attrs_attrs__", ()))
