"""Streams that a store keeps, on routes of each framework's own, its router and its plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import anyio
import pytest
from fastapi import Depends, FastAPI, HTTPException
from litestar import Litestar, asgi, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from asgi_llmstream import (
    ChatApp,
    LLMStream,
    MemoryStore,
    StreamOptions,
    store_lifespan,
    store_routes,
)
from asgi_llmstream.fastapi import LLMStreamResponse, chat_router
from asgi_llmstream.litestar import LLMStreamPlugin
from asgi_llmstream.litestar import LLMStreamResponse as LitestarResponse
from asgi_llmstream.starlette import LLMStreamResponse as StarletteResponse
from asgi_llmstream.testing import Client
from tests.support.kept_chat import text_of, who

pytestmark = pytest.mark.anyio

ADA = {"x-user": "ada"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Kept(NamedTuple):
    """An application whose route `POST /talk` streams, and `GET /again/{id}` follows; below
    `mount` it has the routes of streams."""

    app: Any
    lifespan: Callable[[], AbstractAsyncContextManager[Any]]
    mount: str = ""


Lines = Callable[[], AsyncIterator[str]]


def on_fastapi(store: MemoryStore, produce: Lines) -> Kept:
    app = FastAPI(lifespan=store_lifespan(store))

    @app.post("/talk")
    async def talk() -> Any:
        return LLMStreamResponse(produce(), format="events", store=store, key="k", identify=who)

    @app.get("/again/{id}")
    async def again(id: str) -> Any:
        return LLMStreamResponse.following(id, store=store, format="events", identify=who)

    app.mount("/", store_routes(store, identify=who))
    return Kept(app, lambda: app.router.lifespan_context(app))


def on_fastapi_by_yielding(store: MemoryStore, produce: Lines) -> Kept:
    app = FastAPI(lifespan=store_lifespan(store))
    kept = LLMStreamResponse.using(format="events", store=store, key="k", identify=who)

    @app.post("/talk", response_class=kept)
    async def talk() -> Any:
        async for word in produce():
            yield word

    @app.get("/again/{id}")
    async def again(id: str) -> Any:
        return kept.following(id, store=store, identify=who)

    app.mount("/", store_routes(store, identify=who))
    return Kept(app, lambda: app.router.lifespan_context(app))


def on_starlette(store: MemoryStore, produce: Lines) -> Kept:
    async def talk(request: Request) -> Any:
        return StarletteResponse(produce(), format="events", store=store, key="k", identify=who)

    async def again(request: Request) -> Any:
        id = request.path_params["id"]
        return StarletteResponse.following(id, store=store, format="events", identify=who)

    app = Starlette(
        routes=[
            Route("/talk", talk, methods=["POST"]),
            Route("/again/{id}", again),
            Mount("/", store_routes(store, identify=who)),
        ],
        lifespan=store_lifespan(store),
    )
    return Kept(app, lambda: app.router.lifespan_context(app))


def on_litestar(store: MemoryStore, produce: Lines) -> Kept:
    @post("/talk")
    async def talk() -> LitestarResponse:
        return LitestarResponse(produce(), format="events", store=store, key="k", identify=who)

    @get("/again/{id:str}")
    async def again(id: FromPath[str]) -> LitestarResponse:
        return LitestarResponse.following(id, store=store, format="events", identify=who)

    # One at "/" would take the paths with parameters from the others.
    routes = asgi("/kept", is_mount=True, copy_scope=True)(store_routes(store, identify=who))
    app = Litestar([talk, again, routes], lifespan=[store_lifespan(store)])
    return Kept(app, app.lifespan, "/kept")


MAKERS = [on_fastapi, on_fastapi_by_yielding, on_starlette, on_litestar]


@pytest.mark.parametrize("make", MAKERS)
async def test_a_stream_of_a_route_goes_on_and_another_route_follows_it(make: Any) -> None:
    may, runs = anyio.Event(), []

    async def produce() -> AsyncIterator[str]:
        runs.append(1)
        yield "Hel"
        await may.wait()
        yield "lo"

    store = MemoryStore()
    kept = make(store, produce)
    async with kept.lifespan():
        client = Client(kept.app, headers=ADA)
        async with client.stream("POST", "/talk") as response:
            await response.event()
            id = response.headers["x-run-id"]
        may.set()
        again = await client.request("GET", f"/again/{id}")
        assert (again.status, text_of(again)) == (200, "Hello")
        assert (await Client(kept.app).request("GET", f"/again/{id}")).status == 404
        shown = (await client.request("GET", f"{kept.mount}/streams/{id}/message")).json()
        assert shown["message"]["content"][0]["text"] == "Hello"
        [state] = await store.list_runs("ada", "k")
        assert (state.run.id, runs) == (id, [1])
        assert (await client.request("DELETE", f"{kept.mount}/streams/{id}")).status == 204
        assert (await client.request("GET", f"/again/{id}")).status == 404


@pytest.mark.parametrize("make", MAKERS)
async def test_without_the_lifespan_the_first_request_says_which_line_is_missing(
    make: Any,
) -> None:
    async def produce() -> AsyncIterator[str]:
        yield "Hello"

    app = make(MemoryStore(), produce).app
    async with Client(app).stream("POST", "/talk", raise_app_exceptions=False) as response:
        await response.returned()
    said = str(response.error) if response.error else response.body.decode()
    if make is not on_litestar:  # which answers with a 500, and logs it
        assert "FastAPI(lifespan=store_lifespan(store))" in said


async def answer(request: Any) -> AsyncIterator[str]:
    yield "Hel"
    yield "lo"


UI = {
    "id": "c",
    "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
}
STREAMS = [
    "/v1/streams",
    "/v1/streams/{run}",
    "/v1/streams/{run}/message",
    "/v1/streams/{run}/stop",
    "/v1/text/{name}/stream",
    "/v1/ui/{name}/stream",
]


async def check_routes_of(app: Any) -> None:
    """Check each route of streams below /v1 in an application in its lifespan."""
    client = Client(app, headers=ADA)
    first = await client.request("POST", "/v1/ui", json=UI)
    id = first.headers["x-run-id"]
    assert first.headers["location"] == f"/v1/streams/{id}"
    again = await client.request("GET", first.headers["location"] + "?format=events")
    assert text_of(again) == "Hello"
    assert (await client.request("GET", f"/v1/streams/{id}/message")).status == 200
    assert (await client.request("GET", "/v1/streams")).json() == {"streams": []}
    assert (await client.request("GET", "/v1/ui/c/stream")).status == 204
    tail = await client.request("GET", f"/v1/ui/{id}/stream?startIndex=-1")
    assert tail.headers["x-workflow-stream-tail-index"] == "7"
    stopped = await client.request("POST", f"/v1/streams/{id}/stop")
    assert (stopped.status, stopped.json()["outcome"]) == (200, "finished")
    head = await client.request("HEAD", f"/v1/streams/{id}")
    assert (head.status, head.body) == (200, b"")
    assert (await client.request("OPTIONS", f"/v1/streams/{id}")).headers["allow"] == (
        "DELETE, GET, HEAD, OPTIONS"
    )
    assert (await client.request("DELETE", f"/v1/streams/{id}")).status == 204
    assert (await client.request("GET", f"/v1/streams/{id}")).status == 404


async def test_fastapis_router_has_the_routes_and_brings_the_lifespan() -> None:
    app = FastAPI()
    app.include_router(chat_router(answer, store=MemoryStore(), identify=who), prefix="/v1")
    async with app.router.lifespan_context(app):
        await check_routes_of(app)


async def test_fastapis_router_of_a_chat_app_has_them_too() -> None:
    chat = ChatApp(answer, store=MemoryStore(), identify=who)
    app = FastAPI(lifespan=chat.lifespan)
    app.include_router(chat_router(chat), prefix="/v1")
    async with app.router.lifespan_context(app):
        await check_routes_of(app)


async def test_litestars_plugin_has_the_routes_and_brings_the_lifespan() -> None:
    app = Litestar(plugins=[LLMStreamPlugin(answer, store=MemoryStore(), identify=who)])
    async with app.lifespan():
        await check_routes_of(app)


# For llama.cpp's page: see test_stored_routes.py.
FURTHER = {"/v1/stream", "/v1/stream/{id}", "/v1/streams/lookup"}


def documented(paths: Any) -> list[str]:
    return sorted(path for path in paths if "stream" in path and path not in FURTHER)


def test_the_routes_are_documented_with_a_store_only() -> None:
    for store, paths in ((MemoryStore(), STREAMS), (None, [])):
        api = FastAPI()
        api.include_router(chat_router(answer, store=store), prefix="/v1")
        assert documented(api.openapi()["paths"]) == paths
        litestar = Litestar(plugins=[LLMStreamPlugin(answer, store=store)])
        schema = litestar.openapi_schema.to_schema()
        assert documented(schema["paths"]) == paths


def test_both_documents_say_the_same_of_them() -> None:
    api = FastAPI()
    api.include_router(chat_router(answer, store=MemoryStore()), prefix="/v1")
    litestar = Litestar(plugins=[LLMStreamPlugin(answer, store=MemoryStore())])
    theirs = litestar.openapi_schema.to_schema()["paths"]
    for path in STREAMS:
        for method, operation in api.openapi()["paths"][path].items():
            other = theirs[path][method]
            assert operation["summary"] == other["summary"]
            assert {*operation["responses"]} - {"422"} == {*other["responses"]}
            names = [parameter["name"] for parameter in operation.get("parameters", ())]
            assert names == [parameter["name"] for parameter in other.get("parameters", ())]


async def test_fastapis_dependencies_guard_the_routes_of_streams() -> None:
    async def known(request: Request) -> None:
        if "x-user" not in request.headers:
            raise HTTPException(401)

    router = chat_router(answer, store=MemoryStore(), identify=who, dependencies=[Depends(known)])
    app = FastAPI()
    app.include_router(router, prefix="/v1")
    async with app.router.lifespan_context(app):
        for method, path in [("GET", "/v1/streams/x"), ("DELETE", "/v1/streams/x")]:
            assert (await Client(app).request(method, path)).status == 401
        await check_routes_of(app)


async def test_litestars_guards_guard_the_routes_of_streams() -> None:
    def known(connection: ASGIConnection[Any, Any, Any, Any], handler: object) -> None:
        if "x-user" not in connection.headers:
            raise NotAuthorizedException

    plugin = LLMStreamPlugin(answer, store=MemoryStore(), identify=who, guards=[known])
    app = Litestar(plugins=[plugin])
    async with app.lifespan():
        for method, path in [("GET", "/v1/streams/x"), ("DELETE", "/v1/streams/x")]:
            assert (await Client(app).request(method, path)).status == 401
        await check_routes_of(app)


async def test_the_lifespan_may_be_entered_in_one_of_ones_own() -> None:
    store = MemoryStore()
    stream = LLMStream(lambda: answer(None), format="events", store=store)
    async with store_lifespan(store)(FastAPI()):
        assert text_of(await Client(stream).request("GET", "/")) == "Hello"


async def test_a_stream_that_is_the_whole_application_owns_itself() -> None:
    store = MemoryStore()
    stream = LLMStream(lambda: answer(None), format="events", store=store)
    ready, over = anyio.Event(), anyio.Event()
    told = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        event = next(told)
        if event == "lifespan.shutdown":
            await over.wait()
        return {"type": event}

    async def send(message: Any) -> None:
        ready.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream, {"type": "lifespan"}, receive, send)
            await ready.wait()
            assert text_of(await Client(stream).request("GET", "/")) == "Hello"
            over.set()


async def test_a_stream_may_still_end_with_its_client() -> None:
    closed = anyio.Event()

    async def produce() -> AsyncIterator[str]:
        try:
            yield "Hel"
            await anyio.sleep_forever()
        finally:
            closed.set()

    store = MemoryStore()
    options = StreamOptions(on_disconnect="cancel")
    stream = LLMStream(produce, format="events", store=store, options=options)
    async with store_lifespan(store)():
        async with Client(stream).stream("GET", "/") as response:
            await response.event()
            id = response.headers["x-run-id"]
        with anyio.fail_after(5):
            await closed.wait()
            while not (state := (await store.read("", id, 0, 0)).state).outcome:
                await store.wait("", id, state.last)
        assert state.outcome == "disconnected"
