"""What blocks, in a thread of its own: a plain function, a sync iterable → an async iterator.

Each has its own daemon thread: a shared pool would let a few idle generators starve all others,
and an ordinary thread inside a blocking `next()` would hold up the exit of the process.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

import anyio.to_thread

from ..backend import caller_from_thread, wakeup
from ..errors import Overloaded

__all__ = ["MAX_THREADS", "ThreadIterator", "Worker", "in_thread"]

MAX_THREADS = 1000
"""How many plain functions and sync iterables may run at the same time in this process."""

_free_threads = threading.BoundedSemaphore(MAX_THREADS)

_END = object()

T = TypeVar("T")

_Order = Callable[[], Any]


class Worker:
    """Runs one function after the other in one thread, for one task.

    The thread sees the context variables of the task that gives it the first.
    """

    def __init__(self) -> None:
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._answers: list[tuple[Any, BaseException | None]] = []
        self._answered = wakeup()
        self._call_in_loop = caller_from_thread()
        self._running = False

    @property
    def is_running(self) -> bool:
        """True from the first function on, if there was a thread for it, until it has ended."""
        return self._running

    async def run(self, function: _Order) -> Any:
        """Run `function` in the thread, and return what it returns.

        What runs cannot be interrupted: if the wait is cancelled, it goes on.

        Raises:
            Overloaded: if `MAX_THREADS` are busy.
            BaseException: what it raised.
        """
        if not self._running:
            self._start()
        self._orders.put(function)
        while not self._answers:
            await self._answered.wait()
        returned, error = self._answers.pop()
        if isinstance(error, StopIteration | StopAsyncIteration):  # which a coroutine cannot raise
            raise RuntimeError(f"{type(error).__name__} came out of a thread") from error
        if error is not None:
            try:
                raise error
            finally:
                del error  # it knows this frame, which would know it: a cycle
        return returned

    async def call(self, function: _Order) -> Any:
        """Do the same; if the wait is cancelled, close what comes of it as soon as it is there."""
        made: list[object] = []

        def make() -> object:
            made.append(function())
            return made[0]

        try:
            return await self.run(make)
        except BaseException:
            self.finish(lambda: _let_go(made))
            raise

    def finish(self, last: _Order | None = None) -> None:
        """Let the thread end, after what runs in it now, and then `last`."""
        if last is not None:
            self._orders.put(last)
        self._orders.put(None)

    async def wait(self) -> None:
        """Wait until it has ended."""
        while self._running:
            await self._answered.wait()

    def _start(self) -> None:
        if not _free_threads.acquire(blocking=False):
            raise Overloaded()
        thread = threading.Thread(
            target=copy_context().run, args=(self._main,), name="llmstream", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more
            _free_threads.release()
            raise Overloaded() from error
        self._running = True

    # The thread's side.

    def _main(self) -> None:
        try:
            while self._obey(self._orders.get()):
                pass
        finally:
            _free_threads.release()
            self._tell(self._stopped)

    def _obey(self, order: _Order | None) -> bool:
        if order is None:
            return False
        try:
            returned = order()
        except BaseException as error:
            self._tell(self._answer, None, error)
        else:
            del order  # what it was to work on is let go before anybody goes on with the answer
            self._tell(self._answer, returned, None)
        return True

    def _tell(self, what: Any, *args: Any) -> None:
        try:
            self._call_in_loop(lambda: what(*args))
        except RuntimeError:
            pass  # the event loop is closed: there is nobody left to tell

    def _answer(self, returned: Any, error: BaseException | None) -> None:
        self._answers.append((returned, error))
        self._answered.set()

    def _stopped(self) -> None:
        self._running = False
        self._answered.set()


def _name(iterator: Any) -> str:
    return str(getattr(iterator, "__name__", type(iterator).__qualname__))


def _let_go(made: list[object]) -> None:
    """Close what nobody will begin."""
    for thing in made:
        close = getattr(thing, "close", None)
        # Of streams only the sync ones: a coroutine function cannot be run here.
        if close is not None and not inspect.iscoroutinefunction(close):
            close()


async def in_thread(function: Callable[[], T]) -> T:
    """Return what `function` returns, from a thread of its own.

    Raises:
        Overloaded: if `MAX_THREADS` are busy.
        BaseException: what it raised.
    """
    worker = Worker()
    try:
        returned: T = await worker.run(function)
    finally:
        worker.finish()
    return returned


class ThreadIterator:
    """Steps and closes `iterable` in one thread, one item at a time.

    Args:
        iterable: what is iterated over.
        worker: the thread that made it, if that goes on; else it gets one at its first step.

    Raises:
        Overloaded: at the first step, if `MAX_THREADS` are busy.
    """

    def __init__(self, iterable: Iterable[Any], worker: Worker | None = None) -> None:
        self._iterable = iterable
        self._iterator: Any = None
        self._worker = worker or Worker()
        self._close_error: BaseException | None = None

    def __aiter__(self) -> ThreadIterator:
        return self

    async def __anext__(self) -> Any:
        item = await self._worker.run(self._step)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def throw_in(self, error: Exception) -> None:
        """Raise `error` in the generator, where it yielded last; if it is none, here.

        Raises:
            Exception: what comes out; `error` itself if it goes on regardless.
        """
        await self._worker.run(lambda: self._throw(error))

    async def aclose(self) -> None:
        """Close the iterable in its thread, and wait until that is done. One that got none is
        closed in another.

        A blocking `next()` cannot be interrupted. If the wait is cancelled, the thread closes
        the iterable as soon as that returns.

        Raises:
            BaseException: what the iterable's `close` raised.
        """
        if self._worker.is_running:
            self._worker.finish(self._close)
            await self._worker.wait()
        else:
            await anyio.to_thread.run_sync(self._close)
        if self._close_error is not None:
            error, self._close_error = self._close_error, None
            raise error

    # The thread's side.

    def _step(self) -> Any:
        is_first = self._iterator is None
        if is_first:
            self._iterator = iter(self._iterable)
        try:
            return next(self._iterator)
        except StopIteration as end:
            if is_first and end.value is not None:
                # As a function that says `return "Sorry"` and has a `yield` elsewhere.
                raise TypeError(
                    f"{_name(self._iterator)}() is a generator that returned a value and yielded "
                    "nothing, and nobody sees what a generator returns: yield it"
                ) from None
            return _END

    def _throw(self, error: Exception) -> None:
        throw = getattr(self._iterator, "throw", None)
        if throw is not None:
            with suppress(StopIteration):
                throw(error)
        raise error

    def _close(self) -> None:
        try:
            begun = self._iterable if self._iterator is None else self._iterator
            close = getattr(begun, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._close_error = error
