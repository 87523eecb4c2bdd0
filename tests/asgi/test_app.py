"""`ChatApp`: its routes, its errors, and where it is mounted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from asgi_llmstream import (
    ChatApp,
    ChatMessage,
    ChatRequest,
    LLMStreamError,
    StreamOptions,
    StreamResult,
)
from asgi_llmstream.formats import DEFAULT_FORMATS, Encoder, RequestFormat
from asgi_llmstream.formats.openapi import Operation, routes
from asgi_llmstream.testing import Client, ManualClock, Response, check_stream
from tests.formats.test_every_format import ASK, asking, message_of
from tests.support.providers import module

pytestmark = pytest.mark.anyio

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
JSON = {"content-type": "application/json"}


class Own:
    """A format of one's own, which only streams.

    Attributes:
        decoded: what `decode` was given.
    """

    headers: ClassVar = ()
    carries_raw: ClassVar = False
    offered: ClassVar = None
    route: ClassVar = "/own"
    names_model: ClassVar = False

    def __init__(self, method: Literal["GET", "POST"] = "POST") -> None:
        self.methods: Any = (method,)
        self.decoded: list[dict[str, Any]] = []

    def encoder(self) -> Encoder:
        return lambda event: b"data: %d\n\n" % event.seq

    def error_body(self, error: LLMStreamError) -> bytes:
        return json.dumps({"message": error.message, "code": error.code}).encode()

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        self.decoded.append(fields)
        stream = bool(fields.get("stream"))
        return ChatRequest(messages=[ChatMessage(role="user", content="hi")], stream=stream)

    def for_request(self, request: ChatRequest) -> Own:
        return self


class App:
    """A ChatApp that remembers what it was asked."""

    def __init__(self, **arguments: Any) -> None:
        self.requests: list[ChatRequest] = []
        self.app = ChatApp(self.answer, **arguments)

    async def answer(self, request: ChatRequest) -> AsyncIterator[str]:
        self.requests.append(request)
        yield "Hel"
        yield "lo"

    async def post(self, body: Any, path: str = "/chat/completions", **headers: str) -> Response:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await Client(self.app).request("POST", path, body=encoded, headers=JSON | headers)


def assert_openai_error(response: Response, status: int, param: str | None = None) -> None:
    assert response.status == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["param"] == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"[]", None),
        (b"null", None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (HELLO | {"stream": "yes"}, "stream"),
        (HELLO | {"n": 2}, "n"),
        (HELLO | {"temperature": "hot"}, "temperature"),
        (HELLO | {"tools": {}}, "tools"),
        (HELLO | {"model": 7}, "model"),
        (HELLO | {"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
async def test_a_bad_request_is_a_400_that_names_the_field_before_the_producer_is_called(
    body: Any, param: str | None
) -> None:
    app = App()
    response = await app.post(body)
    assert_openai_error(response, 400, param)
    assert app.requests == []


async def test_a_path_that_is_none_is_a_404() -> None:
    assert_openai_error(await App().post(HELLO, "/chat"), 404)
    assert_openai_error(await Client(App().app).request("GET", "/models/none"), 404, "model")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/chat/completions", "POST, OPTIONS"),
        ("PUT", "/events", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/events/schema", "GET, HEAD, OPTIONS"),
        ("DELETE", "/models", "GET, HEAD, OPTIONS"),
        ("HEAD", "/chat/completions", "POST, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_a_405_that_says_which_are_right(
    method: str, path: str, allow: str
) -> None:
    response = await Client(App().app).request(method, path)
    assert response.status == 405
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/chat/completions", "POST, OPTIONS"),
        ("/events", "GET, HEAD, POST, OPTIONS"),
        ("/models/default", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_says_which_methods_there_are(path: str, allow: str) -> None:
    app = App()
    response = await Client(app.app).request("OPTIONS", path)
    assert (response.status, response.body) == (204, b"")
    assert response.headers["allow"] == allow
    assert app.requests == []
    assert (await Client(app.app).request("OPTIONS", "/none")).status == 404


async def test_a_page_of_another_origin_may_ask_below_a_cors_middleware() -> None:
    app = CORSMiddleware(
        App().app, allow_origins=["https://page"], allow_methods=["POST"], allow_headers=["*"]
    )
    asks = {
        "origin": "https://page",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    preflight = await Client(app).request("OPTIONS", "/ui", headers=asks)
    assert preflight.status == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]


ANTHROPIC = {"anthropic-version": "2023-06-01"}


async def test_below_a_route_errors_have_the_shape_of_its_protocol() -> None:
    for path in ("/messages/count_tokens", "/messages/batches/x"):
        response = await App().post(HELLO, path)
        assert response.status == 404
        assert response.json()["error"]["type"] == "not_found_error"
        assert response.json()["type"] == "error"
    assert_openai_error(await App().post(HELLO, "/messages-of-others"), 404)
    elsewhere = await Client(App().app).request("GET", "/models/none", headers=ANTHROPIC)
    assert elsewhere.json()["type"] == "error"


async def test_anthropics_clients_get_models_in_their_own_words() -> None:
    app = App(models=["m", "n"], options=StreamOptions(clock=ManualClock()))
    client = Client(app.app, headers=ANTHROPIC)
    page = (await client.request("GET", "/models")).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("m", "n", False)
    model = module("anthropic").types.ModelInfo
    assert [model.model_validate(one).display_name for one in page["data"]] == ["m", "n"]
    one = (await client.request("GET", "/models/n")).json()
    assert one == page["data"][1]
    assert one["created_at"].endswith("Z")
    assert (await Client(app.app).request("GET", "/models")).json()["object"] == "list"


async def test_a_body_that_is_too_large_is_a_413_however_its_length_is_told() -> None:
    app = App(options=StreamOptions(max_body_size=100))
    large = HELLO | {"pad": "x" * 100}
    assert_openai_error(await app.post(large), 413)
    assert_openai_error(await app.post(large, **{"content-length": "999999999999999999999"}), 413)
    assert app.requests == []


async def test_a_body_is_decoded_once_and_its_depth_is_known_before_a_format_sees_it() -> None:
    own = Own()
    app = App(formats=[own], options=StreamOptions(max_body_depth=3))
    response = await app.post({"a": [[[1]]]}, "/own")
    assert (response.status, response.json()["code"]) == (400, "too_deep")
    assert own.decoded == []
    assert (await app.post({"a": [[1]], "stream": True}, "/own")).status == 200
    assert own.decoded == [{"a": [[1]], "stream": True}]


async def test_the_format_of_a_get_route_is_given_the_query_by_name() -> None:
    own = Own("GET")
    app = App(formats=[own])
    await Client(app.app).request("GET", "/own?stream=1&q=Troms%C3%B8&q=b&empty=")
    assert own.decoded == [{"stream": "1", "q": "Tromsø"}]


async def test_a_format_that_only_streams_refuses_other_requests_before_anything_begins() -> None:
    results: list[StreamResult] = []
    app = App(formats=[Own()], on_finish=results.append)
    response = await app.post({"stream": False}, "/own")
    assert (response.status, response.json()["code"]) == (400, "stream_only")
    assert app.requests == []
    assert results == []


class Documented(Own):
    def operation(self, method: str, /) -> Operation:
        return {"summary": "Mine", "responses": {}}


def test_a_route_is_documented_by_its_format_or_by_what_holds_for_all() -> None:
    mine, other, get, *_ = routes([Documented(), Own(), Own("GET")])
    assert mine.operation == {"summary": "Mine", "responses": {}}
    assert other.operation["summary"] == "Create an answer (Own)"
    assert "application/json" not in other.operation["responses"]["200"]["content"]
    assert "requestBody" in other.operation
    assert "requestBody" not in get.operation


async def test_a_body_that_is_nested_too_deeply_is_a_400_on_every_route() -> None:
    def nested(levels: int) -> Any:
        deep: Any = {}
        for _ in range(levels - 2):
            deep = [deep]
        return HELLO | {"metadata": deep}

    app = App(options=StreamOptions(max_body_depth=50))
    response = await app.post(nested(51))
    assert_openai_error(response, 400)
    assert response.json()["error"]["code"] == "too_deep"
    assert app.requests == []
    assert (await app.post(nested(50))).status == 200
    for path in ("/messages", "/ui", "/responses", "/ag-ui"):
        asked: Any = {"role": "user", "content": "hi", "id": "m", "parts": []}
        body = {"model": "m", "max_tokens": 9, "messages": [asked], "input": "hi", "id": "c"}
        body |= {"threadId": "t", "runId": "r", "tools": [], "context": [], "state": {}}
        body |= {"forwardedProps": {}, "trigger": "submit-message"}
        response = await app.post({**nested(51), **body}, path)
        assert response.status == 400
        assert b"nested more than 50 deep" in response.body


async def test_on_finish_learns_what_was_asked_and_where() -> None:
    results: list[StreamResult] = []
    app = App(on_finish=results.append)
    await app.post(HELLO | {"metadata": {"conversation": 7}}, **{"x-user": "ada"})
    (result,) = results
    assert result.request is app.requests[0]
    assert result.request.body["metadata"] == {"conversation": 7}
    assert (b"x-user", b"ada") in result.scope["headers"]


async def test_a_body_that_is_not_json_is_a_415() -> None:
    app = App()
    response = await app.post(b"prompt=hi", **{"content-type": "application/x-www-form-urlencoded"})
    assert_openai_error(response, 415)
    good = await app.post(HELLO, **{"content-type": "application/json; charset=utf-8"})
    assert good.status == 200


async def test_a_body_of_which_nothing_is_said_is_a_415_too() -> None:
    app = App()
    body = json.dumps(HELLO).encode()
    response = await Client(app.app).request("POST", "/chat/completions", body=body)
    assert_openai_error(response, 415)
    assert app.requests == []


async def test_more_streams_than_allowed_are_a_503_that_says_when_to_come_back() -> None:
    release = anyio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hel"
        await release.wait()

    client = Client(ChatApp(answer, options=StreamOptions(max_streams=1)))
    stream = HELLO | {"stream": True}
    async with client.stream("POST", "/chat/completions", json=stream) as first:
        await first.chunk()
        second = await client.request("POST", "/chat/completions", json=stream)
        assert_openai_error(second, 503)
        assert int(second.headers["retry-after"]) > 0
        release.set()
        await first.read_to_end()
    third = await client.request("POST", "/chat/completions", json=stream)
    assert third.status == 200


async def test_the_answer_is_streamed_or_whole_as_the_client_wants_it() -> None:
    app = App(models=["m", "other"])
    streamed = await app.post(HELLO | {"stream": True, "model": "other"})
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert streamed.headers["cache-control"] == "no-cache"
    assert streamed.headers["x-accel-buffering"] == "no"
    chunks = [json.loads(e.data) for e in check_stream(streamed.body, "openai")[:-1]]
    assert {chunk["model"] for chunk in chunks} == {"other"}
    whole = (await app.post(HELLO | {"model": "m"})).json()
    assert whole["model"] == "m"
    assert whole["choices"][0]["message"]["content"] == "Hello"
    assert [request.stream for request in app.requests] == [True, False]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", HELLO),
        ("/responses", {"input": "hi"}),
        ("/messages", HELLO | {"max_tokens": 9}),
    ],
)
async def test_a_request_that_names_no_model_gets_the_only_one_and_among_several_a_400(
    path: str, body: dict[str, Any]
) -> None:
    only = await App(models=["m"]).post(body, path)
    assert only.json()["model"] == "m"
    several = App(models=["m", "other"])
    refused = await several.post(body, path)
    assert refused.status == 400
    assert "model is required" in refused.json()["error"]["message"]
    assert several.requests == []


async def test_pages_name_no_model_and_get_the_first() -> None:
    app = App(models=["m", "other"])
    ui = {"messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
    assert (await app.post(ui, "/ui")).status == 200
    assert (await Client(app.app).request("GET", "/events?prompt=hi")).status == 200
    assert [request.model for request in app.requests] == ["m", "m"]


async def test_a_response_says_when_it_began_and_when_it_was_complete() -> None:
    clock = ManualClock(epoch=1_750_000_000)
    release = anyio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hel"
        await release.wait()
        yield "lo"

    app = ChatApp(answer, options=StreamOptions(clock=clock))
    body = {"input": "hi", "stream": True}
    async with Client(app).stream("POST", "/responses", json=body) as response:
        await response.started()
        await clock.advance(10)
        release.set()
        *_, last = [json.loads(e.data) for e in check_stream(await response.read_to_end())]
    told = last["response"]
    assert (told["created_at"], told["completed_at"]) == (1_750_000_000, 1_750_000_010)


async def test_the_request_reaches_the_producer_whole() -> None:
    app = App()
    body = HELLO | {"stream": True, "temperature": 0.5, "my_field": {"x": 1}}
    await app.post(body, **{"x-user": "ada"})
    (request,) = app.requests
    assert request.prompt == "hi"
    assert request.body == body
    assert request.to_openai() == body["messages"]
    assert (b"x-user", b"ada") in request.scope["headers"]


async def test_event_source_gets_plain_events_and_a_prompt_is_needed() -> None:
    app = App()
    response = await Client(app.app).request("GET", "/events?prompt=h%C3%A9%20you")
    events = check_stream(response.body, "events")
    assert app.requests[0].prompt == "hé you"
    deltas = [json.loads(e.data)["text"] for e in events if e.event == "part-delta"]
    assert "".join(deltas) == "Hello"
    missing = await Client(app.app).request("GET", "/events?prompt=")
    assert missing.status == 400
    assert len(app.requests) == 1


async def test_an_event_source_that_comes_back_is_told_to_stop() -> None:
    app = App()
    response = await Client(app.app).request(
        "GET", "/events?prompt=hi", headers={"last-event-id": "x:3"}
    )
    assert (response.status, response.body) == (204, b"")
    assert app.requests == []


@pytest.mark.parametrize("path", ["/events?prompt=hi", "/models", "/models/default"])
async def test_head_gets_the_headers_of_get_and_never_calls_the_producer(path: str) -> None:
    app = App()
    head = await Client(app.app).request("HEAD", path)
    get = await Client(app.app).request("GET", path)
    assert head.body == b""
    assert head.status == get.status
    assert head.headers == get.headers
    assert len(app.requests) == (1 if path.startswith("/events") else 0)


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/models", ""),
        ("/models/", ""),
        ("/v1/models", "/v1"),
        ("/v1/models", ""),  # where clients append it
        ("/v1/v1/models", "/v1"),
        ("/api/v1/models", "/api"),
        ("/v1/models/", "/v1/"),
        ("/api/v1/models", "/api/v1"),
        ("/v1/models", "/api/v1"),  # a proxy in front stripped /api
        ("/models", "/api/v1"),  # and here all of it
        ("/models", "/mod"),  # a prefix of characters, not of segments
        ("/api//models", "/api/"),  # uvicorn puts the root path in front as it is
        ("/api//v1/models", "/api//v1"),  # and Starlette's mounts go on from there
        ("/v1//models", ""),  # clients, whose address ends with a slash
        ("/models", "/models"),  # a proxy in front stripped what is called as a route of ours is
        ("/v1/models", "/api/models"),
        ("/models/models", "/models"),  # and here none did
    ],
)
async def test_the_path_is_found_below_any_mount(path: str, root_path: str) -> None:
    response = await Client(App().app, root_path=root_path).request("GET", path)
    assert response.status == 200
    assert response.json()["object"] == "list"


@pytest.mark.parametrize("format", DEFAULT_FORMATS, ids=lambda it: it.route)
@pytest.mark.parametrize("proxy", ["strips", "keeps"])
async def test_a_mount_may_be_called_as_a_route_of_ours_is(
    format: RequestFormat, proxy: str
) -> None:
    root = format.route
    path = format.route if proxy == "strips" else root + format.route
    response = await Client(App().app, root_path=root).request("OPTIONS", path)
    assert response.status == 204
    assert {*format.methods} <= {*response.headers["allow"].split(", ")}


async def test_a_mount_below_a_mount_works_in_starlette() -> None:
    app = Starlette(routes=[Mount("/a", Starlette(routes=[Mount("/b", App().app)]))])
    assert (await Client(app).request("GET", "/a/b/models")).status == 200
    assert (await Client(app).request("GET", "/a/b/models/default/")).status == 200
    assert_openai_error(await Client(app).request("GET", "/a/b/none"), 404)


async def test_model_names_with_slashes_are_found() -> None:
    app = App(models=["meta/llama-3"])
    response = await Client(app.app).request("GET", "/models/meta/llama-3")
    assert response.json()["id"] == "meta/llama-3"


async def test_who_leaves_before_the_request_is_whole_gets_nothing_and_costs_nothing() -> None:
    app = App()
    sent: list[Any] = []
    messages = iter(
        [
            {"type": "http.request", "body": b'{"mess', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/chat/completions", "headers": headers}
    await app.app(scope, receive, send)
    assert sent == []
    assert app.requests == []


async def test_a_bare_server_may_start_and_stop_it() -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await App().app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_n_answers_at_the_same_time_do_not_mix() -> None:
    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        for _ in range(20):
            yield request.prompt
            await anyio.lowlevel.checkpoint()

    client = Client(ChatApp(answer))
    bodies: dict[str, bytes] = {}

    async def ask(word: str) -> None:
        body = {"messages": [{"role": "user", "content": word}]}
        response = await client.request("POST", "/chat/completions", json=body)
        bodies[word] = response.json()["choices"][0]["message"]["content"]

    async with anyio.create_task_group() as group:
        for word in "abcde":
            group.start_soon(ask, word)
    assert bodies == {word: word * 20 for word in "abcde"}


@pytest.mark.parametrize("format", [f for f in DEFAULT_FORMATS if f.names_model], ids=str)
async def test_a_model_that_is_not_listed_is_the_protocols_404(format: RequestFormat) -> None:
    app = App(models=["a", "b"])
    response = await Client(app.app).request(
        **asking(format, ASK[type(format)] | {"model": "other"})
    )
    assert response.status == 404
    assert "other" in message_of(format, response.json())
    assert app.requests == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"models": ["a"]}, "a"), ({"models": ["a"], "any_model": True}, "other"), ({}, "gpt-4o")],
)
async def test_other_models_pass_where_none_are_listed_or_any_is_welcome(
    settings: dict[str, Any], name: str
) -> None:
    app = App(**settings)
    assert (await app.post(HELLO | {"model": name})).status == 200
    assert app.requests[0].model == name
