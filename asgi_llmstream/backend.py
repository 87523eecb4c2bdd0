"""The one switch between asyncio and trio: tasks of their own, and bare wake-ups.

Everything else is anyio. These are not, because a producer must be cancelled natively and
once (an anyio scope cancels every `await` of its `finally` too), a task that survives that must
be abandonable, and a bare future is the cheapest way to wait (an anyio event costs several
times as much).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from typing import Any, Protocol

__all__ = ["Task", "Wakeup", "caller_from_thread", "loop_key", "spawn", "wakeup"]


class Task(Protocol):
    """A running task."""

    def cancel(self) -> None:
        """Cancel it: on asyncio one `CancelledError`; on trio its scope, and at the second call
        what it shields too."""

    def shield(self) -> AbstractContextManager[object]:
        """Inside it, `await` works although the task was cancelled. For the task itself, and
        only where no scope of a producer is open."""


class Wakeup(Protocol):
    """Lets one task wait until another calls `set`. Nothing is remembered: look at your state
    first, then wait."""

    def set(self) -> None:
        """Wake the waiting task, if one waits."""

    def wait(self) -> Awaitable[None]:
        """Wait for `set`."""


def spawn(main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None) -> Task:
    """Run `main` in a task of its own, in a copy of `context` (the caller's, if None).

    `main` must not raise: there is nobody to raise to.
    """
    if _on_asyncio():
        return _AsyncioTask(main, context)
    return _TrioTask(main, context)


def wakeup() -> Wakeup:
    """A wake-up for the running event loop."""
    return _AsyncioWakeup() if _on_asyncio() else _TrioWakeup()


def caller_from_thread() -> Callable[[Callable[[], None]], None]:
    """What other threads use to have something called in the running event loop, soon.

    It raises RuntimeError when the loop is closed.
    """
    if _on_asyncio():
        loop = asyncio.get_running_loop()

        def call(callback: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(callback)

        return call
    import trio

    return trio.lowlevel.current_trio_token().run_sync_soon


def loop_key() -> Any:
    """An object that lives as long as the running event loop and can be weakly referenced."""
    if _on_asyncio():
        return asyncio.get_running_loop()
    import trio

    return trio.lowlevel.current_trio_token()


def _on_asyncio() -> bool:
    # Neither anyio nor sniffio answers in a task that they did not start.
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            return False
    return True


class _AsyncioTask:
    __slots__ = ("_loop", "_task")

    def __init__(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(main(), context=context and context.copy())

    def cancel(self) -> None:
        # Taken back as soon as it is on its way: a task group or timeout in the producer's
        # `finally` would else see a cancellation that is still pending, and give up.
        if not self._task.done():
            self._loop.call_soon(self._task.uncancel)
            self._task.cancel()

    def shield(self) -> AbstractContextManager[object]:
        return nullcontext()  # a native cancellation is over once it was raised


class _AsyncioWakeup:
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


class _TrioTask:
    __slots__ = ("_scope", "_shield")

    def __init__(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context | None
    ) -> None:
        import trio

        self._scope = trio.CancelScope()
        self._shield: trio.CancelScope | None = None

        async def scoped() -> None:
            with self._scope:
                await main()

        # Unasked, trio would run it in the context of its own start.
        context = copy_context() if context is None else context.copy()
        trio.lowlevel.spawn_system_task(scoped, context=context)

    def cancel(self) -> None:
        if self._scope.cancel_called and self._shield is not None:
            self._shield.cancel()
        self._scope.cancel()

    def shield(self) -> AbstractContextManager[object]:
        import trio

        self._shield = trio.CancelScope(shield=True)
        return self._shield


class _TrioWakeup:
    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Any = None

    def set(self) -> None:
        import trio

        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        import trio

        self._task = trio.lowlevel.current_task()

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
