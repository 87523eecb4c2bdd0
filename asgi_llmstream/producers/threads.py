"""A sync iterable → an async iterator, in a thread of its own.

Each has its own daemon thread: a shared pool would let a few idle generators starve all others,
and an ordinary thread inside a blocking `next()` would hold up the exit of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from ..backend import caller_from_thread, wakeup
from ..errors import Overloaded

__all__ = ["MAX_THREADS", "ThreadIterator"]

MAX_THREADS = 1000
"""How many sync iterables may stream at the same time in this process."""

_free_threads = threading.BoundedSemaphore(MAX_THREADS)

_END = object()


class ThreadIterator:
    """Steps and closes `iterable` in one thread, one item at a time.

    The thread sees the context variables of the task that takes the first step.

    Raises:
        Overloaded: at the first step, if `MAX_THREADS` are busy.
    """

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._iterable = iterable
        self._commands: SimpleQueue[bool] = SimpleQueue()  # True: step, False: close
        self._answers: list[tuple[Any, BaseException | None]] = []
        self._answered = wakeup()
        self._call = caller_from_thread()
        self._running = False
        self._close_error: BaseException | None = None

    def __aiter__(self) -> ThreadIterator:
        return self

    async def __anext__(self) -> Any:
        if not self._running:
            self._start()
        self._commands.put(True)
        while not self._answers:
            await self._answered.wait()
        item, error = self._answers.pop()
        if isinstance(error, StopAsyncIteration):
            raise RuntimeError("a sync iterable raised StopAsyncIteration") from error
        if error is not None:
            raise error
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the iterable in its thread, and wait until that is done.

        A blocking `next()` cannot be interrupted. If the wait is cancelled, the thread closes
        the iterable as soon as that returns.

        Raises:
            BaseException: what the iterable's `close` raised.
        """
        self._commands.put(False)
        while self._running:
            await self._answered.wait()
        if self._close_error is not None:
            error, self._close_error = self._close_error, None
            raise error

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
        iterator: Any = None
        try:
            iterator = iter(self._iterable)
            while self._commands.get():
                self._tell(self._answer, next(iterator, _END), None)
        except BaseException as error:
            self._tell(self._answer, None, error)
        try:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._close_error = error
        finally:
            _free_threads.release()
            self._tell(self._stopped)

    def _tell(self, what: Any, *args: Any) -> None:
        try:
            self._call(lambda: what(*args))
        except RuntimeError:
            pass  # the event loop is closed: there is nobody left to tell

    def _answer(self, item: Any, error: BaseException | None) -> None:
        self._answers.append((item, error))
        self._answered.set()

    def _stopped(self) -> None:
        self._running = False
        self._answered.set()
