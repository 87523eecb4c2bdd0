"""What a producer may be, and how to tell."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

from ..chunks import Chunk
from ..sources import is_item

__all__ = [
    "Producer",
    "Stream",
    "is_function",
    "is_iterable",
    "is_manager",
    "is_producer",
    "is_reusable",
    "may_block",
    "name_of",
]


class _TellsChunks(Protocol):
    """A `Message`."""

    def to_chunks(self) -> Iterable[Chunk]: ...


class _TellsMessages(Protocol):
    """A result of Pydantic AI."""

    def new_messages(self) -> Any: ...


# Of a provider's own classes all others are iterable, if not as they should be.
_Whole = Chunk | _TellsChunks | _TellsMessages
_Iterable = AsyncIterable[Any] | Iterable[Any]
_Opened = _Iterable | AbstractAsyncContextManager[AsyncIterable[Any]] | _Whole

Stream = _Opened | Awaitable[_Opened]
"""Something to iterate over, an async context manager of it, or an awaitable of either. Or a whole
answer: anything that a producer may yield."""

Producer = Stream | Callable[[], Stream]
"""What a stream is made from; a function is called when it begins, in a thread if it may block."""


def is_reusable(producer: object) -> bool:
    """Return whether it can be begun again: a function, a whole answer, or an iterable that is no
    iterator."""
    if not is_iterable(producer):
        return is_item(producer) or is_function(producer)
    return not (hasattr(producer, "__anext__") or hasattr(producer, "__next__"))


def is_producer(value: object) -> bool:
    """Return whether it is any of these."""
    return (
        is_iterable(value)
        or callable(value)
        or is_manager(value)
        or inspect.isawaitable(value)
        or is_item(value)
    )


def is_iterable(producer: object) -> bool:
    """Return whether it is a stream of items, and not one that could be taken for some."""
    if hasattr(producer, "__aiter__"):
        return True
    # Text is no stream of letters, and a pydantic model none of its fields.
    return hasattr(producer, "__iter__") and not is_item(producer)


def is_function(producer: object) -> bool:
    """Return whether it is to be called for what it makes."""
    # A manager that `asynccontextmanager` made is callable too, as a decorator.
    return callable(producer) and not (is_iterable(producer) or is_manager(producer))


def may_block(function: Any) -> bool:
    """Return whether it is a plain function: calling it runs what its author wrote.

    Others only make a generator or a coroutine; a lambda hands over what somebody else makes.
    """
    while isinstance(function, partial):
        function = function.func
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        function = type(function).__call__
    return not (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
        or getattr(function, "__name__", "") == "<lambda>"
    )


def is_manager(producer: object) -> bool:
    """Return whether it has to be entered first."""
    return hasattr(producer, "__aenter__")


def name_of(producer: object) -> str:
    """Return what its author calls it."""
    while isinstance(producer, partial):
        producer = producer.func
    producer = getattr(producer, "__dict__", {}).get("__wrapped__", producer)
    if not hasattr(producer, "__qualname__"):
        producer = type(producer)
    module, name = getattr(producer, "__module__", None), getattr(producer, "__qualname__", "")
    return f"{module}.{name}" if isinstance(module, str) else str(name)
