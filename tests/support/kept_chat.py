"""A chat whose streams a store keeps, as tests talk to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from asgi_llmstream import ChatApp, MemoryStore, StreamOptions
from asgi_llmstream.stores import StoreUnavailable
from asgi_llmstream.testing import Client, Response, check_stream

__all__ = ["AwayStore", "KeptChat", "chatting", "events_of", "numbers_of", "text_of", "who"]


def who(scope: Any) -> str | None:
    """Whoever the request says."""
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


class AwayStore(MemoryStore):
    """A store that can be away.

    Attributes:
        is_away: it is.
    """

    is_away = False

    async def read(self, *args: Any, **named: Any) -> Any:
        if self.is_away:
            raise StoreUnavailable()
        return await super().read(*args, **named)

    async def begin(self, *args: Any, **named: Any) -> Any:
        if self.is_away:
            raise StoreUnavailable()
        return await super().begin(*args, **named)


class KeptChat:
    """A chat that says a word each time that it is let, and ends when it has said three.

    Args:
        store: keeps its streams; a new one if left out.
        says: how many words it may say at first.
        given: settings of the application.

    Attributes:
        store: keeps its streams.
        app: the application.
        ada: a client of its.
        runs: how often the model ran.
    """

    words = ("One ", "two ", "three.")

    def __init__(self, store: Any = None, *, says: int = 0, **given: Any) -> None:
        self.store = MemoryStore() if store is None else store
        self.runs = 0
        self._may = anyio.Semaphore(says)
        settings: dict[str, Any] = {"identify": who, "options": StreamOptions(shutdown_grace=0.01)}
        self.app = ChatApp(self._answer, store=self.store, **(settings | given))
        self.ada = self.client("ada")

    def client(self, user: str | None) -> Client:
        return Client(self.app, headers={} if user is None else {"x-user": user})

    async def _answer(self, request: Any) -> AsyncIterator[str]:
        self.runs += 1
        for word in self.words:
            await self._may.acquire()
            yield word

    def say(self, words: int = 3) -> None:
        """Let it say so many more words."""
        for _ in range(words):
            self._may.release()

    @asynccontextmanager
    async def asked(self, path: str = "/events?prompt=hi") -> AsyncIterator[str]:
        """The id of a stream that was asked for, and is being made."""
        async with self.ada.stream("GET", path) as response:
            self.say(1)
            await response.started()
            yield response.headers["x-run-id"]

    async def ended(self, path: str = "/events?prompt=hi") -> Response:
        """A stream that has ended."""
        self.say()
        return await self.ada.request("GET", path)


@asynccontextmanager
async def chatting(store: Any = None, **settings: Any) -> AsyncIterator[KeptChat]:
    """A chat, in its lifespan."""
    chat = KeptChat(store, **settings)
    with anyio.fail_after(20):
        async with chat.app.lifespan():
            yield chat


def events_of(response: Response) -> list[dict[str, Any]]:
    """The plain events of an answer, each with its cursor; without the sign that what is past is
    over."""
    events = [
        event for event in check_stream(response.body, "events") if event.event != "caught-up"
    ]
    return [json.loads(event.data or "") | {"cursor": event.id or ""} for event in events]


def numbers_of(response: Response) -> list[int]:
    """Those of its plain events."""
    return [int(event["cursor"].rpartition(":")[2]) for event in events_of(response)]


def text_of(response: Response) -> str:
    """That of its plain events."""
    return "".join(e["text"] for e in events_of(response) if e["type"] == "part-delta")
