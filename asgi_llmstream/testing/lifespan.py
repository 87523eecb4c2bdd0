"""Starting and stopping an application, as a server does (ASGI specification, lifespan)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from ..asgi.http import ASGIMessage
from .response import App

__all__ = ["running"]


@asynccontextmanager
async def running(app: App, timeout: float) -> AsyncGenerator[None]:
    """The time between the application's startup and its shutdown.

    Args:
        app: the application.
        timeout: how many seconds of real time each may take.

    Raises:
        TimeoutError: if one takes longer.
        RuntimeError: if the application says that one failed, or knows no lifespan.
    """
    to_app, receive = anyio.create_memory_object_stream[ASGIMessage](1)
    send, from_app = anyio.create_memory_object_stream[ASGIMessage](1)

    async def live() -> None:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        with send:
            await app(scope, receive.receive, send.send)

    async def tell(what: str) -> None:
        with anyio.fail_after(timeout):
            await to_app.send({"type": f"lifespan.{what}"})
            try:
                answer = await from_app.receive()
            except anyio.EndOfStream:
                raise RuntimeError("the application knows no lifespan") from None
        if answer["type"] != f"lifespan.{what}.complete":
            raise RuntimeError(f"{what} failed: {answer.get('message', '')}")

    failure: BaseException | None = None
    with to_app, receive, from_app:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            try:
                await tell("startup")
                try:
                    yield
                finally:
                    await tell("shutdown")
            except (anyio.get_cancelled_exc_class(), GeneratorExit):
                raise
            except BaseException as error:
                failure = error  # raised below, where no group is put around it
    if failure is not None:
        raise failure
