"""Tasks and wake-ups on asyncio, and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any

__all__ = ["OwnTask", "Task", "Wakeup", "caller_from_thread", "loop_key"]


def loop_key() -> Any:
    return asyncio.get_running_loop()


def caller_from_thread() -> Callable[[Callable[[], None]], None]:
    loop = asyncio.get_running_loop()

    def call(callback: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(callback)

    return call


class Task:
    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(main(), context=context and context.copy())

    def cancel(self) -> None:
        if self._task is not None and not self._task.done():
            # Taken back as soon as it is on its way: a task group or timeout in a producer's
            # `finally` would else see a cancellation that is still pending, and give up.
            self._task.get_loop().call_soon(self._task.uncancel)
            self._task.cancel()

    def shield(self) -> AbstractContextManager[object]:
        return nullcontext()  # a native cancellation is over once it was raised


class OwnTask:
    __slots__ = ("_cancelled", "_pending", "_task")

    def __enter__(self) -> OwnTask:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled = False
        self._pending = 0
        return self

    def cancel(self) -> None:
        self._cancelled = True
        self._pending += 1
        self._task.get_loop().call_soon(self._take_back)
        self._task.cancel()

    def _take_back(self) -> None:
        self._pending -= 1
        self._task.uncancel()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any, /) -> bool:
        # What is counted beyond ours is somebody else's, who will wait for it.
        ours = self._cancelled and self._task.cancelling() == self._pending
        return ours and isinstance(error, asyncio.CancelledError)


class Wakeup:
    __slots__ = ("_future",)  # no loop: tickers hold these, and must not keep theirs alive

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    def wait(self) -> Awaitable[None]:
        self._future = future = asyncio.get_running_loop().create_future()
        return future
