"""Any shape of async iterable → one iterator that can be stepped, thrown into and closed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["Producer", "Steps", "Stream", "discard", "open_steps"]

Stream = AsyncIterable[Any] | Awaitable[AsyncIterable[Any]]
"""An async iterable of chunks, or an awaitable of one."""

Producer = Stream | Callable[[], Stream]
"""What a stream is made from; a function is called when it begins."""


class Steps:
    """An opened producer.

    Attributes:
        advance: its `__anext__`.
        throw: its `athrow`, or None if it has none.
    """

    def __init__(self, iterator: AsyncIterator[Any], owner: object) -> None:
        self.advance: Callable[[], Awaitable[Any]] = iterator.__anext__
        self.throw: Callable[[BaseException], Awaitable[Any]] | None = getattr(
            iterator, "athrow", None
        )
        self._closing = [iterator] if owner is iterator else [iterator, owner]

    async def close(self, shield: Callable[[], AbstractContextManager[object]]) -> None:
        """Close the iterator and what it came from, the innermost last, whatever raises.

        Args:
            shield: makes a scope in which `await` works after a cancellation. A generator is
                closed outside of one, because it may hold scopes of its own.

        Raises:
            BaseException: the last error of a close, after the others were tried.
        """
        while self._closing:
            closing = self._closing.pop(0)
            try:
                if hasattr(closing, "athrow"):
                    await _close(closing)
                else:
                    with shield():
                        await _close(closing)
            except BaseException:
                await self.close(shield)
                raise


async def open_steps(producer: object) -> Steps:
    """Call `producer` if it is a function, await it while it is awaitable, begin to iterate.

    Raises:
        TypeError: if there is nothing to iterate over.
    """
    if callable(producer) and not hasattr(producer, "__aiter__"):
        producer = producer()
    while not hasattr(producer, "__aiter__") and inspect.isawaitable(producer):
        producer = await producer
    if not hasattr(producer, "__aiter__"):
        raise TypeError(
            f"cannot stream from {type(producer).__qualname__}: give an async generator, "
            "another async iterable, or an awaitable of one"
        )
    iterator = aiter(producer)
    return Steps(iterator, producer)


def discard(producer: object) -> None:
    """Let go of a producer that was never begun, without a warning that it was not awaited."""
    if inspect.iscoroutine(producer):
        producer.close()


async def _close(closing: object) -> None:
    close = getattr(closing, "aclose", None) or getattr(closing, "close", None)
    if close is None:
        return
    try:
        result = close()
        if inspect.isawaitable(result):
            await result
    except BaseExceptionGroup as group:
        # A task group held across a yield reports the GeneratorExit of `aclose` in a group.
        if group.split(GeneratorExit)[1] is not None:
            raise
