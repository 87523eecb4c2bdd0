"""For FastAPI: a router with FastAPI's own dependencies and OpenAPI page, and a response class.

`app.mount("/v1", ChatApp(answer))` needs nothing from here, but FastAPI runs no dependencies for
mounts and documents none.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from types import AsyncGeneratorType
from typing import Annotated, Any

from .arguments import check_names, needs

with needs("fastapi", "fastapi", "starlette"):
    from fastapi import APIRouter, Request
    from fastapi.params import Body, Depends, Param
    from fastapi.routing import APIRoute
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

from .asgi.app import Answer, ChatApp, chat_app
from .asgi.http import receive_again
from .asgi.kept.keeping import Identify
from .asgi.parameters import further_parameters, waiting
from .formats import DEFAULT_FORMATS, AnyRequestFormat, openapi
from .options import DEFAULT_OPTIONS, StreamOptions
from .producers import Producer, name_of
from .runtime import OnFinish
from .starlette import LLMStreamResponse as StarletteResponse
from .stores import AnyStore, OnBusy

__all__ = ["LLMStreamResponse", "LLMStreamRoute", "chat_router"]


def chat_router(
    answer: Answer | ChatApp,
    *,
    dependencies: Sequence[Depends] = (),
    models: Sequence[str] = ("default",),
    any_model: bool = False,
    options: StreamOptions = DEFAULT_OPTIONS,
    on_finish: OnFinish | None = None,
    formats: Iterable[AnyRequestFormat] = DEFAULT_FORMATS,
    store: AnyStore | None = None,
    identify: Identify | None = None,
    on_busy: OnBusy = "replace",
    cors: Sequence[str] = (),
    **router: Any,
) -> APIRouter:
    """`ChatApp`'s routes as FastAPI's own, for `app.include_router(..., prefix="/v1")`.

    Args:
        answer: called once per request, as for `ChatApp`; or a `ChatApp`, which has settings of
            its own. What it takes behind the request is FastAPI's to fill in and to document, as
            for a route: `Depends`, `Header`, `Query` and the like, and all without a default.
            Yield-dependencies exit behind the stream.
        dependencies: run before `answer` is called; what they raise is the response. One that
            reads the body has to do so with `await request.body()` or `.json()`.
        models: the names to list, as for `ChatApp`.
        any_model: pass other names on to `answer`.
        options: intervals, deadlines and limits, in seconds and bytes.
        on_finish: called once per answer with its `StreamResult`, however it ended.
        formats: the protocols to speak, each at its `route`; all that there are if left out.
        store: keeps the streams, as for `ChatApp`, as are the next two. FastAPI has the router's
            lifespan own them, unless you give it another one.
        identify: tells from the scope who asks.
        on_busy: what a new request does to the answer that is still made in its conversation.
        cors: the origins whose pages may use it, as for `ChatApp`. What a browser asks before, it
            is answered without the dependencies, since it sends no credentials then.
        router: further arguments of `fastapi.APIRouter`, such as `tags` and `responses`.

    Raises:
        TypeError: as `ChatApp` does; if a `ChatApp` is given settings; if neither this nor
            `APIRouter` has an argument of a name; if `answer` takes what FastAPI would read from
            the body, which is the chat's.
        ValueError: as `ChatApp` does.
    """
    given = locals()
    check_names("chat_router", router, chat_router, APIRouter)
    own = answer.answer if isinstance(answer, ChatApp) else answer
    parameters = further_parameters(own, _MARKS)
    _check(own, parameters)
    app = chat_app(answer if isinstance(answer, ChatApp) else waiting(answer, parameters), given)
    further: dict[str, Any] = {"tags": ["chat"]}
    if app.keeps_streams:
        further["lifespan"] = app.lifespan
    api = APIRouter(dependencies=[*dependencies], **(further | router))
    routes = openapi.routes(app.formats, keeps_streams=app.keeps_streams)
    answered = {format.route for format in app.formats}
    for route in routes:
        _add_route(api, app, route, parameters if route.path in answered else [])
    for path in dict.fromkeys(route.path for route in routes):
        _add_options(api, app, path)
    return api


def _add_options(api: APIRouter, app: ChatApp, path: str) -> None:
    """Starlette's own kind of route: FastAPI runs no dependencies for it."""

    async def options(request: Request) -> Response:
        return _ChatResponse(app, _path(path, request), request)

    api.add_route(_converted(path), options, methods=["OPTIONS"], include_in_schema=False)


def _converted(path: str) -> str:
    return path.replace("{id}", "{id:path}")


def _path(path: str, request: Request) -> str:
    for name, value in request.path_params.items():
        path = path.replace(f"{{{name}}}", value)
    return path.rstrip("/")


def _add_route(
    api: APIRouter, app: ChatApp, route: openapi.Route, parameters: list[inspect.Parameter]
) -> None:
    async def respond(request: Request, arguments: dict[str, Any]) -> Response:
        answering = app.giving(**arguments) if arguments else app
        return _ChatResponse(answering, _path(route.path, request), request)

    endpoint = _endpoint(respond, parameters)
    path = _converted(route.path)
    api.add_api_route(
        path,
        endpoint,
        methods=[route.method],
        name=route.name,
        # Without a media type: what the answer is, the operation says.
        response_class=Response,
        openapi_extra=route.operation,
    )
    if route.method == "GET":
        # FastAPI would give both methods of one route the same operation id.
        api.add_api_route(
            path, endpoint, methods=["HEAD"], name=route.name, include_in_schema=False
        )


# FastAPI's, of a parameter: where it comes from.
_MARKS = (Depends, Param, Body)


def _endpoint(
    respond: Callable[[Request, dict[str, Any]], Awaitable[Response]],
    parameters: list[inspect.Parameter],
) -> Callable[..., Awaitable[Response]]:
    """Return an endpoint that has these parameters, as FastAPI reads them off its signature."""

    async def endpoint(**given: Any) -> Response:
        return await respond(given.pop(_OURS), given)

    # A dependency, since a `Request` of the answer's own would take its place; and of no type,
    # since FastAPI 0.118 refuses dependencies of that one.
    asked = Annotated[Any, Depends(_asked)]
    ours = inspect.Parameter(_OURS, inspect.Parameter.KEYWORD_ONLY, annotation=asked)
    signature = inspect.Signature([ours, *parameters], return_annotation=Response)
    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    return endpoint


_OURS = "llmstream_request"


async def _asked(request: Request) -> Request:
    return request


def _check(answer: Answer, parameters: list[inspect.Parameter]) -> None:
    async def respond(request: Request, arguments: dict[str, Any]) -> Response:
        raise NotImplementedError

    def reads_body(parameter: inspect.Parameter) -> bool:
        route = APIRoute("/", _endpoint(respond, [parameter]), methods=["POST"])
        return route.body_field is not None

    read = [parameter.name for parameter in parameters if reads_body(parameter)]
    if read:
        raise TypeError(
            f"{name_of(answer)} takes {', '.join(read)}, which FastAPI would read from the body, "
            "but that is the chat's request: use Depends, Query, Header, Cookie or Path"
        )


class _ChatResponse(Response):
    """Hands the request over to a `ChatApp` once FastAPI's dependencies have run.

    Args:
        app: who answers.
        path: what is asked for, below the router's prefix.
        request: FastAPI's, which keeps a body that a dependency has read.
    """

    def __init__(self, app: ChatApp, path: str, request: Request) -> None:
        super().__init__()
        self._app = app
        self._path = path
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._request.stream()) as body:
                if scope["method"] == "POST":
                    receive = receive_again(body, receive)
                await self._app.respond(self._path, scope, receive, send)
        except ClientDisconnect:
            pass  # before the request was whole: nobody is there to be told
        finally:
            if self.background is not None:
                await self.background()


class LLMStreamResponse(StarletteResponse):
    """A FastAPI response that streams what a producer yields.

    A route returns one; or it yields by itself, and names this class, or one with settings, as
    its `response_class` (FastAPI 0.140 or newer):

        @app.post("/chat", response_class=LLMStreamResponse.using(format=UIMessages()))
        async def chat(question: Question):
            async for token in model(question.text):
                yield token

    Args:
        content: the producer, as for `LLMStream`.
        status_code: of an answer that begins well.
        settings: as for `asgi_llmstream.starlette.LLMStreamResponse`.
    """

    # FastAPI reads the status off the signature.
    def __init__(self, content: Producer, *, status_code: int = 200, **settings: Any) -> None:
        super().__init__(_unwrapped(content), status_code=status_code, **settings)


def _unwrapped(content: Producer) -> Producer:
    """Return the route's own generator.

    FastAPI wraps it in one that only iterates: when that is closed, the user's `finally` would run
    some time later, when the garbage is collected.
    """
    if isinstance(content, AsyncGeneratorType) and content.ag_frame is not None:
        frame = content.ag_frame
        if frame.f_globals.get("__name__") == "fastapi.routing":
            own: Producer = frame.f_locals.get("async_gen", content)
            return own
    return content


class LLMStreamRoute(APIRoute):
    """Documents a route annotated `-> LLMStreamResponse` as an event stream.

    FastAPI reads the content type from the decorator's `response_class` only. Say it there, or
    say `APIRouter(route_class=LLMStreamRoute)` once for all routes of a router.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **arguments: Any) -> None:
        if not isinstance(arguments.get("response_class"), type):  # nobody chose one
            returned = _returned_by(endpoint)
            if isinstance(returned, type) and issubclass(returned, StarletteResponse):
                arguments["response_class"] = returned
        super().__init__(path, endpoint, **arguments)


def _returned_by(endpoint: Callable[..., Any]) -> Any:
    try:
        return inspect.signature(endpoint, eval_str=True).return_annotation
    except NameError:
        return None  # known to type checkers only, which FastAPI allows
