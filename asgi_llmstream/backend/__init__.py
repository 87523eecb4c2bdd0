"""The one switch between asyncio and trio: tasks of their own, and bare wake-ups.

Private.

Everything else is anyio. These are not, because a producer must be cancelled natively and
once (an anyio scope cancels every `await` of its `finally` too), a task that survives that must
be abandonable, and a bare future is the cheapest way to wait (an anyio event costs several
times as much).
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any, Protocol

from . import asyncio as on_asyncio

__all__ = [
    "OwnTask",
    "Task",
    "Wakeup",
    "caller_from_thread",
    "loop_key",
    "new_task",
    "own_task",
    "spawn",
    "wakeup",
]


class Task(Protocol):
    """A task, as soon as it was started."""

    def start(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None
    ) -> None:
        """Run `main`, once, in a copy of `context` (the caller's, if None).

        It may have begun when this returns, as with `asyncio.eager_task_factory`. `main` must
        not raise: there is nobody to raise to.
        """

    def cancel(self) -> None:
        """Cancel it: on asyncio one `CancelledError`; on trio its scope, and at the second call
        what it shields too."""

    def shield(self) -> AbstractContextManager[object]:
        """Inside it, `await` works although the task was cancelled. For the task itself, and
        only where no scope of a producer is open."""


class OwnTask(Protocol):
    """Entered for what is to be cancellable. What `cancel` does ends where it is left."""

    def __enter__(self) -> OwnTask: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any, /) -> bool: ...

    def cancel(self) -> None:
        """As `Task.cancel`."""


class Wakeup(Protocol):
    """Lets one task wait until another calls `set`. Nothing is remembered: look at your state
    first, then wait."""

    def set(self) -> None:
        """Wake the waiting task, if one waits."""

    def wait(self) -> Awaitable[None]:
        """Wait for `set`."""


def new_task() -> Task:
    """Make a task of the running event loop, to be started."""
    return _backend().Task()


def spawn(main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None) -> Task:
    """Start `main` in a task of its own: see `Task.start`."""
    task = new_task()
    task.start(main, context)
    return task


def own_task() -> OwnTask:
    """Return the task that runs: what is inside it can be cancelled, and no more than that."""
    return _backend().OwnTask()


def wakeup() -> Wakeup:
    """Make a wake-up for the running event loop."""
    return _backend().Wakeup()


def caller_from_thread() -> Callable[[Callable[[], None]], None]:
    """Return a function with which other threads have something called in the running event
    loop, soon. It raises RuntimeError when the loop is closed."""
    return _backend().caller_from_thread()


def loop_key() -> Any:
    """Return an object that lives as long as the running event loop and can be weakly
    referenced."""
    return _backend().loop_key()


class _Backend(Protocol):
    """The names that the module of each backend has."""

    @property
    def Task(self) -> Callable[[], Task]: ...
    @property
    def OwnTask(self) -> Callable[[], OwnTask]: ...
    @property
    def Wakeup(self) -> Callable[[], Wakeup]: ...
    @property
    def caller_from_thread(self) -> Callable[[], Callable[[Callable[[], None]], None]]: ...
    @property
    def loop_key(self) -> Callable[[], Any]: ...


def _backend() -> _Backend:
    # Neither anyio nor sniffio answers in a task that they did not start.
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            from . import trio as on_trio

            return on_trio
    return on_asyncio
