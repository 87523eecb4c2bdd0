"""Links: the connections of an event loop to the server."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ...arguments import needs
from .bells import Bells
from .lane import Lane

__all__ = ["Link", "Server"]

# Seconds that the server may take to answer, or to be there.
_TIMEOUT = 5.0
_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}


class Link(NamedTuple):
    """An event loop's connections: one for what is asked, one for what is told."""

    client: Any
    lane: Lane
    bells: Bells
    is_ours: bool

    async def aclose(self) -> None:
        await self.bells.aclose()
        await self.lane.aclose()
        if self.is_ours:
            await self.client.aclose()


class Server:
    """The end of the links.

    Args:
        server: an address, or a client.
        patience: see `Bells`.

    Raises:
        ValueError: if the address has another scheme, or the client decodes what it reads.
        TypeError: if it is neither.
        ImportError: if redis-py is not installed.
    """

    def __init__(self, server: Any, patience: float) -> None:
        self._is_ours = isinstance(server, str)
        self._server = _address(server) if self._is_ours else server
        self._patience = patience
        self._links: WeakKeyDictionary[Any, Link] = WeakKeyDictionary()
        if self._is_ours:
            self._open()  # nothing is connected, but a bad address is told here
        else:
            _check_client(server)

    def link(self) -> Link:
        """Return the running event loop's."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("RedisStore runs on asyncio only, as redis-py does") from None
        link = self._links.get(loop)
        if link is None:
            client = self._open() if self._is_ours else self._server
            bells = Bells(client, self._patience)
            link = self._links[loop] = Link(client, Lane(client), bells, self._is_ours)
        return link

    async def aclose(self) -> None:
        """Close the running event loop's, if it has one."""
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link is not None:
            await link.aclose()

    def _open(self) -> Any:
        with needs("redis", "redis"):
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import ConnectionError

        # Once more at once, since a connection may have been closed while nobody used it. What
        # takes longer is for those who ask.
        retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
        return Redis.from_url(
            self._server,
            retry=retry,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            health_check_interval=0,
        )


def _address(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme not in _SCHEMES or not rest:
        raise ValueError(
            f"{text!r} is no address of a Redis server: there are "
            f"{', '.join(f'{scheme}://' for scheme in _SCHEMES)}, as redis://localhost:6379/0"
        )
    return f"{_SCHEMES[scheme]}://{rest}"


def _check_client(client: Any) -> None:
    with needs("redis", "redis"):
        from redis.asyncio import Redis, RedisCluster

    if not isinstance(client, Redis | RedisCluster):
        raise TypeError(
            "RedisStore takes an address, as 'redis://localhost:6379/0', or a client of "
            f"redis.asyncio, not {type(client).__module__}.{type(client).__qualname__}"
        )
    if client.get_encoder().decode_responses:
        raise ValueError("events are bytes: give a client without decode_responses=True")
