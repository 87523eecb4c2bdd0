"""Pages of other origins: who may ask, who may read, and what a visitor is not made to pay for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from asgi_llmstream import ChatApp, ChatRequest, RateLimited
from asgi_llmstream.fastapi import chat_router
from asgi_llmstream.litestar import LLMStreamPlugin
from asgi_llmstream.testing import Client, Response

pytestmark = pytest.mark.anyio

PAGE = "http://localhost:5173"
CHAT = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-stainless-lang",
}


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    if request.prompt == "refuse":
        raise RateLimited(retry_after=7)
    yield "Hello"


def told(response: Response) -> dict[str, str]:
    """What a browser is told of other origins."""
    headers = response.headers
    return {k: v for k, v in headers.items() if k.startswith("access-control-") or k == "vary"}


async def preflight(app: Any, path: str = "/chat/completions", **headers: str) -> Response:
    return await Client(app).request("OPTIONS", path, headers=PREFLIGHT | headers)


async def ask(app: Any, origin: str | None = PAGE, path: str = "/chat/completions") -> Response:
    headers = {} if origin is None else {"origin": origin}
    return await Client(app).request("POST", path, json=CHAT, headers=headers)


ALLOWED = {
    "access-control-allow-origin": PAGE,
    "access-control-allow-credentials": "true",
    "access-control-expose-headers": "retry-after, x-should-retry, x-run-id, location, "
    "x-workflow-run-id, x-workflow-stream-tail-index",
    "vary": "origin",
}


async def test_a_named_origin_may_ask_with_what_its_library_sends_along() -> None:
    response = await preflight(ChatApp(answer, cors=[PAGE]))
    assert response.status == 204
    assert told(response) == ALLOWED | {
        "access-control-allow-methods": "POST, OPTIONS",
        "access-control-allow-headers": "content-type,x-stainless-lang",
        "access-control-max-age": "600",
    }


async def test_a_named_origin_may_read_answers_and_refusals() -> None:
    app = ChatApp(answer, cors=["https://other.example", PAGE])
    assert told(await ask(app)) == ALLOWED
    refused = {"messages": [{"role": "user", "content": "refuse"}], "stream": True}
    response = await Client(app).request(
        "POST", "/chat/completions", json=refused, headers={"origin": PAGE}
    )
    assert response.status == 429
    assert told(response) == ALLOWED
    assert told(await ask(app, path="/nowhere")) == ALLOWED


@pytest.mark.parametrize("origin", ["http://localhost:5174", "https://localhost:5173", "null"])
async def test_other_origins_may_not_but_caches_know_that_it_depends(origin: str) -> None:
    app = ChatApp(answer, cors=[PAGE])
    assert told(await preflight(app, origin=origin)) == {"vary": "origin"}
    assert told(await ask(app, origin)) == {"vary": "origin"}


async def test_without_cors_nothing_is_said() -> None:
    assert told(await preflight(ChatApp(answer))) == {}
    assert told(await ask(ChatApp(answer))) == {}
    assert told(await ask(ChatApp(answer, cors=[PAGE]), origin=None)) == {"vary": "origin"}


async def test_every_page_may_but_without_its_visitors_cookies() -> None:
    app = ChatApp(answer, cors=["*"])
    response = await preflight(app)
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    "cors", [["http://localhost:5173/"], ["localhost:5173"], ["http://a b"], [""], ["null"]]
)
def test_what_is_no_origin_is_a_value_error(cors: list[str]) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        ChatApp(answer, cors=cors)


def test_one_origin_is_still_a_list() -> None:
    with pytest.raises(TypeError, match=r"write \['http://localhost:5173'\]"):
        ChatApp(answer, cors=PAGE)


# What another site's page may cause.


async def get(app: Any, site: str | None, origin: str | None = None) -> Response:
    headers = {"sec-fetch-site": site, "origin": origin}
    given = {name: value for name, value in headers.items() if value is not None}
    return await Client(app).request("GET", "/events?prompt=hi", headers=given)


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none", None])
async def test_a_question_of_the_own_site_or_of_no_page_is_answered(site: str | None) -> None:
    assert (await get(ChatApp(answer), site)).status == 200


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
@pytest.mark.parametrize("cors", [[], [PAGE]])
async def test_another_sites_question_is_refused_with_a_sentence(
    cors: list[str], origin: str | None
) -> None:
    asked: list[ChatRequest] = []

    async def expensive(request: ChatRequest) -> AsyncIterator[str]:
        asked.append(request)
        yield "Hello"

    response = await get(ChatApp(expensive, cors=cors), "cross-site", origin)
    assert response.status == 403
    error = response.json()
    assert (error["type"], error["code"]) == ("error", "cross_site")
    assert "ChatApp(cors=[...])" in error["message"]
    assert asked == []


async def test_another_sites_question_is_answered_if_its_origin_may() -> None:
    assert (await get(ChatApp(answer, cors=[PAGE]), "cross-site", PAGE)).status == 200
    assert (await get(ChatApp(answer, cors=["*"]), "cross-site", PAGE)).status == 200


# Below frameworks.


@pytest.mark.parametrize("own", [[], [PAGE]])
async def test_starlettes_middleware_in_front_has_the_last_word(own: list[str]) -> None:
    middleware = Middleware(
        CORSMiddleware, allow_origins=[PAGE], allow_methods=["*"], allow_headers=["*"]
    )
    app = Starlette(
        routes=[Mount("/v1", ChatApp(answer, cors=own))],
        middleware=[middleware],
    )
    asked = await preflight(app, "/v1/chat/completions")
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, PAGE)
    response = await ask(app, path="/v1/chat/completions")
    names = [name for name, _ in response.sends[0]["headers"]]
    assert names.count(b"access-control-allow-origin") == 1
    assert response.headers["access-control-allow-origin"] == PAGE


def in_fastapi() -> Any:
    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI()
    router = chat_router(answer, cors=[PAGE], dependencies=[Depends(refuse)])
    app.include_router(router, prefix="/v1")
    return app


def in_litestar() -> Any:
    def refuse(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        raise NotAuthorizedException()

    return Litestar(plugins=[LLMStreamPlugin(answer, cors=[PAGE], guards=[refuse])])


@pytest.mark.parametrize("make", [in_fastapi, in_litestar])
@pytest.mark.parametrize("path", ["/chat/completions", "/events", "/models/a/b"])
async def test_a_preflight_passes_what_keeps_strangers_out(make: Any, path: str) -> None:
    response = await preflight(make(), f"/v1{path}")
    assert response.status == 204
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "x-stainless-lang" in response.headers["access-control-allow-headers"]


@pytest.mark.parametrize("make", [in_fastapi, in_litestar])
async def test_the_question_itself_does_not(make: Any) -> None:
    assert (await ask(make(), path="/v1/chat/completions")).status == 401
