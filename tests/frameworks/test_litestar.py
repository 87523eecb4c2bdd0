"""In Litestar: what the OpenAPI document says, what runs before, after and around a stream."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import openapi_spec_validator
import pytest
from litestar import Litestar, Request, Router, asgi, delete, get, post
from litestar.background_tasks import BackgroundTask
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import CacheControlHeader, Cookie
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.params import JSONBody

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions, StreamResult
from asgi_llmstream.litestar import LLMStreamPlugin, LLMStreamResponse
from asgi_llmstream.testing import Client, Response, check_stream

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}

user: ContextVar[str] = ContextVar("user", default="nobody")


class Answers:
    """A producer that says "Hel", and "lo" when it is let.

    Attributes:
        requests: what was asked.
        go: lets it go on.
        log: what happened, in order.
        breaks: whether it fails after its first token.
    """

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.go = anyio.Event()
        self.log: list[str] = []
        self.breaks = False

    async def __call__(self, request: ChatRequest) -> AsyncIterator[str]:
        self.requests.append(request)
        try:
            yield "Hel"
            await self.go.wait()
            if self.breaks:
                raise ValueError("hunter2")
            yield "lo"
        finally:
            self.log.append(f"producer closes: {user.get()}, {request.scope['state'].get('user')}")

    def on_finish(self, result: StreamResult) -> None:
        self.log.append(f"on_finish: {result.outcome}")


def with_plugin(answers: Answers, plugin: Any = None, **arguments: Any) -> Litestar:
    settings = plugin or {}
    return Litestar(
        plugins=[LLMStreamPlugin(answers, on_finish=answers.on_finish, **settings)], **arguments
    )


def with_handler(answers: Answers, **arguments: Any) -> Litestar:
    @post("/v1/chat/completions")
    async def chat(request: Request[Any, Any, Any]) -> LLMStreamResponse:
        return LLMStreamResponse(
            answers(ChatRequest(messages=[], scope=request.scope)),
            on_finish=answers.on_finish,
            background=BackgroundTask(answers.log.append, "background task"),
        )

    return Litestar([chat], **arguments)


def with_mount(answers: Answers, **arguments: Any) -> Litestar:
    chat = ChatApp(answers, on_finish=answers.on_finish)
    return Litestar([asgi("/v1", is_mount=True, copy_scope=True)(chat)], **arguments)


# The OpenAPI document.


def operations(app: Litestar) -> dict[str, Any]:
    """Every operation by method and path, of a document that is valid."""
    document = json.loads(json.dumps(app.openapi_schema.to_schema()))
    openapi_spec_validator.validate(document)
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def content_types(operation: Any, status: str = "200") -> list[str]:
    return [*operation["responses"][status]["content"]]


def test_the_plugins_document_is_valid_and_names_the_event_stream() -> None:
    documented = operations(with_plugin(Answers()))
    assert sorted(documented) == [
        "GET /v1/events",
        "GET /v1/events/schema",
        "GET /v1/models",
        "GET /v1/models/{id}",
        "POST /v1/ag-ui",
        "POST /v1/chat/completions",
        "POST /v1/events",
        "POST /v1/messages",
        "POST /v1/responses",
        "POST /v1/text",
        "POST /v1/ui",
    ]
    chat = documented["POST /v1/chat/completions"]
    assert content_types(chat) == ["text/event-stream", "application/json"]
    schema = chat["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["messages"]
    assert "$ref" not in json.dumps(schema)
    errors = [status for status in chat["responses"] if status != "200"]
    assert errors == ["400", "404", "413", "415", "429", "500", "502", "503", "504"]
    assert content_types(documented["GET /v1/events"]) == ["text/event-stream"]
    query = {p["name"]: p["required"] for p in documented["GET /v1/events"]["parameters"]}
    assert query == {"prompt": True, "model": False}
    (id,) = documented["GET /v1/models/{id}"]["parameters"]
    assert (id["in"], id["required"]) == ("path", True)
    assert {*documented["GET /v1/models/{id}"]["responses"]} == {"200", "404", "503"}


def test_what_the_router_is_told_is_documented_beside_it() -> None:
    app = with_plugin(Answers(), {"tags": ["llm"], "security": [{"BearerToken": []}]})
    events = operations(app)["GET /v1/events"]
    assert events["tags"] == ["llm"]
    assert events["security"] == [{"BearerToken": []}]


def test_with_the_plugin_handlers_are_documented_as_streams_with_the_status_200() -> None:
    @post("/posted")
    async def posted() -> LLMStreamResponse: ...

    @get("/got")
    async def got() -> LLMStreamResponse: ...

    @post("/chosen", status_code=202, media_type="text/event-stream; v=1")
    async def chosen() -> LLMStreamResponse: ...

    @post("/other")
    async def other() -> dict[str, str]: ...

    below = Router("/below", route_handlers=[posted])
    app = Litestar([posted, got, chosen, other, below], plugins=[LLMStreamPlugin()])
    documented = operations(app)
    assert content_types(documented["POST /posted"]) == ["text/event-stream"]
    assert content_types(documented["POST /below/posted"]) == ["text/event-stream"]
    assert content_types(documented["GET /got"]) == ["text/event-stream"]
    assert content_types(documented["POST /chosen"], "202") == ["text/event-stream; v=1"]
    assert content_types(documented["POST /other"], "201") == ["application/json"]
    assert len(documented) == 5
    # What the user wrote is as it was: Litestar registers copies.
    assert (posted.status_code, posted.media_type) == (201, "")


# The response class.


@pytest.mark.anyio
@pytest.mark.parametrize("plugins", [[], [LLMStreamPlugin()]], ids=["alone", "plugin"])
async def test_the_status_is_200_unless_somebody_says_otherwise(plugins: Any) -> None:
    async def tokens() -> AsyncIterator[str]:
        yield "Hello"

    @post("/default")
    async def default() -> LLMStreamResponse:
        return LLMStreamResponse(tokens())

    @delete("/handler", status_code=202)
    async def handler() -> LLMStreamResponse:
        return LLMStreamResponse(tokens())

    @post("/response", status_code=202)
    async def response() -> LLMStreamResponse:
        return LLMStreamResponse(tokens(), status_code=201)

    client = Client(Litestar([default, handler, response], plugins=plugins))
    assert (await client.request("POST", "/default")).status == 200
    assert (await client.request("DELETE", "/handler")).status == 202
    assert (await client.request("POST", "/response")).status == 201


@pytest.mark.anyio
async def test_headers_and_cookies_of_all_layers_go_out_and_the_nearest_wins() -> None:
    async def tokens() -> AsyncIterator[str]:
        yield "Hello"

    @post(
        "/",
        response_headers={"X-From": "handler", "X-Handler": "yes"},
        response_cookies=[
            Cookie("a", "handler"),
            Cookie("b", "documented only", documentation_only=True),
        ],
        cache_control=CacheControlHeader(no_store=True),
    )
    async def chat() -> LLMStreamResponse:
        answer = LLMStreamResponse(
            tokens(), headers={"X-From": "response", "X-Count": 3}, cookies={"c": "response"}
        )
        answer.set_header("X-Later", "set")
        answer.set_cookie("d", "later")
        return answer

    response = await Client(Litestar([chat])).request("POST", "/")
    check_stream(response.body, "openai")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-from"] == "response"
    assert response.headers["x-handler"] == "yes"
    assert response.headers["x-count"] == "3"
    assert response.headers["x-later"] == "set"
    cookies = [v for n, v in response.sends[0]["headers"] if n == b"set-cookie"]
    assert [cookie.split(b"=")[0] for cookie in cookies] == [b"c", b"d", b"a"]


# Guards and dependencies.

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

    def deny(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        seen.append(connection.url.path)
        raise NotAuthorizedException

    client = Client(with_plugin(answers, {"guards": [deny]}))
    response = await client.request(method, path, json=ASK if method == "POST" else None)
    assert response.status == 401
    assert len(seen) == 1
    assert answers.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("reads", ["body", "json"])
async def test_a_guard_may_read_the_body_first(reads: str) -> None:
    answers = Answers()
    answers.go.set()
    seen: list[Any] = []

    async def look(connection: Request[Any, Any, Any], handler: BaseRouteHandler) -> None:
        seen.append(await getattr(connection, reads)())

    client = Client(with_plugin(answers, {"guards": [look]}))
    response = await client.request("POST", "/v1/chat/completions", json=ASK)
    check_stream(response.body, "openai")
    assert len(seen) == len(answers.requests) == 1
    assert answers.requests[0].prompt == "hi"


@pytest.mark.anyio
async def test_the_chats_own_body_limit_holds_in_place_of_litestars() -> None:
    answers = Answers()
    answers.go.set()
    app = with_plugin(
        answers, {"options": StreamOptions(max_body_size=200)}, request_max_body_size=10
    )
    assert (await Client(app).request("POST", "/v1/chat/completions", json=ASK)).status == 200
    large = ASK | {"pad": "x" * 200}
    response = await Client(app).request("POST", "/v1/chat/completions", json=large)
    assert (response.status, response.json()["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.anyio
async def test_a_chat_app_of_ones_own_can_be_the_plugins() -> None:
    chat = ChatApp(Answers(), models=["mine"])
    app = Litestar(plugins=[LLMStreamPlugin(chat, path="/llm")], lifespan=[chat.lifespan])
    client = Client(app)
    async with app.lifespan():
        assert (await client.request("GET", "/llm/models/mine")).status == 200
    stopped = await client.request("GET", "/llm/models/mine")
    assert (stopped.status, stopped.json()["error"]["code"]) == (503, "shutting_down")


def test_dependencies_that_would_never_run_are_refused() -> None:
    with pytest.raises(TypeError, match="use guards"):
        LLMStreamPlugin(Answers(), dependencies={"user": Provide(Answers())})


@pytest.mark.anyio
async def test_two_plugins_can_stand_side_by_side() -> None:
    plugins = [LLMStreamPlugin(Answers(), path=f"/{n}", models=[n]) for n in "ab"]
    app = Litestar(plugins=plugins)
    assert {path.split("/")[1] for path in operations(app)} == {"a", "b"}
    for name in "ab":
        assert (await Client(app).request("GET", f"/{name}/models/{name}")).status == 200


# docs/frameworks.md: what runs when.


async def ask(app: Any, answers: Answers, disconnect: bool) -> Response:
    async with Client(app).stream("POST", "/v1/chat/completions", json=ASK) as response:
        await response.started()
        await response.chunk()
        assert "producer" not in " ".join(answers.log)
        if disconnect:
            response.disconnect()
        else:
            answers.go.set()
        await response.returned()
    return response


def authenticate(app: Any) -> Any:
    """Middleware that knows the user."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            user.set("ada")
            scope["state"]["user"] = "ada"
        await app(scope, receive, send)

    return middleware


@pytest.mark.anyio
@pytest.mark.parametrize("outcome", ["finished", "disconnected"])
@pytest.mark.parametrize("build", [with_plugin, with_handler, with_mount])
async def test_what_runs_when(build: Callable[..., Litestar], outcome: str) -> None:
    answers = Answers()

    async def after(request: Request[Any, Any, Any]) -> None:
        answers.log.append("after_response")

    app = build(answers, middleware=[authenticate], after_response=after)
    await ask(app, answers, disconnect=outcome == "disconnected")
    log = ["producer closes: ada, ada", f"on_finish: {outcome}"]
    if build is with_handler:
        log.append("background task")
    if build is not with_mount:
        log.append("after_response")
    assert answers.log == log


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
async def test_a_yield_dependency_exits_before_the_stream(disconnect: bool) -> None:
    answers = Answers()

    async def session(request: Request[Any, Any, Any]) -> AsyncIterator[str]:
        user.set("ada")
        request.state.user = "ada"
        yield "session"
        answers.log.append("dependency exits")

    @post("/v1/chat/completions", dependencies={"session": Provide(session)})
    async def chat(
        request: Request[Any, Any, Any],
        data: JSONBody[dict[str, Any]],
        session: NamedDependency[str],
    ) -> LLMStreamResponse:
        return LLMStreamResponse(answers(ChatRequest(messages=[], scope=request.scope)))

    await ask(Litestar([chat]), answers, disconnect)
    assert answers.log == ["dependency exits", "producer closes: ada, ada"]


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
async def test_context_variables_of_dependencies_that_run_together_stay_with_them(
    disconnect: bool,
) -> None:
    answers = Answers()

    async def first(request: Request[Any, Any, Any]) -> str:
        user.set("ada")
        request.state.user = "ada"
        return ""

    async def second() -> str:
        return ""

    @post(
        "/v1/chat/completions",
        dependencies={"first": Provide(first), "second": Provide(second)},
    )
    async def chat(
        request: Request[Any, Any, Any],
        first: NamedDependency[str],
        second: NamedDependency[str],
    ) -> LLMStreamResponse:
        return LLMStreamResponse(answers(ChatRequest(messages=[], scope=request.scope)))

    await ask(Litestar([chat]), answers, disconnect)
    # Litestar gives each a task of its own; the request's state is shared.
    assert answers.log == ["producer closes: nobody, ada"]


@pytest.mark.anyio
@pytest.mark.parametrize("disconnect", [False, True])
@pytest.mark.parametrize("how", ["plugin", "mount"])
async def test_what_a_guard_has_found_out_reaches_the_producer(how: str, disconnect: bool) -> None:
    answers = Answers()

    async def guard(connection: Any, handler: BaseRouteHandler) -> None:
        user.set("ada")
        connection.state.user = "ada"

    if how == "plugin":
        app = with_plugin(answers, {"guards": [guard]})
    else:
        mount = asgi("/v1", is_mount=True, copy_scope=True, guards=[guard])
        app = Litestar([mount(ChatApp(answers))])
    await ask(app, answers, disconnect)
    assert answers.log[0] == "producer closes: ada, ada"


@pytest.mark.anyio
async def test_a_guard_keeps_strangers_out_of_a_mount() -> None:
    def deny(connection: Any, handler: BaseRouteHandler) -> None:
        raise NotAuthorizedException

    answers = Answers()
    mount = asgi("/v1", is_mount=True, copy_scope=True, guards=[deny])
    client = Client(Litestar([mount(ChatApp(answers))]))
    assert (await client.request("POST", "/v1/chat/completions", json=ASK)).status == 401
    assert answers.requests == []


# Below middleware.

MIDDLEWARE: dict[str, dict[str, Any]] = {
    "gzip": {"compression_config": CompressionConfig(backend="gzip", minimum_size=1)},
    "cors": {"cors_config": CORSConfig(allow_origins=["*"])},
    "own": {"middleware": [authenticate]},
    "logging": {"middleware": [LoggingMiddlewareConfig(request_log_fields=["path"]).middleware]},
    "logging-body": {"middleware": [LoggingMiddlewareConfig().middleware]},
}
HEADERS = {"accept-encoding": "gzip", "origin": "http://elsewhere.example"}


def on_everything(test: Any) -> Any:
    cases = [
        pytest.param(middleware, build, id=f"{name}-{build.__name__}")
        for name, middleware in MIDDLEWARE.items()
        for build in (with_plugin, with_handler, with_mount)
        # Litestar 2.25 cannot read the body of a request to a mount: every such request is a 500,
        # whatever is mounted (`ASGIRouteHandler` has no `resolve_request_max_body_size`).
        if (name, build) != ("logging-body", with_mount)
    ]
    return pytest.mark.anyio(pytest.mark.parametrize(("middleware", "build"), cases)(test))


class Reader:
    """The text of a response, which may be compressed, as it comes."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.text = b""
        self._inflate: Any = None

    async def until(self, part: bytes) -> None:
        while part not in self.text:
            self.text += self._plain(await self.response.chunk())

    def _plain(self, chunk: bytes) -> bytes:
        if self.response.headers.get("content-encoding") != "gzip":
            return chunk
        self._inflate = self._inflate or zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        return bytes(self._inflate.decompress(chunk))


@on_everything
async def test_tokens_come_one_by_one_below_middleware(
    middleware: dict[str, Any], build: Callable[..., Litestar]
) -> None:
    answers = Answers()
    client = Client(build(answers, **middleware), headers=HEADERS)
    async with client.stream("POST", "/v1/chat/completions", json=ASK) as response:
        await response.started()
        reader = Reader(response)
        await reader.until(b'"Hel"')
        assert b'"lo"' not in reader.text
        answers.go.set()
        await reader.until(b"[DONE]\n\n")
    check_stream(reader.text, "openai")
    compressed = response.headers.get("content-encoding") == "gzip"
    assert compressed == ("compression_config" in middleware)
    if "cors_config" in middleware:
        assert response.headers["access-control-allow-origin"] == "*"


@on_everything
async def test_a_disconnect_comes_through_middleware(
    middleware: dict[str, Any], build: Callable[..., Litestar]
) -> None:
    answers = Answers()
    await ask(build(answers, **middleware), answers, disconnect=True)
    assert "on_finish: disconnected" in answers.log


@on_everything
async def test_an_error_in_mid_stream_is_seen_through_middleware(
    middleware: dict[str, Any], build: Callable[..., Litestar]
) -> None:
    answers = Answers()
    answers.breaks = True
    answers.go.set()
    client = Client(build(answers, **middleware), headers=HEADERS)
    async with client.stream("POST", "/v1/chat/completions", json=ASK) as response:
        await response.started()
        reader = Reader(response)
        await reader.until(b"[DONE]\n\n")
    events = check_stream(reader.text, "openai")
    assert "error" in json.loads(events[-2].data)
    assert b"hunter2" not in reader.text
