"""The lane: one connection for all that is asked; what is asked at the same time goes together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ..base import StoreUnavailable
from .lua import Script

__all__ = ["Argument", "Lane"]

logger = logging.getLogger("asgi_llmstream")

Argument = str | bytes | int


class _Call(NamedTuple):
    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[Argument]
    answer: asyncio.Future[Any]

    def command(self, *, by_name: bool) -> list[Argument]:
        first = ("EVALSHA", self.script.sha) if by_name else ("EVAL", self.script.source)
        return [*first, len(self.keys), *self.keys, *self.arguments]


class Lane:
    """Runs scripts on the server, those that wait for one round trip in the next one together.

    A call that is cancelled may have happened. All may be repeated, by the client library, too.

    Args:
        client: a `redis.asyncio` client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def call(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]
    ) -> Any:
        """Return the script's answer.

        Raises:
            StoreUnavailable: if there was none, or an error; the log says which.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(script, keys, arguments, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        found = await answer
        if isinstance(found, Exception):
            raise StoreUnavailable() from found
        return found

    async def aclose(self) -> None:
        """Wait until all that was asked is answered."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting, []
                await self._send(calls)
        finally:
            self._sending = None

    async def _send(self, calls: list[_Call]) -> None:
        from redis.exceptions import NoScriptError, ReadOnlyError

        answers = await self._ask([call.command(by_name=True) for call in calls])
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self._ask([calls[at].command(by_name=False) for at in unknown])
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        for reason in {repr(answer) for answer in answers if isinstance(answer, Exception)}:
            logger.warning("the Redis server gave no answer: %s", reason)
        for call, answer in zip(calls, answers, strict=True):
            if not call.answer.done():
                call.answer.set_result(answer)
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            await self._look_for_the_primary()

    async def _ask(self, commands: list[list[Argument]]) -> list[Any]:
        """Return an answer for each, which is an exception where there was none."""
        try:
            if len(commands) == 1:
                return [await self._client.execute_command(*commands[0])]
            if not hasattr(self._client, "connection_pool"):
                # A cluster's, which has one for each node, and sends a command where it belongs.
                asked = (self._client.execute_command(*command) for command in commands)
                return await asyncio.gather(*asked, return_exceptions=True)
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers
        except Exception as error:
            return [error] * len(commands)

    async def _look_for_the_primary(self) -> None:
        """Have the next call connect anew: this server became a replica."""
        pool: Any = getattr(self._client, "connection_pool", None)
        with suppress(Exception):  # a cluster's client has none
            await pool.disconnect(inuse_connections=False)
