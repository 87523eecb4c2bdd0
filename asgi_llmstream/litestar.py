"""For Litestar: a plugin with routes below Litestar's guards and in its OpenAPI document, and a
response class for handlers.

`asgi("/v1", is_mount=True, copy_scope=True)(ChatApp(answer))` needs nothing from here, but
Litestar documents no mounts.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

from .arguments import check_names, explains, needs

with needs("litestar", "litestar"):
    from litestar import Request, Response, Router
    from litestar.background_tasks import BackgroundTask, BackgroundTasks
    from litestar.config.app import AppConfig
    from litestar.datastructures import Cookie
    from litestar.enums import HttpMethod, MediaType
    from litestar.handlers import HTTPRouteHandler
    from litestar.openapi.spec import Operation
    from litestar.params import DependencyKwarg, ParameterKwarg
    from litestar.plugins.base import InitPlugin, ReceiveRoutePlugin
    from litestar.response.base import ASGIResponse
    from litestar.routes import BaseRoute, HTTPRoute
    from litestar.types import Guard, ResponseCookies, ResponseHeaders, TypeEncodersMap

from .asgi.app import Answer, ChatApp, chat_app
from .asgi.http import Receive, Scope, Send, merge_headers, receive_again
from .asgi.kept.follow import Followed, followed
from .asgi.kept.keeping import Identify
from .asgi.parameters import further_parameters, waiting
from .asgi.stream import DEFAULT_FORMAT, LLMStream
from .formats import DEFAULT_FORMATS, AnyFormat, AnyRequestFormat, openapi
from .options import DEFAULT_OPTIONS, StreamOptions
from .producers import Producer, name_of
from .runtime import OnFinish
from .stores import AnyStore, OnBusy

__all__ = ["LLMStreamPlugin", "LLMStreamResponse"]

Background = BackgroundTask | BackgroundTasks | None
_ASGIApp = Callable[[Scope, Receive, Send], Any]

# What Litestar takes for POST when the handler does not say; nothing was created, so it is not
# what a stream means.
_LITESTARS_STATUS_OF_POST = 201


class LLMStreamResponse(Response[bytes]):
    """A Litestar response that streams what a producer yields.

    Its status is 200 unless the handler or `status_code` says otherwise, also for POST. Litestar's
    OpenAPI document knows that where `LLMStreamPlugin` is registered.

    Args:
        producer: as for `LLMStream`. Litestar closes yield-dependencies before the stream begins,
            so a producer must not use them.
        format: the wire format; OpenAI chat completions if left out.
        options: intervals, deadlines and limits, in seconds and bytes.
        on_finish: called once with the `StreamResult`, however the stream ends.
        model: the model's name, for formats that show one.
        status_code: the HTTP status of an answer that begins well.
        headers: further response headers; they replace ours of the same name.
        cookies: to be set.
        store: keeps the stream, as for `LLMStream`, as are the next three.
        key: names the conversation.
        identify: tells from the scope whose the stream is.
        on_busy: what a new stream does to the one that is still made for its key.
        background: run after the stream, also after a disconnect.

    Raises:
        TypeError: as `LLMStream` does.
        ValueError: likewise; when the request is answered, if a header cannot be sent.
    """

    @explains
    def __init__(
        self,
        producer: Producer,
        *,
        format: AnyFormat = DEFAULT_FORMAT,
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        model: str = "",
        status_code: int | None = None,
        headers: ResponseHeaders | None = None,
        cookies: ResponseCookies | None = None,
        store: AnyStore | None = None,
        key: str | None = None,
        identify: Identify | None = None,
        on_busy: OnBusy = "replace",
        background: Background = None,
    ) -> None:
        super().__init__(
            b"",
            status_code=status_code,
            headers=headers,
            cookies=cookies,
            background=background,
        )
        self._stream: LLMStream | Followed = LLMStream(
            producer,
            format=format,
            options=options,
            on_finish=on_finish,
            model=model,
            store=store,
            key=key,
            identify=identify,
            on_busy=on_busy,
        )

    @classmethod
    @explains
    def following(
        cls,
        id: str,
        *,
        store: AnyStore,
        format: AnyFormat | None = None,
        identify: Identify | None = None,
        options: StreamOptions = DEFAULT_OPTIONS,
        headers: ResponseHeaders | None = None,
        cookies: ResponseCookies | None = None,
        background: Background = None,
    ) -> Self:
        """Return a response that has its client follow a stream that a store keeps.

        Args:
            id: of the stream, as for `LLMStream.following`.
            store: likewise, as are the next three.
            headers: further response headers.
            cookies: to be set.
            background: run after the stream, also after a disconnect.

        Raises:
            TypeError: as `LLMStream.following` does.
            ValueError: likewise.
        """
        response = cls((), headers=headers, cookies=cookies, background=background)
        response._stream = followed(id, store, identify, format, options, ())
        return response

    def to_asgi_response(
        self,
        app: Any,
        request: Request[Any, Any, Any],
        *,
        background: Background = None,
        cookies: Iterable[Cookie] | None = None,
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,
        media_type: MediaType | str | None = None,
        status_code: int | None = None,
        type_encoders: TypeEncodersMap | None = None,
    ) -> ASGIResponse:
        """Make the response that Litestar sends; the arguments are the handler's."""
        if status_code == _LITESTARS_STATUS_OF_POST:
            status_code = None
        given = {**(headers or {}), **self.headers}
        stream = self._stream
        stream.status = self.status_code or status_code or 200
        stream.headers = merge_headers(
            stream.headers, {name: str(value) for name, value in given.items()}
        )
        for cookie in (*self.cookies, *(cookies or ())):
            if not cookie.documentation_only:
                stream.headers.append(cookie.to_encoded_header())
        return _Delegated(stream, self.background or background)


class _Delegated(ASGIResponse):
    """Leaves the whole response to `app`, then runs the background tasks."""

    def __init__(self, app: _ASGIApp, background: Background) -> None:
        super().__init__(background=background)
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            await self.after_response()


class _ChatResponse(Response[bytes]):
    """Hands the request over to a `ChatApp` once Litestar's guards and dependencies have run."""

    def __init__(self, app: ChatApp, path: str) -> None:
        super().__init__(b"")
        self._app = app
        self._path = path

    def to_asgi_response(
        self, app: Any, request: Request[Any, Any, Any], **arguments: Any
    ) -> ASGIResponse:
        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            async with aclosing(request.stream()) as body:
                if scope["method"] == "POST":
                    receive = receive_again(body, receive)
                await self._app.respond(self._path, scope, receive, send)

        return _Delegated(respond, self.background or arguments.get("background"))


class LLMStreamPlugin(InitPlugin, ReceiveRoutePlugin):
    """`ChatApp`'s routes as Litestar's own, and a true OpenAPI document for `LLMStreamResponse`.

    Args:
        answer: called once per request, as for `ChatApp`; or a `ChatApp`, which has settings of
            its own; or nothing, if only handlers of your own stream. What it takes behind the
            request is Litestar's to fill in and to document, as for a handler: dependencies,
            `state`, `Parameter`s, and all without a default. Yield-dependencies exit before the
            stream begins.
        path: where the routes are.
        guards: run before `answer` is called; what they raise is the response.
        models: the names to list, as for `ChatApp`.
        any_model: pass other names on to `answer`.
        options: intervals, deadlines and limits, in seconds and bytes. `max_body_size` holds for
            the chat's requests in place of Litestar's `request_max_body_size`.
        on_finish: called once per answer with its `StreamResult`, however it ended.
        formats: the protocols to speak, each at its `route`; all that there are if left out.
        store: keeps the streams, as for `ChatApp`, as are the next two. The plugin adds the
            lifespan that owns them.
        identify: tells from the scope who asks.
        on_busy: what a new request does to the answer that is still made in its conversation.
        cors: the origins whose pages may use it, as for `ChatApp`. What a browser asks before, it
            is answered without these guards, since it sends no credentials then.
        router: further arguments of `litestar.Router`, such as `middleware`, `tags` and
            `security`.

    Raises:
        ValueError: as `ChatApp` does.
        TypeError: likewise; if a `ChatApp` is given settings; if neither this nor
            `litestar.Router` has an argument of a name; if `dependencies` are given that the
            answer does not name: Litestar would not run them. Guards and middleware run for every
            request. If it names `data` or `body`, which is the chat's request.
    """

    def __init__(
        self,
        answer: Answer | ChatApp | None = None,
        path: str = "/v1",
        *,
        guards: Sequence[Guard] = (),
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
    ) -> None:
        given = locals()
        check_names("LLMStreamPlugin", router, LLMStreamPlugin, Router)
        own = answer.answer if isinstance(answer, ChatApp) else answer
        self._parameters = [] if own is None else further_parameters(own, _MARKS)
        _check(own, {p.name for p in self._parameters}, router.get("dependencies", ()))
        if answer is not None and not isinstance(answer, ChatApp):
            answer = waiting(answer, self._parameters)
        self._app = None if answer is None else chat_app(answer, given)
        self._path = path
        self._router: dict[str, Any] = {"tags": ["chat"], **router}
        self._guards = [*guards]

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar: adds the routes."""
        if self._app is not None:
            if self._app.keeps_streams:
                app_config.lifespan.append(self._app.lifespan)
            handlers = _handlers(self._app, self._guards, self._parameters)
            app_config.route_handlers.append(
                Router(self._path, route_handlers=handlers, **self._router)
            )
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Called by Litestar for every route: tells those that return an `LLMStreamResponse` what
        that means, as far as the handler does not say otherwise."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.parsed_fn_signature.return_type.is_subclass_of(LLMStreamResponse):
                # Litestar's copy of the handler, not the user's object.
                handler.media_type = handler.media_type or "text/event-stream"
                if handler.status_code == _LITESTARS_STATUS_OF_POST:
                    handler.status_code = 200


# Litestar's, of a parameter: where it comes from.
_MARKS = (ParameterKwarg, DependencyKwarg)


def _check(answer: object, names: set[str], dependencies: Iterable[str]) -> None:
    if unasked := {*dependencies} - names:
        raise TypeError(
            f"Litestar would not run these dependencies here: {', '.join(sorted(unasked))}. Name "
            "them as parameters of the answer, or use guards"
        )
    if taken := names & {"data", "body"}:
        raise TypeError(
            f"{name_of(answer)} takes {taken.pop()}, but the body is the chat's request, its first "
            "argument"
        )


def _handlers(
    app: ChatApp, guards: list[Guard], parameters: list[inspect.Parameter]
) -> list[HTTPRouteHandler]:
    routes = openapi.routes(app.formats, keeps_streams=app.keeps_streams)
    # HEAD has handlers of its own, which stay out of the document.
    heads = [route._replace(method="HEAD") for route in routes if route.method == "GET"]
    answered = {format.route for format in app.formats}
    by_path = {route.path: route._replace(method="OPTIONS") for route in routes}
    return [
        # First, or Litestar would make some of its own.
        *(_handler(app, route, [], []) for route in by_path.values()),
        *(
            _handler(app, route, guards, parameters if route.path in answered else [])
            for route in routes + heads
        ),
    ]


def _handler(
    app: ChatApp,
    route: openapi.Route,
    guards: list[Guard],
    parameters: list[inspect.Parameter],
) -> HTTPRouteHandler:
    async def handler(request: Request[Any, Any, Any], **given: Any) -> Response[bytes]:
        answering = app.giving(**given) if given else app
        # Litestar's path parameters begin with their slash.
        path = route.path
        for name, value in request.path_params.items():
            path = path.replace(f"{{{name}}}", str(value).lstrip("/"))
        return _ChatResponse(answering, path.rstrip("/"))

    _take(handler, parameters)
    handler.__name__ = route.method.lower()  # goes into the operation's id
    return HTTPRouteHandler(
        _typed(route.path),
        http_method=[HttpMethod(route.method)],
        status_code=200,
        guards=guards,
        request_max_body_size=None,
        include_in_schema=route.method not in ("HEAD", "OPTIONS"),
        summary=route.operation["summary"],
        description=route.operation.get("description"),
        operation_class=_operation(route.operation),
    )(handler)


def _typed(path: str) -> str:
    """Return a path whose parameters have types, as Litestar wants them."""
    return re.sub(r"\{(\w+)\}", r"{\1:str}", path.replace("{id}", "{id:path}"))


def _take(handler: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Have a handler take these in place of its `**given`, as Litestar reads them off it."""
    request, _ = inspect.signature(handler).parameters.values()
    signature = inspect.Signature([request, *parameters])
    handler.__signature__ = signature  # type: ignore[attr-defined]
    handler.__annotations__.pop("given")
    handler.__annotations__ |= {p.name: p.annotation for p in parameters}


def _operation(known: openapi.Operation) -> type[Operation]:
    """Litestar reads documents off type annotations; of our routes everything is known already."""

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            ours = known.get("parameters", [])
            names = {parameter["name"] for parameter in ours}
            # Of the user's dependencies.
            theirs = [p for p in self.parameters or () if getattr(p, "name", None) not in names]
            self.parameters = [*ours, *theirs] or None
            responses: dict[str, Any] = {**(self.responses or {})}
            if not theirs:
                responses.pop("400", None)  # Litestar has nothing to validate
            self.responses = {**responses, **known["responses"]}
            self.request_body = known.get("requestBody", self.request_body)

    return Documented
