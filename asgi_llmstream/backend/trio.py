"""Tasks and wake-ups on trio. Imported only where trio runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from typing import Any

import trio

__all__ = ["OwnTask", "Task", "Wakeup", "caller_from_thread", "loop_key"]


def loop_key() -> Any:
    return trio.lowlevel.current_trio_token()


def caller_from_thread() -> Callable[[Callable[[], None]], None]:
    return trio.lowlevel.current_trio_token().run_sync_soon


class Task:
    __slots__ = ("_scope", "_shield")

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._shield: trio.CancelScope | None = None

    def start(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None
    ) -> None:
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
        self._shield = trio.CancelScope(shield=True)
        return self._shield


class OwnTask:
    __slots__ = ("_scope",)

    def __enter__(self) -> OwnTask:
        self._scope = trio.CancelScope()
        self._scope.__enter__()
        return self

    def cancel(self) -> None:
        self._scope.cancel()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any, /) -> bool:
        return bool(self._scope.__exit__(kind, error, traceback))


class Wakeup:
    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Any = None

    def set(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        self._task = trio.lowlevel.current_task()

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
