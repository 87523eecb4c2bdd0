"""A disconnect, a cancellation or a drain at every pass of the event loop, with random hops."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import (
    ChatApp,
    LLMStreamMiddleware,
    StreamOptions,
    StreamResult,
    encode_stream,
)
from asgi_llmstream.testing import ManualClock
from tests.conftest import BACKENDS
from tests.support.fuzzing import TIMES

# Passes of the event loop before it happens: an answer takes no more, mostly.
PASSES = 40
QUESTION = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}'


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """What fails here fails on purpose."""
    logger = logging.getLogger("asgi_llmstream")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


class Race:
    """One request, in which everybody hops through the event loop some times before he acts.

    Args:
        kind: the name of the method that makes the application.
        seed: of the dice.
    """

    def __init__(self, kind: str, seed: str) -> None:
        self.clock = ManualClock()
        self._dice = random.Random(seed)
        self._options = StreamOptions(
            clock=self.clock,
            shutdown_grace=0.5,
            on_disconnect=self._dice.choice(["cancel", "cancel", "complete"]),
            buffer_events=self._dice.choice([1, 256]),
        )
        self._app = getattr(self, f"_{kind}")()
        self._open = 0
        self._results: list[StreamResult] = []
        self._sent: list[Any] = []
        self._left = anyio.Event()
        self._is_asked = self._returned = False
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None

    async def run(self, what: str, passes: int, drain: Callable[[], None]) -> None:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._serve)
                for _ in range(passes):
                    await anyio.lowlevel.checkpoint()
                self._happen(what, drain)
                while not self._returned:
                    await self.clock.advance(1)
            await self.clock.advance(100)
            self._check()

    def _happen(self, what: str, drain: Callable[[], None]) -> None:
        match what:
            case "disconnect":
                self._left.set()
            case "cancel":
                self._scope.cancel()
            case "native cancel" if self._task is not None:
                self._task.cancel()
            case "drain":
                drain()

    def _check(self) -> None:
        assert self._open == 0, "a producer is open"
        begun = any(message["body"] for message in self._sent) and self._sent[0]["status"] == 200
        assert len(self._results) <= 1, self._results
        assert self._results or not begun, "nobody was told"
        self._check_messages()
        for result in self._results:
            self._check_end(result)
        if self._task is not None:
            coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
            files = [it.cr_code.co_filename for it in coroutines]
            assert not any("asgi_llmstream" in file for file in files), coroutines

    def _check_messages(self) -> None:
        kinds = [message["type"] for message in self._sent]
        assert (
            kinds
            == ["http.response.start", *["http.response.body"] * (len(kinds) - 1)][: len(kinds)]
        )
        assert all(message["more_body"] for message in self._sent[1:-1]), "sent after the end"

    def _check_end(self, result: StreamResult) -> None:
        body = b"".join(message["body"] for message in self._sent[1:])
        complete = len(self._sent) > 1 and not self._sent[-1]["more_body"]
        looks_whole = complete and b"[DONE]" in body and b'"error"' not in body
        if looks_whole:
            assert result.outcome == "finished"
        elif result.outcome == "finished":
            assert result.disconnected or self._left.is_set() or self._is_cancelled

    @property
    def _is_cancelled(self) -> bool:
        natively = self._task is not None and self._task.cancelling() > 0
        return natively or self._scope.cancel_called

    # The server.

    async def _serve(self) -> None:
        if isinstance(asyncio_task(), asyncio.Task):
            self._task = asyncio_task()
        path, headers = "/chat/completions", [(b"content-type", b"application/json")]
        asgi = {"version": "3.0", "spec_version": self._dice.choice(["2.3", "2.4"])}
        scope = {"type": "http", "asgi": asgi, "method": "POST", "path": path}
        scope |= {"query_string": b"", "headers": headers}
        try:
            with self._scope:
                await self._app(scope, self._receive, self._send)
        except (OSError, asyncio.CancelledError):
            pass  # of our own making
        finally:
            self._returned = True

    async def _receive(self) -> Any:
        await self._hop()
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": QUESTION, "more_body": False}
        await self._left.wait()
        await self._hop()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        assert not self._returned, "sent after it had returned"
        await self._hop()
        if self._left.is_set() and self._dice.random() < 0.3:
            raise OSError("gone")
        self._sent.append({"body": b"", "more_body": False, **message})
        await self._hop()

    async def _hop(self) -> None:
        for _ in range(self._dice.randrange(4)):
            await anyio.lowlevel.checkpoint()

    async def _told(self, result: StreamResult) -> None:
        await self._hop()
        self._results.append(result)

    # Applications.

    async def _answer(self) -> AsyncGenerator[str]:
        self._open += 1
        try:
            for _ in range(self._dice.randrange(1, 6)):
                await self._hop()
                yield "word "
        finally:
            self._open -= 1
            await self._hop()

    def _chat(self) -> Any:
        return ChatApp(lambda request: self._answer(), options=self._options, on_finish=self._told)

    def _chat_below_the_middleware(self) -> Any:
        return LLMStreamMiddleware(
            ChatApp(lambda request: self._answer()), self._options, on_finish=self._told
        )

    def _encoded(self) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            pieces = encode_stream(self._answer(), options=self._options, on_finish=self._told)
            try:
                async with anyio.create_task_group() as tasks, aclosing(pieces):
                    tasks.start_soon(self._cancel_on_disconnect, receive, tasks.cancel_scope)
                    await send({"type": "http.response.start", "status": 200})
                    async for piece in pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await send({"type": "http.response.body"})
                    tasks.cancel_scope.cancel()
            except* OSError:
                pass  # the client has gone

        return app

    async def _cancel_on_disconnect(self, receive: Any, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    def _foreign(self) -> Any:
        return LLMStreamMiddleware(self._write, self._options, on_finish=self._told)

    async def _write(self, scope: Any, receive: Any, send: Any) -> None:
        self._open += 1
        try:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with aclosing(self._answer()) as words:
                async for word in words:
                    body = f"data: {word}\n\n".encode()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    with anyio.CancelScope() as look:
                        look.cancel()
                        await receive()
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
            await self._hop()
        finally:
            self._open -= 1


def asyncio_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # on trio


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", ["disconnect", "cancel", "native cancel", "drain", "nothing"])
@pytest.mark.parametrize("kind", ["chat", "chat_below_the_middleware", "encoded", "foreign"])
def test_whatever_happens_at_any_pass_there_is_one_end_and_nothing_left(
    kind: str, what: str, backend: tuple[str, dict[str, Any]], drain: Callable[[], None]
) -> None:
    for turn in range(TIMES):
        for passes in range(PASSES):
            seed = f"{turn} {passes}"

            async def main(seed: str = seed, passes: int = passes) -> None:
                await Race(kind, seed).run(what, passes, drain)

            try:
                anyio.run(main, backend=backend[0], backend_options=backend[1])
            except BaseException as error:
                error.add_note(f"turn {turn}, after {passes} passes")
                raise
