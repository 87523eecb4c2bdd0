"""What users give us to be called, and by which names: is it fit, and if not, what was meant?"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

__all__ = ["check_call", "kind_of", "near"]


def check_call(function: object, name: str, given: str, write: str) -> None:
    """Refuse what cannot be called as it will be.

    Args:
        function: as it was given.
        name: of the parameter, as "on_finish".
        given: the arguments that it will be called with, in words, separated by ", "; empty for
            none.
        write: how it could be written.

    Raises:
        TypeError: if it is no function, was called already, or takes other arguments.
    """
    if inspect.iscoroutine(function):
        function.close()  # or Python would warn that it was never awaited
    if made_by := _made_by(function):
        raise TypeError(
            f"{name} is what {made_by}() returned: give the function itself, {made_by}, which is "
            "called when it is time"
        )
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {kind_of(function)}: write `{write}`")
    if problem := _unfit(function, len(given.split(", ")) if given else 0):
        raise TypeError(
            f"{name} is called with {given or 'no arguments'}, and {_name(function)}() does not "
            f"take that: {problem}. {_instead(function, write)}"
        )


def kind_of(value: object) -> str:
    """Return what it is, in the words of an error."""
    if value is None:
        return "None"
    if inspect.isclass(value):
        return f"the class {value.__qualname__}"
    name = type(value).__qualname__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def near(name: object, names: Collection[str]) -> str:
    """Return the end of a sentence that says which name was meant, or all that there are."""
    close = get_close_matches(str(name), names, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(names))}"


def _made_by(value: Any) -> str:
    """Return the name of the function whose coroutine or generator it is."""
    is_made = inspect.iscoroutine(value) or inspect.isasyncgen(value) or inspect.isgenerator(value)
    return str(value.__name__) if is_made else ""


def _unfit(function: Any, count: int) -> str:
    """Return why it cannot be called with so many arguments."""
    code = getattr(function, "__code__", None)
    if code is not None and not code.co_kwonlyargcount:
        if code.co_argcount == count + inspect.ismethod(function):
            return ""  # mostly it is so, and a signature takes its time
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""  # it does not tell
    try:
        signature.bind(*range(count))
    except TypeError as error:
        return str(error)
    return ""


def _instead(function: Any, write: str) -> str:
    owner, _, method = getattr(function, "__qualname__", "").rpartition(".")
    owner = owner.rpartition("<locals>.")[2]
    if inspect.isclass(function):
        return f"It is a class: give a method of an instance, or write `{write}`"
    if owner and inspect.isfunction(function) and "self" in inspect.signature(function).parameters:
        return f"It is a method of a class: give an instance's, {owner}(...).{method}"
    return f"Write `{write}`, or bind what else it needs with functools.partial"


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__)).rpartition(
        "<locals>."
    )[2]
