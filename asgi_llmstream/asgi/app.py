"""`ChatApp`: one generator speaks every client's protocol, as a mountable ASGI application."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from ..errors import BadRequest, NotFound
from ..formats import DEFAULT_FORMATS, AnthropicMessages, AnyRequestFormat, Format, OpenAIChat
from ..formats.base import RequestFormat, answers_whole, has_envelope, schema_of
from ..formats.wire import dumps
from ..options import DEFAULT_OPTIONS, StreamOptions
from ..producers import Stream
from ..request import ChatRequest
from ..resume import Cursor
from ..runtime import OnFinish
from ..sse import last_event_id
from ..stores import AnyStore, OnBusy
from .admission import Door
from .body import digest, read_request
from .cors import Cors
from .dispatch import Dispatcher
from .http import (
    NO_STORE,
    Handler,
    Receive,
    Scope,
    Send,
    check_media_type,
    query_fields,
    send_empty,
    send_json,
)
from .kept.keeping import Identify, Keeping, keeping_of
from .kept.llama_cpp import Conversations, counted
from .kept.responses import Responses, responses_of, storing
from .kept.streams import Streams
from .models import Models, asks_for_anthropic
from .stream import LLMStream

__all__ = ["Answer", "ChatApp"]

Answer = Callable[[ChatRequest], Stream]
"""What a user writes: a request in, chunks or a whole answer out."""


class ChatApp(Dispatcher):
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
            with what they missed, follow them elsewhere, and stop them; or its address, as
            "redis://localhost:6379/0". `lifespan` has to be the application's.
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
        store: AnyStore | None = None,
        identify: Identify | None = None,
        on_busy: OnBusy = "replace",
        prefix: str = "",
        cors: Sequence[str] = (),
    ) -> None:
        check_answer(answer)
        check_on_finish(on_finish)
        options = options_of(options)
        door = Door(options, on_finish, options.max_streams)
        super().__init__(door, Cors(cors), prefix, keeping_of(store, identify, on_busy))
        self.formats = formats_of(formats)
        if store is not None:
            self.formats = tuple(map(storing, self.formats))
        self._by_route = {format.route: format for format in self.formats}
        known = ((f"{format.route}/schema", schema_of(format)) for format in self.formats)
        self._schemas = {path: dumps(schema) for path, schema in known if schema is not None}
        self.answer = answer
        self._models = Models(models_of(models), any_model, int(options.clock.time()))
        self._responses: Responses | None = None
        self._kept: list[Responses | Conversations | Streams] = []
        if (keeping := self._keeping) is not None:
            self._kept = [Conversations(keeping, door), Streams(keeping, self.formats, door)]
            if (responses := responses_of(keeping, self.formats, door)) is not None:
                self._responses = responses
                self._kept.append(responses)

    @property
    def keeps_streams(self) -> bool:
        """True if there is a store: then it needs its `lifespan`, and has routes of streams."""
        return self._keeping is not None

    def giving(self, **arguments: Any) -> Self:
        """Return this application for one request, whose `answer` is given these, too."""
        same = copy(self)
        same.answer = partial(self.answer, **arguments)
        return same

    def _has(self, path: str) -> bool:
        if path in self._by_route or path in self._schemas or self._models.handlers(path):
            return True
        return bool(self._kept_handlers(path))

    def _kept_handlers(self, path: str) -> dict[str, Handler]:
        """Return what answers for the streams that a store keeps."""
        return next(filter(None, (room.handlers(path) for room in self._kept)), {})

    def _format_for(self, path: str, scope: Scope) -> Format:
        """Return the format whose errors the client understands."""
        below = (f for f in self.formats if f"{path}/".startswith(f"{f.route}/"))
        return next(below, _ANTHROPIC if asks_for_anthropic(scope) else _OPENAI)

    def _handlers(self, path: str, scope: Scope) -> dict[str, Handler]:
        """Return what answers at a path, by method."""
        if format := self._by_route.get(path):
            return dict.fromkeys(format.methods, partial(self._converse, format))
        if schema := self._schemas.get(path):
            return {"GET": partial(_send_schema, schema)}
        if handlers := self._models.handlers(path) or self._kept_handlers(path):
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
                await send_empty(send, 204, [NO_STORE])
                return
        else:
            check_media_type(scope)
            options, keeps = self._door.options_for(scope), self._keeping is not None
            asked = await read_request(format, scope, receive, options, digests=keeps)
            if asked is None:
                self._door.check()  # a server that ends may say so of a client that has not left
                return  # the client left while it was still asking
            request, question = asked
        keeping, format = self._keeping, format.for_request(request)
        if self._responses is not None:
            request, format, keeping = await self._responses.prepared(request, format, scope)
        if keeping is not None:
            format = counted(format, scope)
        await self._stream(request, format, keeping, question, scope, receive, send)

    def _is_over_for(self, scope: Scope) -> bool:
        """Return whether an `EventSource` asks again, and cannot have more."""
        id = last_event_id(scope["headers"])
        return id is not None and (self._keeping is None or Cursor.ours(id) is None)

    async def _stream(
        self,
        request: ChatRequest,
        format: RequestFormat,
        keeping: Keeping | None,
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
        keeping = keeping and keeping.beside(format.route, scope)
        await stream.answer(self._door, scope, receive, send, request, keeping, question)


def chat_app(answer: Answer | ChatApp, given: Mapping[str, Any]) -> ChatApp:
    """Return the application of a router or plugin that is given one, or what makes one.

    Args:
        answer: that one, or its answer.
        given: what the router was called with; those that `ChatApp` has, too, are its settings.

    Raises:
        TypeError: if there are settings for an application that has its own.
    """
    known = inspect.signature(ChatApp).parameters
    settings = {name: given[name] for name in known if name in given and name != "answer"}
    if not isinstance(answer, ChatApp):
        return ChatApp(answer, **settings)
    for name, value in settings.items():
        if value != known[name].default:
            raise TypeError(
                f"this ChatApp has settings of its own: give it {name}=, as ChatApp("
                f"answer, {name}=...)"
            )
    return answer


# What has no format of its own speaks the one that most clients of such paths do.
_OPENAI = OpenAIChat()
_ANTHROPIC = AnthropicMessages()


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
