"""The little HTTP that ASGI leaves to its applications: paths, headers, short responses."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from urllib.parse import parse_qs

from ..errors import UnsupportedMediaType

__all__ = [
    "NO_SNIFFING",
    "NO_STORE",
    "ASGIMessage",
    "App",
    "Handler",
    "Headers",
    "RawHeaders",
    "Receive",
    "Scope",
    "Send",
    "answer_lifespan",
    "below",
    "check_media_type",
    "header_of",
    "json_headers",
    "merge_headers",
    "outer_path",
    "over_websocket",
    "query_fields",
    "receive_again",
    "route_paths",
    "send_empty",
    "send_json",
    "send_text",
    "without_body",
]

Scope = MutableMapping[str, Any]
ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = App
"""Answers a request, or raises an `LLMStreamError`."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
"""As users write them."""

RawHeaders = Iterable[tuple[bytes, bytes]]
"""As ASGI does."""

NO_STORE = (b"cache-control", b"no-store")
"""Of every answer about a run, and of refusals: caches may keep also what is gone."""

# Of every answer of ours: a browser takes it for what it says, and for nothing else.
NO_SNIFFING = (b"x-content-type-options", b"nosniff")


def route_paths(scope: Scope) -> tuple[str, str]:
    """Return the path below the mount, and the whole one, which it is if a proxy stripped the
    mount in front; both without empty segments, as one of "/v1//models", and a slash at the end.

    Starlette's mounts keep the whole path and set `root_path`; Litestar's strip the prefix. Where
    `root_path` is no prefix of the path (a proxy stripped some of it in front), its longest
    suffix of whole segments that is one has to go. Servers put it in front of the path as it is,
    so that one with a slash at its end makes two of them.
    """
    path, root = _segments(scope["path"]), _segments(scope.get("root_path", ""))
    suffixes = (root[first:] for first in range(len(root)))
    mount = next((suffix for suffix in suffixes if path[: len(suffix)] == suffix), [])
    return f"/{'/'.join(path[len(mount) :])}", f"/{'/'.join(path)}"


def outer_path(scope: Scope, ours: str) -> str:
    """Return the path by which a client reaches what is at "/" of ours, without a slash at its end.

    Args:
        scope: of a request.
        ours: the path that it went to, below the application.
    """
    root, path = _segments(scope.get("root_path", "")), _segments(route_paths(scope)[0])
    outer = [*root, *path[: len(path) - len(_segments(ours))]]
    return "".join(f"/{segment}" for segment in outer)


def header_of(scope: Scope, name: bytes) -> str:
    """Return a header of the request, the first of its name; "" if there is none."""
    found = (value for key, value in scope.get("headers", ()) if key == name)
    return next(found, b"").decode("latin-1")


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def below(prefix: str, path: str) -> str:
    """Return the path below `prefix`, which has no trailing slash; the path itself if it is not."""
    if path == prefix or path.startswith(f"{prefix}/"):
        return path[len(prefix) :].rstrip("/") or "/"
    return path


def query_fields(scope: Scope) -> dict[str, str]:
    """The query by name; of several of a name the first, and none that are empty."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return {name: values[0] for name, values in query.items()}


def check_media_type(scope: Scope) -> None:
    """Refuse a body that is not said to be JSON.

    Also one of which nothing is said: a browser sends that to other sites without asking them
    first (Fetch standard, CORS-safelisted request-header), cookies included. One that is said to
    be text passes where the browser says that a page of ours sent it (Fetch Metadata, section
    2.4): the AI SDK's `WorkflowChatTransport` says nothing else of its JSON.

    Raises:
        UnsupportedMediaType: if it is not.
    """
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    essence = types[0].split(b";")[0].strip().lower() if types else b""
    if essence == b"text/plain" and header_of(scope, b"sec-fetch-site") == "same-origin":
        return
    if essence != b"application/json" and not essence.endswith(b"+json"):
        raise UnsupportedMediaType()


def receive_again(body: AsyncGenerator[bytes, None], receive: Receive) -> Receive:
    """A `receive` for an application below a framework that may have read the body already.

    Args:
        body: the framework's `request.stream()`, which knows what it has read. To be closed by
            the caller.
        receive: the server's, for what comes after the body.
    """
    whole = False

    async def receive_body() -> ASGIMessage:
        nonlocal whole
        if whole:
            return await receive()
        try:
            return {"type": "http.request", "body": await anext(body), "more_body": True}
        except StopAsyncIteration:
            whole = True
            return {"type": "http.request", "body": b"", "more_body": False}

    return receive_body


def over_websocket(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return a `receive` and a `send` with which a response refuses a WebSocket (ASGI extension
    "websocket.http.response")."""

    async def receive_http() -> ASGIMessage:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send_denial(message: ASGIMessage) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    return receive_http, send_denial


async def answer_lifespan(
    receive: Receive,
    send: Send,
    lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> None:
    """Have bare servers start and stop.

    Args:
        receive: the server's, as is the other.
        lifespan: entered from the start to the end.
    """
    await receive()
    async with lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def send_empty(send: Send, status: int, headers: RawHeaders = ()) -> None:
    """A response without a body."""
    await send({"type": "http.response.start", "status": status, "headers": _ours(headers)})
    await send({"type": "http.response.body", "body": b""})


def without_body(send: Send) -> Send:
    """A `send` for answering HEAD: the headers, and no body."""

    async def send_head(message: ASGIMessage) -> None:
        await send({**message, "body": b""} if "body" in message else message)

    return send_head


async def send_json(send: Send, status: int, body: bytes, headers: RawHeaders = ()) -> None:
    """A response that is no stream."""
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": json_headers(body, headers)})
    await send({"type": "http.response.body", "body": body})


async def send_text(send: Send, status: int, text: str, headers: RawHeaders = ()) -> None:
    """A response that is a sentence, for clients of whom nothing is known."""
    body = text.encode()
    length = (b"content-length", str(len(body)).encode("ascii"))
    content_type = (b"content-type", b"text/plain; charset=utf-8")
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": _ours([content_type, length, *headers])})
    await send({"type": "http.response.body", "body": body})


def json_headers(body: bytes, headers: RawHeaders = ()) -> list[tuple[bytes, bytes]]:
    """Of a response whose whole body is JSON, and `headers` behind them."""
    length = (b"content-length", str(len(body)).encode("ascii"))
    return _ours([(b"content-type", b"application/json"), length, *headers])


def _ours(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that is ours, and no producer's."""
    given = [*headers]
    return given if NO_SNIFFING in given else [*given, NO_SNIFFING]


def merge_headers(own: Iterable[tuple[bytes, bytes]], users: Headers) -> list[tuple[bytes, bytes]]:
    """Our headers and the user's, who wins.

    Raises:
        ValueError: if a name is no token or a value has a character that would end the header
            (RFC 9110 section 5.5).
    """
    pairs = users.items() if isinstance(users, Mapping) else users
    given = [(_header_name(name), _header_value(name, value)) for name, value in pairs]
    names = {name for name, _ in given}
    return [*((name, value) for name, value in own if name not in names), *given]


def _header_name(name: str) -> bytes:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError(f"not a header name: {name!r}")
    return name.lower().encode("ascii")


def _header_value(name: str, value: str) -> bytes:
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the header {name} cannot hold {value!r}: latin-1 only") from None
    if any(c in value for c in "\r\n\0"):
        raise ValueError(f"the header {name} must not contain CR, LF or NUL: {value!r}")
    return encoded
