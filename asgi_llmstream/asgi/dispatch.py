"""An application of handlers: which one a request is for, wherever the application is mounted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from ..errors import LLMStreamError, MethodNotAllowed
from ..formats.base import Format
from ..runtime import process_signals
from .admission import Door
from .cors import Cors
from .http import (
    Handler,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    below,
    route_paths,
    send_empty,
    without_body,
)
from .kept.keeping import Keeping
from .refusals import refuse

__all__ = ["Dispatcher"]


class Dispatcher:
    """An ASGI application that finds the handler of a request, and answers what needs none.

    Args:
        door: says whether there may be a request now.
        cors: which pages may ask.
        prefix: the path where it is, for dispatchers that do not say so in `root_path`.
        keeping: how it keeps streams, if it does.

    Raises:
        ValueError: if `prefix` does not begin with a slash.
    """

    def __init__(self, door: Door, cors: Cors, prefix: str, keeping: Keeping | None) -> None:
        if prefix and not prefix.startswith("/"):
            raise ValueError(f"prefix must begin with a slash, as {'/' + prefix!r}")
        self._door = door
        self._cors = cors
        self._prefix = prefix.rstrip("/")
        self._keeping = keeping
        self._lifespans = 0

    def _handlers(self, path: str, scope: Scope) -> Mapping[str, Handler]:
        """Return what answers at a path, by method.

        Raises:
            NotFound: if there is nothing.
        """
        raise NotImplementedError

    def _has(self, path: str) -> bool:
        """Tell whether there is something at a path."""
        raise NotImplementedError

    def _format_for(self, path: str, scope: Scope) -> Format:
        """Return the format whose errors the client understands."""
        raise NotImplementedError

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
                await refuse(scope, send, self._format_for(path, scope), error)

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

    async def _say_what_is_allowed(
        self, allowed: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        # Also while the server drains: a browser shows no answer to who asked in vain.
        allow = (b"allow", ", ".join(allowed).encode("ascii"))
        await send_empty(send, 204, [allow, *self._cors.preflight(scope, allowed)])


# Some clients append it to the address that they are given, and others want it there.
_VERSION = "/v1"


def _with_head(methods: Iterable[str]) -> Iterator[str]:
    for method in methods:
        yield method
        if method == "GET":
            yield "HEAD"
