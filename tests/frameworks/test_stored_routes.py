"""The routes of stored responses and of llama.cpp's conversations, in routers and documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from litestar import Litestar
from litestar.testing import TestClient as LitestarClient

from asgi_llmstream import ChatRequest
from asgi_llmstream.fastapi import chat_router
from asgi_llmstream.litestar import LLMStreamPlugin
from asgi_llmstream.stores import MemoryStore


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield f"{len(request.messages)} messages"


def with_fastapi() -> Any:
    app = FastAPI()
    app.include_router(chat_router(answer, store=MemoryStore()), prefix="/v1")
    return TestClient(app)


def with_litestar() -> Any:
    return LitestarClient(
        Litestar(plugins=[LLMStreamPlugin(answer, store=MemoryStore(), path="/v1")])
    )


@pytest.fixture(params=[with_fastapi, with_litestar])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param() as client:
        yield client


def test_a_router_has_the_routes_of_stored_responses(client: Any) -> None:
    first = client.post("/v1/responses", json={"input": "One"}).json()
    body = {"input": "Two", "previous_response_id": first["id"]}
    second = client.post("/v1/responses", json=body).json()
    assert second["output"][0]["content"][0]["text"] == "3 messages"
    path = f"/v1/responses/{second['id']}"
    assert client.get(path).json() == second
    assert client.get(f"{path}?stream=true").headers["content-type"].startswith("text/event-")
    assert len(client.get(f"{path}/input_items").json()["data"]) == 3
    assert client.post(f"{path}/cancel").json() == second
    assert client.delete(path).json()["deleted"] is True
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("place", ["/v1/stream?conv_id=a::b/c", "/v1/stream/a::b/c"])
def test_a_router_has_the_routes_of_conversations(client: Any, place: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    headers = {"x-conversation-id": "a::b/c"}
    whole = client.post("/v1/chat/completions", json=body, headers=headers).content
    (found,) = client.post("/v1/streams/lookup", json={"conversation_ids": ["a"]}).json()
    assert (found["conversation_id"], found["total_bytes"]) == ("a::b/c", len(whole))
    assert client.get(place).content == whole
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404


@pytest.mark.parametrize(
    ("make", "page"), [(with_fastapi, "/openapi.json"), (with_litestar, "/schema/openapi.json")]
)
def test_the_document_has_each_of_them_once(make: Any, page: str) -> None:
    with make() as client:
        paths = client.get(page).json()["paths"]
    found = {
        (method, path)
        for path, operations in paths.items()
        for method in operations
        if path.startswith(("/v1/responses/", "/v1/stream/", "/v1/streams/lookup"))
        or path == "/v1/stream"
    }
    assert found == {
        ("get", "/v1/responses/{response}"),
        ("delete", "/v1/responses/{response}"),
        ("post", "/v1/responses/{response}/cancel"),
        ("get", "/v1/responses/{response}/input_items"),
        ("get", "/v1/stream"),
        ("delete", "/v1/stream"),
        ("get", "/v1/stream/{id}"),
        ("delete", "/v1/stream/{id}"),
        ("post", "/v1/streams/lookup"),
    }
    ids = [o["operationId"] for operations in paths.values() for o in operations.values()]
    assert len(ids) == len({*ids})
