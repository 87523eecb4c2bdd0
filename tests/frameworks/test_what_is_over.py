"""What of a request is over when its client leaves, and the answer goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from litestar import Litestar, get
from litestar.background_tasks import BackgroundTask as LitestarTask
from litestar.di import NamedDependency, Provide
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.routing import Route

import asgi_llmstream.litestar
import asgi_llmstream.starlette
from asgi_llmstream import MemoryStore, store_lifespan
from asgi_llmstream.testing import Client

pytestmark = pytest.mark.anyio


class Scene:
    """An answer that waits for its client to have left, and what happened in which order."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.left = anyio.Event()
        self.finished = anyio.Event()
        self.happened: list[str] = []

    async def produce(self) -> AsyncIterator[str]:
        yield "Hello"
        await self.left.wait()
        self.happened.append("produced")

    def finish(self, result: Any) -> None:
        self.happened.append(result.outcome)
        self.finished.set()

    def background(self) -> None:
        self.happened.append("background")

    async def play(self, app: Any) -> list[str]:
        with anyio.fail_after(10):
            async with Client(app).stream("GET", "/") as response:
                await response.started()
            self.left.set()
            await self.finished.wait()
        return self.happened


async def test_starlettes_background_tasks_run_when_the_request_is_over_and_on_finish_behind() -> (
    None
):
    it = Scene()

    async def home(request: Request) -> asgi_llmstream.starlette.LLMStreamResponse:
        return asgi_llmstream.starlette.LLMStreamResponse(
            it.produce(),
            store=it.store,
            on_finish=it.finish,
            background=BackgroundTask(it.background),
        )

    app = Starlette(routes=[Route("/", home)], lifespan=store_lifespan(it.store))
    async with app.router.lifespan_context(app):
        assert await it.play(app) == ["background", "produced", "finished"]


async def test_litestars_dependencies_are_closed_and_its_background_tasks_run_before_the_end() -> (
    None
):
    it = Scene()

    async def session() -> AsyncIterator[str]:
        yield "open"
        it.happened.append("closed")

    @get("/", dependencies={"session": Provide(session)})
    async def home(session: NamedDependency[str]) -> asgi_llmstream.litestar.LLMStreamResponse:
        return asgi_llmstream.litestar.LLMStreamResponse(
            it.produce(),
            store=it.store,
            on_finish=it.finish,
            background=LitestarTask(it.background),
        )

    app = Litestar([home], lifespan=[store_lifespan(it.store)])
    async with app.lifespan():
        assert await it.play(app) == ["closed", "background", "produced", "finished"]
