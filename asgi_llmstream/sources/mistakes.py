"""What nobody can stream, and what was probably meant. For the log: the developer reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

__all__ = ["unknown"]

_ACCEPTED = (
    "A producer may {verb} str, bytes, a chunk such as Text or Data, and what providers' clients "
    "return (README: What a producer may yield)"
)

Verb = Literal["yield", "return"]


def unknown(item: object, verb: Verb = "yield") -> TypeError:
    """Return the error of an item that no reader knows; let go of it, if it is to be awaited.

    Args:
        verb: how the producer gave it.
    """
    hint = next(say for is_this, say in _HINTS if is_this(item))(item, verb)
    if inspect.iscoroutine(item):
        item.close()  # or Python would warn that it was never awaited
    what = _named(item) if verb == "yield" else f"from {_named(item)}"
    return TypeError(f"cannot stream {what}: {hint}. {_ACCEPTED.format(verb=verb)}")


def _named(item: object) -> str:
    if isinstance(item, Mapping):
        return f"a dict with {', '.join(sorted(map(str, item))) or 'no keys'}"
    return type(item).__qualname__


def _name(item: Any) -> str:
    return str(getattr(item, "__name__", type(item).__name__))


def _is_response(item: object) -> bool:
    return hasattr(item, "status_code") and hasattr(item, "headers")


def _of_a_generator(item: object, verb: Verb) -> str:
    loop = "async for" if hasattr(item, "__aiter__") else "for"
    return f"iterate over it: `{loop} item in {_name(item)}(...): yield item`"


def _of_a_value(item: object, verb: Verb) -> str:
    return f'for a value of your own `{verb} Data("its name", value)`'


def _of_a_dict(item: Any, verb: Verb) -> str:
    if "content" in item:
        return f'of a message {verb} the text, `{verb} message["content"]`'
    return _of_a_value(item, verb)


_HINTS: tuple[tuple[Callable[[object], bool], Callable[[Any, Verb], str]], ...] = (
    (
        lambda item: item is None,
        lambda item, verb: (
            "leave out what is empty, as in `if text: yield text`"
            if verb == "yield"
            else "the function returned nothing: `return` what is to be streamed, or `yield` it"
        ),
    ),
    (
        inspect.isawaitable,
        lambda item, verb: f"an `await` is missing: `{verb} await {_name(item)}(...)`",
    ),
    (
        _is_response,
        lambda item, verb: (
            f"the response is made for you: {verb} what would be in it, or raise LLMStreamError "
            "to refuse"
        ),
    ),
    (
        inspect.isclass,
        lambda item, verb: f"it is the class {_name(item)}: make one with `{_name(item)}(...)`",
    ),
    (
        inspect.isroutine,
        lambda item, verb: f"it was not called: `{verb} {_name(item)}(...)`",
    ),
    (
        lambda item: isinstance(item, BaseException),
        lambda item, verb: "raise it, or yield Error(...), which the client reads",
    ),
    (lambda item: isinstance(item, Mapping), _of_a_dict),
    (
        lambda item: isinstance(item, list | tuple | set | frozenset),
        lambda item, verb: "yield its items one by one: `for item in items: yield item`",
    ),
    (
        lambda item: hasattr(item, "__aenter__"),
        lambda item, verb: "enter it: `async with it as stream: async for item in stream: ...`",
    ),
    (
        lambda item: hasattr(item, "__aiter__") or hasattr(item, "__next__"),
        _of_a_generator,
    ),
    (
        lambda item: isinstance(item, int | float),
        lambda item, verb: f"`{verb} str(...)` if it is text",
    ),
    (lambda item: True, _of_a_value),
)
