"""`ChatApp`: one generator speaks every client's protocol, as a mountable ASGI application."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import Any, Self

from msgspec.structs import replace

from ..arguments import (
    check_answer,
    check_on_finish,
    explains,
    formats_of,
    models_of,
    options_of,
)
from ..errors import BadRequest, LLMStreamError, MethodNotAllowed, NotFound
from ..formats import DEFAULT_FORMATS, AnthropicMessages, AnyRequestFormat, Format, OpenAIChat
from ..formats.base import RequestFormat, answers_whole, has_envelope, schema_of
from ..formats.wire import dumps
from ..options import DEFAULT_OPTIONS, StreamOptions
from ..producers import Stream
from ..request import ChatRequest
from ..resume import Cursor
from ..runtime import OnFinish, process_signals
from ..sse import last_event_id
from ..stores import OnBusy, StreamStore
from .admission import Door
from .body import digest, read_request
from .cors import Cors
from .http import (
    Handler,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    below,
    check_media_type,
    query_fields,
    route_paths,
    send_empty,
    send_json,
    without_body,
)
from .kept import Identify, Keeping
from .models import Models, asks_for_anthropic
from .stream import LLMStream
from .streams import Streams

__all__ = ["Answer", "ChatApp"]

Answer = Callable[[ChatRequest], Stream]
"""What a user writes: a request in, chunks or a whole answer out."""


class ChatApp:
    """An ASGI application that answers chat requests with what `answer` yields.

    Below wherever it is mounted, and below `/v1` there too, it has a route for each of its
    formats, as `POST /chat/completions` for `OpenAIChat` and `GET /events?prompt=` for `Events`
    and `POST /events`, which are described at `GET /events/schema`; and `GET /models` and
    `GET /models/{id}` with the models' names, in Anthropic's words where its client asks.

    Args:
        answer: called once per request; an async generator function is the usual shape.
        models: the names to list; requests for others are refused, unless none were given.
            A request that names none gets the first, or is refused where there are several.
        any_model: pass other names on to `answer`, which may refuse them.
        options: intervals, deadlines and limits.
        on_finish: called once per answer with its `StreamResult`, however it ended.
        formats: the protocols to speak, each at its `route`, as formats, their classes or their
            names; all that there are if left out.
        store: keeps the streams: they go on when their clients leave, who may come back to them
            with what they missed, follow them elsewhere, and stop them. `lifespan` has to be the
            application's.
        identify: tells from the scope who asks, so that nobody else has his streams. Without it
            whoever knows a stream's id may read it.
        on_busy: what a new request does to the answer that is still made in its conversation:
            "replace" it, or "refuse" itself with a 409.
        prefix: the path where it is, as "/ai", for dispatchers that pass the whole path on and do
            not say so in `root_path`, as Django's and Quart's.
        cors: the origins whose pages may use it beside those of its own site, as
            "http://localhost:5173"; "*" for every page, without its visitor's cookies.

    Raises:
        TypeError: if an argument is none of its kind, or a function takes other arguments than
            it will be given.
        ValueError: if `models` is empty, two formats have the same route, `prefix` does not
            begin with a slash, or `cors` has what is no origin.
    """

    @explains
    def __init__(
        self,
        answer: Answer,
        *,
        models: Sequence[str] = ("default",),
        any_model: bool = False,
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        formats: Iterable[AnyRequestFormat] = DEFAULT_FORMATS,
        store: StreamStore | None = None,
        identify: Identify | None = None,
        on_busy: OnBusy = "replace",
        prefix: str = "",
        cors: Sequence[str] = (),
    ) -> None:
        check_answer(answer)
        check_on_finish(on_finish)
        options = options_of(options)
        if prefix and not prefix.startswith("/"):
            raise ValueError(f"prefix must begin with a slash, as {'/' + prefix!r}")
        self.formats = formats_of(formats)
        self._by_route = {format.route: format for format in self.formats}
        known = ((f"{format.route}/schema", schema_of(format)) for format in self.formats)
        self._schemas = {path: dumps(schema) for path, schema in known if schema is not None}
        self._prefix = prefix.rstrip("/")
        self.answer = answer
        self._models = Models(models_of(models), any_model, int(options.clock.time()))
        self._door = Door(options, on_finish, options.max_streams)
        self._cors = Cors(cors)
        self._lifespans = 0
        self._keeping: Keeping | None = None
        self._streams: Streams | None = None
        if store is not None:
            self._keeping = Keeping(store, identify, on_busy, f"{self._prefix}/streams")
            self._streams = Streams(self._keeping, self.formats, self._door.options_for)
        elif identify is not None:
            raise TypeError("identify says whose streams a store keeps: give a store, too")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, as ASGI wants it."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send, self.lifespan)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self.respond(self._find(scope), scope, receive, send)

    async def respond(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request for `path`, wherever the scope says that it went.

        For routers that have matched the path already, such as `asgi_llmstream.fastapi`'s.

        Args:
            path: below the mount, as "/chat/completions".
            scope: of the request, as are the others.
        """
        send = self._cors.allowing(scope, send)
        if scope["method"] == "HEAD":
            send = without_body(send)
        with process_signals.watching():
            try:
                await self._handler(path, scope)(scope, receive, send)
            except LLMStreamError as error:
                body = self._format_for(path, scope).error_body(error)
                await send_json(send, error.status, body, error.headers)

    def giving(self, **arguments: Any) -> Self:
        """Return this application for one request, whose `answer` is given these, too."""
        same = copy(self)
        same.answer = partial(self.answer, **arguments)
        return same

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None]:
        """The time in which requests are answered; at its end new ones get a 503.

        Mounted applications are not told when the server starts and stops: give this to the one
        that is, as `FastAPI(lifespan=chat.lifespan)`, `Starlette(lifespan=chat.lifespan)` or
        `Litestar(lifespan=[chat.lifespan])`, or enter it in a lifespan of your own with
        `async with chat.lifespan(app)`. With a store it owns the streams, which outlive their
        requests: at its end they get `shutdown_grace`.

        Args:
            app: the application that it belongs to, which frameworks pass; not used.
        """
        self._lifespans += 1
        self._door.closed = False
        try:
            if self._keeping is None:
                yield
            else:
                async with self._keeping.host.running():
                    yield
        finally:
            # Several servers may run the same object, each in a thread of its own.
            self._lifespans -= 1
            self._door.closed = self._lifespans == 0

    def _find(self, scope: Scope) -> str:
        """Return which of our paths the request went to, or another one below the mount."""
        paths = [below(self._prefix, path) for path in route_paths(scope)]
        ours = (p for path in paths for p in (path, below(_VERSION, path)) if self._has(p))
        return next(ours, below(_VERSION, paths[0]))

    def _has(self, path: str) -> bool:
        if path in self._by_route or path in self._schemas or self._models.handlers(path):
            return True
        return self._streams is not None and bool(self._streams.handlers(path))

    def _format_for(self, path: str, scope: Scope) -> Format:
        """Return the format whose errors the client understands."""
        below = (f for f in self.formats if f"{path}/".startswith(f"{f.route}/"))
        return next(below, _ANTHROPIC if asks_for_anthropic(scope) else _OPENAI)

    def _handler(self, path: str, scope: Scope) -> Handler:
        method = scope["method"]
        if method != "OPTIONS":
            self._door.check()
        handlers = self._handlers(path, scope)
        allowed = (*sorted(_with_head(handlers)), "OPTIONS")
        if method not in allowed:
            raise MethodNotAllowed(allowed)
        if method == "OPTIONS":
            return partial(self._say_what_is_allowed, allowed)
        return handlers["GET" if method == "HEAD" else method]

    def _handlers(self, path: str, scope: Scope) -> dict[str, Handler]:
        """Return what answers at a path, by method."""
        if format := self._by_route.get(path):
            return dict.fromkeys(format.methods, partial(self._converse, format))
        if schema := self._schemas.get(path):
            return {"GET": partial(_send_schema, schema)}
        if handlers := self._models.handlers(path):
            return handlers
        if self._streams is not None and (handlers := self._streams.handlers(path)):
            return handlers
        raise NotFound(_nothing_at(path, self._by_route, scope.get("root_path", "")))

    async def _converse(
        self, format: RequestFormat, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["method"] != "POST":
            self._cors.check_site(scope)
            request = format.decode(query_fields(scope))
            question = digest(scope.get("query_string", b""))
            if has_envelope(format) and self._is_over_for(scope):
                # It would run the model again. 204 makes an EventSource stop reconnecting.
                await send_empty(send, 204)
                return
        else:
            check_media_type(scope)
            options, keeps = self._door.options_for(scope), self._keeping is not None
            asked = await read_request(format, scope, receive, options, digests=keeps)
            if asked is None:
                self._door.check()  # a server that ends may say so of a client that has not left
                return  # the client left while it was still asking
            request, question = asked
        await self._stream(request, format.for_request(request), question, scope, receive, send)

    def _is_over_for(self, scope: Scope) -> bool:
        """Return whether an `EventSource` asks again, and cannot have more."""
        id = last_event_id(scope["headers"])
        return id is not None and (self._keeping is None or Cursor.ours(id) is None)

    async def _stream(
        self,
        request: ChatRequest,
        format: RequestFormat,
        question: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if not (request.stream or answers_whole(format)):
            raise BadRequest("This protocol has no answers in one piece.", code="stream_only")
        model = self._models.chosen(request.model, is_named=format.names_model)
        request = replace(request, model=model, scope=scope)
        stream = LLMStream(
            partial(self.answer, request),
            format=format,
            model=request.model,
            whole=not request.stream,
        )
        await stream.answer(self._door, scope, receive, send, request, self._keeping, question)

    async def _say_what_is_allowed(
        self, allowed: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        # Also while the server drains: a browser shows no answer to who asked in vain.
        allow = (b"allow", ", ".join(allowed).encode("ascii"))
        await send_empty(send, 204, [allow, *self._cors.preflight(scope, allowed)])


def chat_app(answer: Answer | ChatApp, settings: Mapping[str, Any]) -> ChatApp:
    """Return the application of a router or plugin that is given one, or what makes one.

    Args:
        settings: arguments for `ChatApp`.

    Raises:
        TypeError: if there are settings for an application that has its own.
    """
    if not isinstance(answer, ChatApp):
        return ChatApp(answer, **settings)
    default = inspect.signature(ChatApp).parameters
    for name, value in settings.items():
        if value != default[name].default:
            raise TypeError(
                f"this ChatApp has settings of its own: give it {name}=, as ChatApp("
                f"answer, {name}=...)"
            )
    return answer


# Some clients append it to the address that they are given, and others want it there.
_VERSION = "/v1"

# What has no format of its own speaks the one that most clients of such paths do.
_OPENAI = OpenAIChat()
_ANTHROPIC = AnthropicMessages()


def _with_head(methods: Iterable[str]) -> Iterator[str]:
    for method in methods:
        yield method
        if method == "GET":
            yield "HEAD"


def _nothing_at(path: str, formats: Mapping[str, RequestFormat], root_path: str) -> str:
    """Return the words of a 404: what there is, and what in front of it nobody knows."""
    there_are = [
        *(f"{'|'.join(format.methods)} {route}" for route, format in formats.items()),
        "GET /models",
    ]
    said = f"There is nothing at {path}. There are {', '.join(there_are)}."
    if route := next((r for r in (*formats, "/models") if path.endswith(r)), None):
        prefix = path.removesuffix(route)
        mount = f" (its root_path is {root_path!r})" if root_path else ""
        said += (
            f" The {prefix} before {route} is too much: take it off the client's base URL, or "
            f"tell the app{mount} where it is: mount it there, or ChatApp(prefix={prefix!r})."
        )
    return said


async def _send_schema(schema: bytes, scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, 200, schema)
