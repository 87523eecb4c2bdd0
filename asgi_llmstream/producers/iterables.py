"""Any shape of iterable → one iterator that can be stepped, thrown into and closed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, Protocol

from ..chunks import Chunk
from ..sources import is_item, unknown
from .threads import ThreadIterator, Worker

__all__ = ["Producer", "Steps", "Stream", "discard", "is_reusable", "name_of", "open_steps"]


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
    if not _is_iterable(producer):
        return is_item(producer) or _is_function(producer)
    return not (hasattr(producer, "__anext__") or hasattr(producer, "__next__"))


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
    if _is_function(producer):
        producer = await _call_in_thread(producer) if _may_block(producer) else producer()
    while not hasattr(producer, "__aiter__") and inspect.isawaitable(producer):
        producer = await producer
    owners = []
    if not _is_iterable(producer) and _is_manager(producer):
        owners.append(_Exit(producer))
        producer = await producer.__aenter__()
    if not _is_iterable(producer):
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


def _is_iterable(producer: object) -> bool:
    if hasattr(producer, "__aiter__"):
        return True
    # Text is no stream of letters, and a pydantic model none of its fields.
    return hasattr(producer, "__iter__") and not is_item(producer)


def _is_function(producer: object) -> bool:
    # A manager that `asynccontextmanager` made is callable too, as a decorator.
    return callable(producer) and not (_is_iterable(producer) or _is_manager(producer))


def _may_block(function: Any) -> bool:
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


async def _call_in_thread(function: Callable[[], Any]) -> Any:
    """Call it; what is to be iterated over in a thread stays in that one."""
    worker = Worker()
    made = await worker.call(function)
    if _is_iterable(made) and not hasattr(made, "__aiter__"):
        return ThreadIterator(made, worker)
    worker.finish()
    return made


def name_of(producer: object) -> str:
    """Return what its author calls it."""
    while isinstance(producer, partial):
        producer = producer.func
    producer = getattr(producer, "__dict__", {}).get("__wrapped__", producer)
    if not hasattr(producer, "__qualname__"):
        producer = type(producer)
    module, name = getattr(producer, "__module__", None), getattr(producer, "__qualname__", "")
    return f"{module}.{name}" if isinstance(module, str) else str(name)


async def _whole(answer: object) -> AsyncIterator[object]:
    yield answer


def _is_manager(producer: object) -> bool:
    return hasattr(producer, "__aenter__")


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
