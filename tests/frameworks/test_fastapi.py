"""In FastAPI: what the OpenAPI page says, what runs before, after and around a stream."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import anyio
import fastapi
import openapi_spec_validator
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.testclient import TestClient

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions, StreamResult
from asgi_llmstream.fastapi import LLMStreamResponse, LLMStreamRoute, chat_router
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, check_stream

JSON = {"content-type": "application/json"}
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}

user: ContextVar[str] = ContextVar("user", default="nobody")


class Answers:
    """A producer that says "Hel", and "lo" when it is let.

    Attributes:
        requests: what was asked.
        go: lets it go on.
        log: what happened, in order.
    """

    def __init__(self) -> None:
        self.requests: list[ChatRequest | None] = []
        self.go = anyio.Event()
        self.log: list[str] = []

    async def __call__(self, request: ChatRequest | None = None) -> AsyncIterator[str]:
        self.requests.append(request)
        state = request.scope.get("state", {}) if request is not None else {}
        try:
            yield "Hel"
            await self.go.wait()
            if state.get("breaks"):
                raise ValueError("hunter2")
            yield "lo"
        finally:
            self.log.append(f"producer closes: {user.get()}, {state.get('user')}")

    def on_finish(self, result: StreamResult) -> None:
        self.log.append(f"on_finish: {result.outcome}")


def routed(answers: Answers, **arguments: Any) -> FastAPI:
    """An app with the chat's router below /v1."""
    app = FastAPI()
    app.include_router(chat_router(answers, **arguments), prefix="/v1")
    return app


# The OpenAPI document.


def operations(app: FastAPI) -> dict[str, Any]:
    """Every operation by method and path, of a document that is valid."""
    document = json.loads(json.dumps(app.openapi()))
    openapi_spec_validator.validate(document)
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def content_types(operation: Any, status: str = "200") -> list[str]:
    return [*operation["responses"][status]["content"]]


def test_the_routers_document_is_valid_and_names_the_event_stream() -> None:
    documented = operations(routed(Answers()))
    assert [*documented] == [
        "POST /v1/chat/completions",
        "POST /v1/responses",
        "POST /v1/messages",
        "POST /v1/ui",
        "POST /v1/ag-ui",
        "GET /v1/events",
        "POST /v1/events",
        "POST /v1/text",
        "GET /v1/events/schema",
        "GET /v1/models",
        "GET /v1/models/{id}",
    ]
    chat = documented["POST /v1/chat/completions"]
    assert content_types(chat) == ["text/event-stream", "application/json"]
    assert content_types(documented["GET /v1/events"]) == ["text/event-stream"]
    assert content_types(documented["POST /v1/ui"]) == ["text/event-stream"]
    assert content_types(documented["POST /v1/text"]) == ["text/plain; charset=utf-8"]
    assert "application/json" in content_types(documented["POST /v1/messages"])
    assert content_types(documented["GET /v1/models"]) == ["application/json"]
    (id,) = documented["GET /v1/models/{id}"]["parameters"]
    assert (id["in"], id["required"]) == ("path", True)
    query = {p["name"]: p["required"] for p in documented["GET /v1/events"]["parameters"]}
    assert query == {"prompt": True, "model": False}
    assert all("422" not in operation["responses"] for operation in documented.values())
    errors = [status for status in chat["responses"] if status != "200"]
    assert errors == ["400", "404", "413", "415", "429", "500", "502", "503", "504"]
    assert "Retry-After" in chat["responses"]["429"]["headers"]


def test_the_documented_request_is_what_is_accepted_and_the_documented_error_what_comes() -> None:
    (content,) = operations(routed(Answers()))["POST /v1/chat/completions"]["requestBody"][
        "content"
    ].values()
    schema = content["schema"]
    assert "$ref" not in json.dumps(schema)
    assert schema["required"] == ["messages"]
    message = schema["properties"]["messages"]["items"]
    assert message["required"] == ["role"]
    assert "user" in message["properties"]["role"]["enum"]
    with TestClient(routed(Answers())) as client:
        refused = client.post("/v1/chat/completions", json=ASK | {"n": 2})
    assert refused.status_code == 400
    documented = operations(routed(Answers()))["POST /v1/chat/completions"]["responses"]["400"]
    error = documented["content"]["application/json"]["schema"]["properties"]["error"]
    assert set(refused.json()["error"]) == set(error["required"])


def test_what_dependencies_want_is_documented_beside_it() -> None:
    def limit(x_tenant: Annotated[str, fastapi.Header()], page: int = 0) -> None: ...

    app = routed(Answers(), dependencies=[Depends(HTTPBearer()), Depends(limit)], tags=["llm"])
    documented = operations(app)
    events = documented["GET /v1/events"]
    assert {p["name"] for p in events["parameters"]} == {"prompt", "model", "x-tenant", "page"}
    assert events["security"] == [{"HTTPBearer": []}]
    assert events["tags"] == ["llm"]
    assert "422" in events["responses"]  # now it can happen


def test_a_route_says_event_stream_by_its_response_class_or_its_routers_route_class() -> None:
    app, router = FastAPI(), APIRouter(route_class=LLMStreamRoute)

    @app.post("/class", response_class=LLMStreamResponse)
    async def by_class() -> Any:
        raise NotImplementedError

    @router.post("/annotated")
    async def by_annotation() -> LLMStreamResponse:
        raise NotImplementedError

    @router.post("/other")
    async def other() -> dict[str, str]:
        raise NotImplementedError

    app.include_router(router)
    documented = operations(app)
    assert content_types(documented["POST /class"]) == ["text/event-stream"]
    assert content_types(documented["POST /annotated"]) == ["text/event-stream"]
    assert content_types(documented["POST /other"]) == ["application/json"]


# Dependencies.

EVERYTHING = [
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/events?prompt=hi"),
    ("HEAD", "/v1/events?prompt=hi"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/default"),
    ("HEAD", "/v1/models"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_who_may_not_is_turned_away_before_the_producer_is_called(
    method: str, path: str
) -> None:
    answers = Answers()
    seen: list[str] = []

    def deny(request: Request) -> None:
        seen.append(request.url.path)
        raise HTTPException(401, headers={"www-authenticate": "Bearer"})

    client = Client(routed(answers, dependencies=[Depends(deny)]))
    response = await client.request(method, path, json=ASK if method == "POST" else None)
    assert response.status == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert len(seen) == 1
    assert answers.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("reads", ["body", "json"])
async def test_a_dependency_may_read_the_body_first(reads: str) -> None:
    answers = Answers()
    answers.go.set()
    seen: list[Any] = []

    async def look(request: Request) -> None:
        seen.append(await getattr(request, reads)())

    client = Client(routed(answers, dependencies=[Depends(look)]))
    response = await client.request("POST", "/v1/chat/completions", json=ASK)
    check_stream(response.body, "openai")
    assert len(seen) == len(answers.requests) == 1
    assert answers.requests[0] is not None
    assert answers.requests[0].prompt == "hi"


@pytest.mark.anyio
async def test_the_body_limit_holds_in_the_router_too() -> None:
    answers = Answers()
    client = Client(routed(answers, options=StreamOptions(max_body_size=20)))
    response = await client.request("POST", "/v1/chat/completions", json=ASK)
    assert (response.status, response.json()["error"]["code"]) == (413, "payload_too_large")
    chunked = await client.request(
        "POST", "/v1/chat/completions", body=b"x" * 30, headers=JSON | {"content-length": ""}
    )
    assert chunked.status == 413
    assert answers.requests == []


@pytest.mark.anyio
async def test_who_leaves_before_the_request_is_whole_costs_nothing() -> None:
    answers = Answers()
    app = routed(answers)
    messages = [
        {"type": "http.request", "body": b'{"mess', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }
    await app(scope, receive, send)
    assert (sent, answers.requests) == ([], [])


def test_a_chat_app_of_ones_own_can_be_the_router() -> None:
    chat = ChatApp(Answers(), models=["mine"])
    app = FastAPI(lifespan=chat.lifespan)
    app.include_router(chat_router(chat), prefix="/v1")
    with TestClient(app) as client:
        assert client.get("/v1/models/mine").status_code == 200
    stopped = TestClient(app).get("/v1/models/mine")
    assert stopped.status_code == 503
    assert stopped.json()["error"]["code"] == "shutting_down"


# docs/frameworks.md: what runs when.


async def depend_with_exit(log: list[str], request: Request, tasks: BackgroundTasks) -> Any:
    user.set("ada")
    request.state.user = "ada"
    tasks.add_task(log.append, "background task")
    yield
    log.append("dependency exits")


def with_router(answers: Answers) -> FastAPI:
    async def session(request: Request, tasks: BackgroundTasks) -> AsyncIterator[None]:
        async for _ in depend_with_exit(answers.log, request, tasks):
            yield

    return routed(answers, dependencies=[Depends(session)], on_finish=answers.on_finish)


def with_route(answers: Answers) -> FastAPI:
    app = FastAPI()

    async def session(request: Request, tasks: BackgroundTasks) -> AsyncIterator[None]:
        async for _ in depend_with_exit(answers.log, request, tasks):
            yield

    @app.post("/v1/chat/completions", dependencies=[Depends(session)])
    async def chat(request: Request) -> LLMStreamResponse:
        asked = ChatRequest(messages=[], scope=request.scope)
        return LLMStreamResponse(answers(asked), on_finish=answers.on_finish)

    return app


async def ask(app: Any, answers: Answers, disconnect: bool) -> None:
    async with Client(app).stream("POST", "/v1/chat/completions", json=ASK) as response:
        await response.started()
        await response.chunk()
        assert "producer" not in " ".join(answers.log)
        if disconnect:
            response.disconnect()
        else:
            answers.go.set()
        await response.returned()


@pytest.mark.anyio
@pytest.mark.parametrize("build", [with_router, with_route])
@pytest.mark.parametrize("outcome", ["finished", "disconnected"])
async def test_background_tasks_then_yield_dependencies_come_after_the_stream(
    build: Callable[[Answers], FastAPI], outcome: str
) -> None:
    answers = Answers()
    await ask(build(answers), answers, disconnect=outcome == "disconnected")
    assert answers.log == [
        # With the context variable and the request state that the dependency has set.
        "producer closes: ada, ada",
        f"on_finish: {outcome}",
        "background task",
        "dependency exits",
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
async def test_a_dependency_in_a_thread_sets_request_state_but_no_context_variables(
    disconnect: bool,
) -> None:
    answers = Answers()

    def authenticate(request: Request) -> None:
        user.set("ada")
        request.state.user = "ada"

    await ask(routed(answers, dependencies=[Depends(authenticate)]), answers, disconnect)
    assert answers.log == ["producer closes: nobody, ada"]


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
async def test_a_dependency_of_function_scope_exits_before_the_stream(disconnect: bool) -> None:
    answers = Answers()
    app = FastAPI()

    async def session() -> AsyncIterator[None]:
        yield
        answers.log.append("dependency exits")

    @app.post("/v1/chat/completions", dependencies=[Depends(session, scope="function")])
    async def chat() -> LLMStreamResponse:
        return LLMStreamResponse(answers())

    await ask(app, answers, disconnect)
    assert answers.log == ["dependency exits", "producer closes: nobody, None"]


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
async def test_a_responses_own_background_runs_in_place_of_injected_tasks(disconnect: bool) -> None:
    answers = Answers()
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(tasks: BackgroundTasks) -> LLMStreamResponse:
        tasks.add_task(answers.log.append, "injected")
        own = BackgroundTask(answers.log.append, "own")
        return LLMStreamResponse(answers(), background=own)

    await ask(app, answers, disconnect)
    assert answers.log == ["producer closes: nobody, None", "own"]


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
async def test_a_mount_sees_what_middleware_has_set_and_runs_no_dependencies(
    disconnect: bool,
) -> None:
    answers = Answers()

    def never() -> None:
        answers.log.append("dependency")

    app = FastAPI(dependencies=[Depends(never)])
    app.mount("/v1", ChatApp(answers))

    @app.middleware("http")
    async def authenticate(request: Request, call_next: Any) -> Any:
        user.set("ada")
        request.state.user = "ada"
        return await call_next(request)

    await ask(app, answers, disconnect)
    assert answers.log == ["producer closes: ada, ada"]


# Below middleware.


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def break_later(request: Request, call_next: Any) -> Any:
    request.state.breaks = True
    return await call_next(request)


MIDDLEWARE = {
    "gzip": Middleware(GZipMiddleware, minimum_size=1),
    "cors": Middleware(CORSMiddleware, allow_origins=["*"]),
    "http": Middleware(BaseHTTPMiddleware, dispatch=pass_on),
}
HEADERS = {"accept-encoding": "gzip", "origin": "http://elsewhere.example"}


def below(middleware: list[Middleware], answers: Answers, how: str) -> FastAPI:
    app = FastAPI(middleware=middleware)
    if how == "router":
        app.include_router(chat_router(answers), prefix="/v1")
    elif how == "mount":
        app.mount("/v1", ChatApp(answers))
    else:

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> LLMStreamResponse:
            return LLMStreamResponse(answers(ChatRequest(messages=[], scope=request.scope)))

    return app


def on_everything(test: Any) -> Any:
    cases = [
        pytest.param([middleware], how, id=f"{name}-{how}")
        for name, middleware in MIDDLEWARE.items()
        for how in ("router", "mount", "route")
    ]
    return pytest.mark.anyio(pytest.mark.parametrize(("middleware", "how"), cases)(test))


def text(data: str) -> str:
    choices = json.loads(data)["choices"]
    return str(choices[0]["delta"].get("content", ""))


@on_everything
async def test_tokens_come_one_by_one_below_middleware(
    middleware: list[Middleware], how: str
) -> None:
    answers = Answers()
    app = below(middleware, answers, how)
    async with Client(app, headers=HEADERS).stream(
        "POST", "/v1/chat/completions", json=ASK
    ) as response:
        await response.started()
        assert [text((await response.event()).data) for _ in range(2)] == ["", "Hel"]
        answers.go.set()
        assert text((await response.event()).data) == "lo"
        await response.read_to_end()
    check_stream(response.body, "openai")
    assert "content-encoding" not in response.headers
    if middleware == [MIDDLEWARE["cors"]]:
        assert response.headers["access-control-allow-origin"] == "*"


@on_everything
async def test_a_disconnect_comes_through_middleware(
    middleware: list[Middleware], how: str
) -> None:
    answers = Answers()
    await ask(below(middleware, answers, how), answers, disconnect=True)
    assert answers.log == ["producer closes: nobody, None"]


@on_everything
async def test_an_error_in_mid_stream_is_seen_through_middleware(
    middleware: list[Middleware], how: str
) -> None:
    answers = Answers()
    answers.go.set()
    breaking = Middleware(BaseHTTPMiddleware, dispatch=break_later)
    client = Client(below([*middleware, breaking], answers, how), headers=HEADERS)
    response = await client.request("POST", "/v1/chat/completions", json=ASK)
    assert response.status == 200
    events = check_stream(response.body, "openai")
    assert "error" in json.loads(events[-2].data)
    assert "hunter2" not in response.body.decode()


def test_fastapis_own_test_client_works_for_what_needs_no_timing() -> None:
    async def quick(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hello"

    app = FastAPI()
    app.include_router(chat_router(quick), prefix="/v1")
    with TestClient(app) as client:
        response = client.post("/v1/chat/completions", json=ASK)
    check_stream(response.content, "openai")


# Routes that yield


class Named(BaseModel):
    name: str


@pytest.mark.anyio
async def test_a_route_that_yields_streams_as_its_response_class_says() -> None:
    app = FastAPI()
    results: list[StreamResult] = []
    configured = LLMStreamResponse.using(format=Events(), model="m", on_finish=results.append)

    @app.post("/async", response_class=configured)
    async def asynchronous(body: Named) -> AsyncIterator[str]:
        yield "Hi, "
        yield body.name

    @app.post("/sync", response_class=configured, status_code=201)
    def synchronous(body: Named) -> Iterator[str]:
        yield "Hi, "
        yield body.name

    for path, status in (("/async", 200), ("/sync", 201)):
        response = await Client(app).request("POST", path, json={"name": "Ada"})
        check_stream(response.body, "events")
        assert response.status == status
        assert b'"model":"m"' in response.body
    assert [result.message.text for result in results] == ["Hi, Ada", "Hi, Ada"]
    responses = app.openapi()["paths"]["/async"]["post"]["responses"]
    assert [*responses["200"]["content"]] == ["text/event-stream"]


@pytest.mark.anyio
async def test_a_route_that_yields_is_closed_when_its_client_leaves() -> None:
    app = FastAPI()
    closed: list[bool] = []

    @app.get("/", response_class=LLMStreamResponse)
    async def chat() -> AsyncIterator[str]:
        try:
            while True:
                yield "word "
        finally:
            closed.append(True)

    gc.disable()
    try:
        async with Client(app).stream("GET", "/") as response:
            await response.started()
        assert closed == [True]
    finally:
        gc.enable()


def test_settings_that_cannot_be_are_refused_where_they_are_given() -> None:
    with pytest.raises(ValueError, match="CR, LF"):
        LLMStreamResponse.using(headers={"x-a": "a\nb"})
