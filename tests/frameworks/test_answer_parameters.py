"""An answer takes what its framework gives: FastAPI's parameters and `Depends`, Litestar's
dependencies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Annotated, Any

import openapi_spec_validator
import pytest
from fastapi import BackgroundTasks, Body, Depends, FastAPI, Header, HTTPException, Path, Query
from fastapi import Request as FastAPIRequest
from fastapi.security import HTTPBearer
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import PermissionDeniedException
from litestar.params import HeaderParameter, QueryParameter
from pydantic import BaseModel

from asgi_llmstream import ChatApp, ChatRequest
from asgi_llmstream.fastapi import chat_router
from asgi_llmstream.litestar import LLMStreamPlugin
from asgi_llmstream.testing import Client, Response, check_stream

pytestmark = pytest.mark.anyio

ASK = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


def session() -> Iterator[str]:
    log.append("opens")
    yield "session"
    log.append("closes")


async def user(x_user: Annotated[str, Header()]) -> str:
    if x_user == "mallory":
        raise HTTPException(403, "not you")
    return x_user


Session = Annotated[str, Depends(session)]


async def answer(
    request: ChatRequest, db: Session, who: str = Depends(user), tone: str = Query("calm")
) -> AsyncIterator[str]:
    log.append("answers")
    yield f"{request.prompt}, {who}: {db}, {tone}"
    log.append("is done")


def fastapi_app(answer: Any, prefix: str = "/v1", **arguments: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(chat_router(answer, **arguments), prefix=prefix)
    return app


def text(response: Response) -> str:
    chunks = [json.loads(event.data or "") for event in check_stream(response.body, "openai")[:-1]]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


async def ask(app: Any, path: str = "/v1/chat/completions", **headers: str) -> Response:
    return await Client(app).request("POST", path, json=ASK, headers=headers)


# FastAPI.


@pytest.mark.parametrize("given", [answer, ChatApp(partial(answer, db=""))], ids=["answer", "app"])
async def test_fastapi_resolves_what_an_answer_takes(given: Any) -> None:
    app = fastapi_app(given)
    said = text(await ask(app, "/v1/chat/completions?tone=loud", **{"x-user": "ada"}))
    db = "session" if given is answer else ""
    assert said == f"hi, ada: {db}, loud"
    assert text(await ask(app, **{"x-user": "ada"})).endswith(", calm")


async def test_a_yield_dependency_is_open_until_the_stream_is_over() -> None:
    await ask(fastapi_app(answer), **{"x-user": "ada"})
    assert log == ["opens", "answers", "is done", "closes"]


async def test_a_dependency_turns_away_and_a_parameter_is_checked_before_the_answer() -> None:
    app = fastapi_app(answer)
    refused = await ask(app, **{"x-user": "mallory"})
    assert (refused.status, refused.json()) == (403, {"detail": "not you"})
    assert (await ask(app)).status == 422
    assert "answers" not in log


async def test_a_get_route_has_them_too_and_the_models_do_not_need_them() -> None:
    client = Client(fastapi_app(answer))
    response = await client.request("GET", "/v1/events?prompt=hi", headers={"x-user": "ada"})
    assert b"hi, ada: session, calm" in response.body
    assert (await client.request("GET", "/v1/models")).status == 200


def test_the_document_shows_them() -> None:
    async def secured(
        request: ChatRequest, token: Annotated[Any, Depends(HTTPBearer())], tone: str = Query("")
    ) -> AsyncIterator[str]:
        yield ""

    document = json.loads(json.dumps(fastapi_app(secured).openapi()))
    openapi_spec_validator.validate(document)
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert [parameter["name"] for parameter in chat["parameters"]] == ["tone"]
    assert chat["security"] == [{"HTTPBearer": []}]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["required"] == ["messages"]
    assert "422" in chat["responses"]
    assert "security" not in document["paths"]["/v1/models"]["get"]


async def test_the_routers_path_has_parameters_too() -> None:
    async def in_room(request: ChatRequest, room: Annotated[int, Path()]) -> AsyncIterator[str]:
        yield f"room {room + 1}"

    app = fastapi_app(in_room, prefix="/rooms/{room}")
    assert text(await ask(app, "/rooms/6/chat/completions")) == "room 7"


async def test_fastapis_own_objects_are_given_and_its_tasks_run_behind_the_stream() -> None:
    async def own(
        request: ChatRequest, fastapis: FastAPIRequest, tasks: BackgroundTasks
    ) -> AsyncIterator[str]:
        tasks.add_task(log.append, "task")
        yield fastapis.url.path
        log.append("is done")

    assert text(await ask(fastapi_app(own))) == "/v1/chat/completions"
    assert log == ["is done", "task"]


async def test_a_plain_function_and_a_class_take_them_as_well() -> None:
    def plain(request: ChatRequest, who: Annotated[str, Depends(user)]) -> Iterator[str]:
        yield f"plain {who}"

    class Answer:
        async def __call__(self, request: ChatRequest, *, who: str = Depends(user)) -> str:
            return f"whole {who}"

    assert text(await ask(fastapi_app(plain), **{"x-user": "ada"})) == "plain ada"
    assert text(await ask(fastapi_app(Answer()), **{"x-user": "ada"})) == "whole ada"


async def test_a_plain_default_is_nobodys_to_set() -> None:
    async def fixed(request: ChatRequest, model: str = "cheap", *more: Any) -> AsyncIterator[str]:
        yield model

    app = fastapi_app(partial(fixed))
    assert text(await ask(app, "/v1/chat/completions?model=dear")) == "cheap"
    assert "parameters" not in app.openapi()["paths"]["/v1/chat/completions"]["post"]
    bound = fastapi_app(partial(fixed, model="bound"))
    assert text(await ask(bound, "/v1/chat/completions?model=dear")) == "bound"


class Wishes(BaseModel):
    tone: str


def wishes(wishes: Wishes) -> Wishes:
    return wishes


@pytest.mark.parametrize(
    "taken",
    [Wishes, Annotated[str, Body()], Annotated[Wishes, Depends(wishes)]],
    ids=["model", "body", "depends"],
)
def test_what_would_be_read_from_the_body_is_refused_when_the_router_is_made(taken: Any) -> None:
    async def reading(request: ChatRequest, mine: Any) -> AsyncIterator[str]:
        yield ""

    reading.__annotations__["mine"] = taken
    with pytest.raises(TypeError, match="reading takes mine, which FastAPI would read from the b"):
        chat_router(reading)


# Litestar.


async def tenant(x_tenant: Annotated[str, HeaderParameter(name="x-tenant")]) -> str:
    if x_tenant == "mallory":
        raise PermissionDeniedException("not you")
    return x_tenant


async def opened() -> AsyncIterator[str]:
    log.append("opens")
    yield "session"
    log.append("closes")


async def litestars(
    request: ChatRequest,
    who: NamedDependency[str],
    db: NamedDependency[str],
    state: State,
    tone: Annotated[str, QueryParameter(name="tone")] = "calm",
) -> AsyncIterator[str]:
    log.append("answers")
    yield f"{request.prompt}, {who}: {db}, {tone}, {state.name}"


def litestar_app(answer: Any, **arguments: Any) -> Litestar:
    return Litestar(plugins=[LLMStreamPlugin(answer, **arguments)], state=State({"name": "s"}))


DEPENDENCIES = {"who": Provide(tenant), "db": Provide(opened)}


async def test_litestar_resolves_what_an_answer_takes() -> None:
    app = litestar_app(litestars, dependencies=DEPENDENCIES)
    said = text(await ask(app, "/v1/chat/completions?tone=loud", **{"x-tenant": "ada"}))
    assert said == "hi, ada: session, loud, s"
    assert text(await ask(app, **{"x-tenant": "ada"})) == "hi, ada: session, calm, s"
    assert log[:3] == ["opens", "closes", "answers"]  # as Litestar does
    response = await Client(app).request("GET", "/v1/events?prompt=hi", headers={"x-tenant": "ada"})
    assert b"hi, ada: session, calm, s" in response.body
    assert (await Client(app).request("GET", "/v1/models")).status == 200


async def test_litestars_dependency_turns_away_and_a_missing_header_is_a_400() -> None:
    async def plain() -> str:
        return "session"  # one that yields Litestar would leave open where another fails

    app = litestar_app(litestars, dependencies={**DEPENDENCIES, "db": Provide(plain)})
    assert (await ask(app, **{"x-tenant": "mallory"})).status == 403
    assert (await ask(app)).status == 400
    assert "answers" not in log


def test_litestars_document_shows_them() -> None:
    schema = litestar_app(litestars, dependencies=DEPENDENCIES).openapi_schema
    document = json.loads(json.dumps(schema.to_schema()))
    openapi_spec_validator.validate(document)
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert {p["name"] for p in chat["parameters"]} == {"tone", "x-tenant"}


def test_a_dependency_that_the_answer_does_not_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"would not run these dependencies here: more\."):
        LLMStreamPlugin(litestars, dependencies={**DEPENDENCIES, "more": Provide(opened)})


def test_litestars_body_is_the_chats() -> None:
    async def reading(request: ChatRequest, data: dict[str, Any]) -> AsyncIterator[str]:
        yield ""

    with pytest.raises(TypeError, match="reading takes data, but the body is the chat's request"):
        LLMStreamPlugin(reading)
