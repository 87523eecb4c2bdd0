"""Bells: one connection that hears of news, for all that wait for some in an event loop."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio

__all__ = ["Bells"]

logger = logging.getLogger("asgi_llmstream")

# Seconds that a channel is listened to when nobody waits for it; most come back at once.
_LINGER = 2.0
# Seconds without a word after which the connection is tried; and then those until it is given up.
_QUIET = 5.0


class Bell:
    """A channel, and who waits for it.

    Attributes:
        known: the number of the last event, infinite if there is no more to come; None if that
            has to be looked up.
        subscriptions: how often the server has said that it is listened to. What came before the
            last time may have been missed.
        left: when the last one stopped waiting.
    """

    def __init__(self) -> None:
        self.known: float | None = None
        self.subscriptions = 0
        self.is_lost = False
        self.left = math.inf
        self._waiting: set[asyncio.Future[None]] = set()
        self._users = 0

    def __enter__(self) -> Bell:
        self._users += 1
        self.left = math.inf
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users:
            self.left = asyncio.get_running_loop().time()

    def tell(self, last: float) -> None:
        self.known = last if self.known is None else max(self.known, last)
        self.ring()

    def subscribed(self) -> None:
        self.subscriptions += 1
        self.known = None
        self.ring()

    def lose(self) -> None:
        self.is_lost = True
        self.ring()

    def ring(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def rings(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)


class Bells:
    """All bells of an event loop, on one connection that is there while somebody waits.

    Args:
        client: a `redis.asyncio` client.
        patience: seconds after which one who has heard nothing looks: so long may it take if a
            message was lost.
    """

    def __init__(self, client: Any, patience: float) -> None:
        self._client = client
        self._patience = patience
        self._bells: dict[bytes, Bell] = {}
        self._new: set[bytes] = set()
        self._is_new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def wait(self, channel: bytes, after: int, look: Callable[[], Awaitable[float]]) -> bool:
        """Wait for news behind number `after`; return False if none can be heard at the moment.

        Args:
            channel: which tells of them.
            after: the number.
            look: returns what a `Bell` has to know, when that is not known.
        """
        with self._bell(channel) as bell:
            while not bell.is_lost:
                if bell.known is not None and bell.known > after:
                    return True
                if bell.known is None and bell.subscriptions:
                    subscription = bell.subscriptions
                    known = await look()
                    if bell.subscriptions == subscription:
                        bell.tell(known)
                    continue
                with anyio.move_on_after(self._patience) as hush:
                    await bell.rings()
                if hush.cancelled_caught:
                    if not bell.subscriptions:
                        self._subscribe(channel)  # it went into a connection that was lost
                        break
                    bell.known = None
        return self._is_closed

    async def aclose(self) -> None:
        """Stop listening, and wake who waits."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._lose_all()

    def _bell(self, channel: bytes) -> Bell:
        bell = self._bells.get(channel)
        if bell is None:
            bell = self._bells[channel] = Bell()
            self._subscribe(channel)
            if self._task is None:
                self._task = asyncio.create_task(self._listen())
        return bell

    def _subscribe(self, channel: bytes) -> None:
        self._new.add(channel)
        self._is_new.set()

    async def _listen(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                pubsub = self._client.pubsub()
                stack.push_async_callback(_close, pubsub)
                await self._subscribe_new(pubsub)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._hear, pubsub)
                    await self._keep_subscribed(pubsub)
                    tasks.cancel_scope.cancel()
        except Exception as error:
            logger.warning("the Redis server tells no news any more: %r", _first(error))
        finally:
            self._lose_all()

    def _lose_all(self) -> None:
        lost, self._bells = self._bells, {}
        self._new.clear()
        self._task = None
        for bell in lost.values():
            bell.lose()

    async def _keep_subscribed(self, pubsub: Any) -> None:
        """Subscribe to what is new, and no longer to what nobody waits for, until there is none."""
        while self._bells:
            with anyio.move_on_after(_LINGER):
                await self._is_new.wait()
            await self._unsubscribe_old(pubsub)
            await self._subscribe_new(pubsub)

    async def _subscribe_new(self, pubsub: Any) -> None:
        self._is_new.clear()
        if self._new:
            new = [*self._new]
            self._new.clear()
            await pubsub.subscribe(*new)

    async def _unsubscribe_old(self, pubsub: Any) -> None:
        before = asyncio.get_running_loop().time() - _LINGER
        old = [channel for channel, bell in self._bells.items() if bell.left < before]
        for channel in old:
            del self._bells[channel]
            self._new.discard(channel)
        if old:
            await pubsub.unsubscribe(*old)

    async def _hear(self, pubsub: Any) -> None:
        is_asked = False
        while True:
            message = await pubsub.get_message(timeout=_QUIET)
            if message is not None:
                is_asked = False
                self._heard(message)
            elif is_asked:
                raise TimeoutError(f"not a word for {2 * _QUIET} s")
            else:
                is_asked = True
                await pubsub.ping()

    def _heard(self, message: dict[str, Any]) -> None:
        bell = self._bells.get(message["channel"])
        if bell is None:
            return
        if message["type"] == "subscribe":
            bell.subscribed()
        elif message["type"] == "message":
            bell.tell(float(message["data"] or math.inf))


async def _close(pubsub: Any) -> None:
    with suppress(Exception):
        with anyio.move_on_after(1, shield=True):
            await pubsub.aclose()


def _first(error: Exception) -> Exception:
    """Return what a task group's error is about."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
