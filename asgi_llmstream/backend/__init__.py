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
    """A task of the running event loop, to be started."""
    return _AsyncioTask() if _on_asyncio() else _TrioTask()


def spawn(main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None) -> Task:
    """Start `main` in a task of its own: see `Task.start`."""
    task = new_task()
    task.start(main, context)
    return task


def own_task() -> OwnTask:
    """The task that runs: what is inside it can be cancelled, and no more than that."""
    return _AsyncioOwnTask() if _on_asyncio() else _TrioOwnTask()


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


class _AsyncioOwnTask:
    __slots__ = ("_cancelled", "_pending", "_task")

    def __enter__(self) -> _AsyncioOwnTask:
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

    def __init__(self) -> None:
        import trio

        self._scope = trio.CancelScope()
        self._shield: trio.CancelScope | None = None

    def start(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None
    ) -> None:
        import trio

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


class _TrioOwnTask:
    __slots__ = ("_scope",)

    def __enter__(self) -> _TrioOwnTask:
        import trio

        self._scope = trio.CancelScope()
        self._scope.__enter__()
        return self

    def cancel(self) -> None:
        self._scope.cancel()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any, /) -> bool:
        return bool(self._scope.__exit__(kind, error, traceback))


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
