"""Any shape of iterable → one iterator that can be stepped, thrown into and closed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..sources import is_item, unknown
from .kinds import is_function, is_iterable, is_manager, may_block
from .threads import ThreadIterator, Worker

__all__ = ["Steps", "discard", "open_steps"]


class Steps:
    """An opened producer.

    Attributes:
        advance: its `__anext__`.
        throw: its `athrow`, or None if it has none.
    """

    def __init__(self, iterator: Any, owners: Sequence[object]) -> None:
        self.advance: Callable[[], Awaitable[Any]] = iterator.__anext__
        self.throw: Callable[[BaseException], Awaitable[Any]] | None = getattr(
            iterator, "athrow", None
        )
        self._throw_in = getattr(iterator, "throw_in", self.throw)
        self._closing = [iterator, *(owner for owner in owners if owner is not iterator)]

    async def blame(self, error: Exception) -> Exception:
        """Raise `error` at the `yield` of the item that is at fault, where the producer has one:
        so its traceback ends there. Return what comes out.

        A producer that goes on regardless is not heard: it is `error` then.
        """
        if self._throw_in is not None:
            try:
                await self._throw_in(error.with_traceback(None))
            except StopAsyncIteration:
                pass
            except Exception as raised:
                return raised
        return error

    async def close(self, shield: Callable[[], AbstractContextManager[object]]) -> None:
        """Close the iterator, then what it came from, whatever raises.

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


async def open_steps(producer: Any) -> Steps:
    """Call `producer` if it is a function, await and enter it as far as needed, begin to iterate.

    Raises:
        TypeError: if there is nothing to iterate over.
        RuntimeError: if it is a generator that has run already, which would pass for an empty
            answer.
    """
    if is_function(producer):
        producer = await _call_in_thread(producer) if may_block(producer) else producer()
    while not hasattr(producer, "__aiter__") and inspect.isawaitable(producer):
        producer = await producer
    owners = []
    if not is_iterable(producer) and is_manager(producer):
        owners.append(_Exit(producer))
        producer = await producer.__aenter__()
    if not is_iterable(producer):
        if is_item(producer):
            return Steps(_whole(producer), owners)
        for owner in owners:
            await owner.aclose()
        raise unknown(producer, "return")
    if inspect.isasyncgen(producer) and producer.ag_frame is None:
        raise RuntimeError("this generator has run already: make one per stream")
    if not hasattr(producer, "__aiter__"):
        return Steps(ThreadIterator(producer), owners)  # which its thread closes
    return Steps(aiter(producer), [producer, *owners])


async def _call_in_thread(function: Callable[[], Any]) -> Any:
    """Call it; what is to be iterated over in a thread stays in that one."""
    worker = Worker()
    made = await worker.call(function)
    if is_iterable(made) and not hasattr(made, "__aiter__"):
        return ThreadIterator(made, worker)
    worker.finish()
    return made


async def _whole(answer: object) -> AsyncIterator[object]:
    yield answer


class _Exit:
    """Leaves an async context manager when it is closed."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def aclose(self) -> None:
        await self._manager.__aexit__(None, None, None)


async def discard(producer: Any) -> None:
    """Let go of a producer that was never begun: close what is open, begin nothing."""
    if inspect.iscoroutine(producer):
        producer.close()  # or Python would warn that it was never awaited
    elif inspect.isawaitable(producer) and hasattr(producer, "cancel"):
        producer.cancel()  # a task that fetches it
    elif hasattr(producer, "__aiter__"):
        await _close(producer)
    elif hasattr(producer, "__next__"):
        await ThreadIterator(producer).aclose()


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
