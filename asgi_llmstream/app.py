"""`ChatApp`: one generator as an OpenAI-compatible API, a mountable ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from msgspec.structs import replace

from .errors import (
    BadRequest,
    LLMStreamError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from .formats.base import Format, dumps
from .formats.events import Events
from .formats.openai_chat import OpenAIChat
from .iterables import Stream
from .options import StreamOptions
from .request import ChatMessage, ChatRequest
from .runtime.delivery import Receive, Scope, Send
from .runtime.generation import OnFinish
from .sse import last_event_id
from .stream import DEFAULT_OPTIONS, LLMStream

__all__ = ["Answer", "ChatApp"]

Answer = Callable[[ChatRequest], Stream]
"""What a user writes: a request in, chunks out."""

_Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

# Seconds after which a client that was turned away for `max_streams` may try again.
_BUSY_RETRY_AFTER = 1


class ChatApp:
    """An ASGI application that answers chat requests with what `answer` yields.

    Routes, below wherever it is mounted:

    - `POST /chat/completions`: OpenAI chat completions, streaming and not.
    - `GET /events?prompt=`: plain typed events for a browser's `EventSource`.
    - `GET /models` and `GET /models/{id}`: the models' names.

    Args:
        answer: called once per request; an async generator function is the usual shape.
        models: the names to list. The first is the one of requests that name none; other names
            are passed on to `answer`, which may refuse them.
        options: intervals, deadlines and limits.
        on_finish: called once per answer with its `StreamResult`, however it ended.
        chat: how `/chat/completions` is written.
        events: how `/events` is.

    Raises:
        ValueError: if `models` is empty.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        models: Sequence[str] = ("default",),
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        chat: OpenAIChat = OpenAIChat(),  # noqa: B008 (frozen)
        events: Events = Events(),  # noqa: B008 (frozen)
    ) -> None:
        if not models:
            raise ValueError("models must name at least one model")
        self._answer = answer
        self._models = list(models)
        self._options = options
        self._on_finish = on_finish
        self._chat = chat
        self._events = events
        self._created = int(options.clock.time())
        self._active = 0
        self._routes: dict[str, tuple[str, _Handler]] = {
            "/chat/completions": ("POST", self._chat_completions),
            "/events": ("GET", self._event_source),
            "/models": ("GET", self._list_models),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, as ASGI wants it."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            send = _without_body(send)
        try:
            method, handler = self._route(route_path(scope))
            if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
                allow = (method, "HEAD") if method == "GET" else (method,)
                raise MethodNotAllowed(allow)
            await handler(scope, receive, send)
        except LLMStreamError as error:
            await _send_json(send, error.status, self._chat.error_body(error), error.headers)

    def _route(self, path: str) -> tuple[str, _Handler]:
        if route := self._routes.get(path):
            return route
        if path.startswith("/models/"):
            return "GET", partial(self._one_model, path.removeprefix("/models/"))
        raise NotFound(f"There is nothing at {path}.")

    async def _chat_completions(self, scope: Scope, receive: Receive, send: Send) -> None:
        _check_media_type(scope)
        body = await _read_body(scope, receive, self._options.max_body_size)
        if body is None:
            return  # the client left while it was still asking
        request = self._chat.decode(body)
        format = self._chat.for_request(request)
        await self._stream(request, format, scope, receive, send)

    async def _event_source(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        prompt = query.get("prompt", [""])[0]
        if not prompt:
            raise BadRequest("The query needs a prompt.", param="prompt", code="missing_field")
        if last_event_id(scope["headers"]) is not None:
            # It would run the model again. 204 makes an EventSource stop reconnecting.
            await _send_empty(send, 204)
            return
        request = ChatRequest(
            messages=[ChatMessage(role="user", content=prompt)],
            model=query.get("model", [""])[0],
            stream=True,
        )
        await self._stream(request, self._events, scope, receive, send)

    async def _stream(
        self, request: ChatRequest, format: Format, scope: Scope, receive: Receive, send: Send
    ) -> None:
        request = replace(request, model=request.model or self._models[0], scope=scope)
        stream = LLMStream(
            lambda: self._answer(request),
            format=format,
            options=self._options,
            on_finish=self._on_finish,
            model=request.model,
            whole=not request.stream,
        )
        if scope["method"] == "HEAD":
            await _send_empty(send, 200, stream.headers)
            return
        limit = self._options.max_streams
        if limit is not None and self._active >= limit:
            raise Overloaded(retry_after=_BUSY_RETRY_AFTER)
        self._active += 1
        try:
            await stream(scope, receive, send)
        finally:
            self._active -= 1

    async def _list_models(self, scope: Scope, receive: Receive, send: Send) -> None:
        models = [self._model(name) for name in self._models]
        await _send_json(send, 200, dumps({"object": "list", "data": models}))

    async def _one_model(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        if name not in self._models:
            raise NotFound(f"There is no model {name!r}.", param="model", code="model_not_found")
        await _send_json(send, 200, dumps(self._model(name)))

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "llmstream"}


def route_path(scope: Scope) -> str:
    """The path below the mount, without a trailing slash.

    Starlette's mounts keep the whole path and set `root_path`; Litestar's strip the prefix. Where
    `root_path` is no prefix of the path (a proxy stripped some of it in front), its longest
    suffix of whole segments that is one has to go.
    """
    path: str = scope["path"]
    segments = [part for part in scope.get("root_path", "").split("/") if part]
    for first in range(len(segments)):
        prefix = "".join(f"/{segment}" for segment in segments[first:])
        if path == prefix or path.startswith(f"{prefix}/"):
            path = path[len(prefix) :]
            break
    return path.rstrip("/") or "/"


def _check_media_type(scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type":
            essence = value.split(b";")[0].strip().lower()
            if essence != b"application/json" and not essence.endswith(b"+json"):
                raise UnsupportedMediaType()


async def _read_body(scope: Scope, receive: Receive, limit: int | None) -> bytes | None:
    """The request's body; None if the client left before it was whole."""
    for name, value in scope["headers"]:
        if name == b"content-length" and limit is not None:
            if value.isdigit() and int(value[:20]) > limit:
                raise PayloadTooLarge()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if limit is not None and len(body) > limit:
            raise PayloadTooLarge()
        if not message.get("more_body", False):
            return bytes(body)


async def _send_json(
    send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    own = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _send_empty(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": b""})


def _without_body(send: Send) -> Send:
    async def send_head(message: MutableMapping[str, Any]) -> None:
        await send({**message, "body": b""} if "body" in message else message)

    return send_head


async def _lifespan(receive: Receive, send: Send) -> None:
    """There is nothing to set up: say so, so that bare servers start and stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
