"""The demo as one ASGI application: the page at `/`, a `ChatApp` below `/v1`."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files

from ..asgi.app import Answer, ChatApp
from ..asgi.http import Receive, Scope, Send, route_paths
from ..options import StreamOptions
from ..stores import MemoryStore
from .guard import refusal

__all__ = ["Demo"]

# Heartbeats often enough to be watched, and an end that who pressed Ctrl-C does not wait for.
OPTIONS = StreamOptions(heartbeat_interval=1, shutdown_grace=0.1, close_timeout=0.5)

_PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The page is one file: whatever a model says, nothing else is ever loaded or called.
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        b"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'",
    ),
]


class Demo:
    """The page and the API that it talks to.

    Args:
        answer: who answers.
        model: its name, as `/v1/models` lists it.
        options: of the streams.
        names: the hosts' names that it answers to, besides localhost and addresses.

    Attributes:
        lifespan: for whoever calls it without a server that does: the answers live in it.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        model: str = "demo",
        options: StreamOptions = OPTIONS,
        names: Collection[str] = (),
    ) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._chat = ChatApp(
            answer, models=[model], any_model=True, options=options, store=MemoryStore()
        )
        self.lifespan = self._chat.lifespan
        self._page = files(__package__).joinpath("page.html").read_bytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, as ASGI wants it."""
        if scope["type"] != "http":
            await self._chat(scope, receive, send)
            return
        path, _ = route_paths(scope)
        if why := refusal(scope, self._names, is_page=path == "/"):
            await _send_text(send, 403, why.encode())
        elif path == "/":
            await self._send_page(scope["method"], send)
        elif path == "/v1" or path.startswith("/v1/"):
            below = {**scope, "root_path": scope.get("root_path", "").rstrip("/") + "/v1"}
            await self._chat(below, receive, send)
        else:
            await _send_text(send, 404, b"There is nothing here. The page is at /.\n")

    async def _send_page(self, method: str, send: Send) -> None:
        if method not in ("GET", "HEAD"):
            await _send_text(send, 405, b"GET it.\n", [(b"allow", b"GET, HEAD")])
            return
        length = (b"content-length", str(len(self._page)).encode("ascii"))
        body = b"" if method == "HEAD" else self._page
        await _send(send, 200, [*_PAGE_HEADERS, length], body)


Headers = list[tuple[bytes, bytes]]


async def _send_text(send: Send, status: int, text: bytes, headers: Headers | None = None) -> None:
    own = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode("ascii")),
    ]
    await _send(send, status, [*own, *(headers or ())], text)


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
