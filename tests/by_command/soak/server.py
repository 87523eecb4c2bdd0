"""The soak's server: producers of every shape that follow scripts, ours and foreign ones."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

import anyio
from sse_starlette import EventSourceResponse

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    LLMStreamError,
    LLMStreamMiddleware,
    Reasoning,
    Source,
    StreamOptions,
    StreamResult,
    ToolCall,
    ToolCallDelta,
    Usage,
    from_callbacks,
)

from .books import Books, Record

Script = dict[str, Any]
"""What a producer is to do: its shape, its ending, the seed of its dice, whether it floods, and
whether its chunks are large."""

# How often each, of our own producers, of foreign ones, and of the endings of both.
SHAPES = {"async": 3, "sync": 3, "callbacks": 2, "threads": 1, "stubborn": 1}
FOREIGN = {"sse_starlette": 2, "hand_written": 2, "looks": 1, "listens": 1}
ENDINGS = {"returns": 6, "raises early": 1, "raises": 2, "raises openly": 1}
# Those that go on: only readers that leave or stall come back from them.
ENDLESS = {"never": 2, "silent": 1}

# A reader that stalls gets this much before `send` blocks, and as much again.
FLOOD = "x" * 65536
LARGE = "~" * 1_000_000

OPTIONS = StreamOptions(
    heartbeat_interval=0.04, send_timeout=2, close_timeout=5, shutdown_grace=0.5
)
# A foreign application that listens to nothing goes on for `close_timeout`.
FOREIGN_OPTIONS = StreamOptions(
    heartbeat_interval=0.04, send_timeout=2, close_timeout=0.5, shutdown_grace=0.5
)

current: ContextVar[Record] = ContextVar("current")
"""The books' record of the request that runs."""


class Server:
    """The application, as ASGI wants it.

    Attributes:
        loop: its event loop, when it has been called.
    """

    def __init__(self, books: Books) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._books = books
        self._chat = ChatApp(self._answer, options=OPTIONS, on_finish=self._told)
        self._foreign = LLMStreamMiddleware(self._write, FOREIGN_OPTIONS, on_finish=self._told)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.loop = asyncio.get_running_loop()
        if not (number := _number(scope)):  # the server's own, or nonsense
            await self._chat(scope, receive, send)
            return
        record = self._books.record(number)
        record.reached = True
        record.foreign = scope["path"] == "/foreign"
        current.set(record)
        try:
            await (self._foreign if record.foreign else self._chat)(scope, receive, send)
        finally:
            record.over.set_result(None)

    async def _told(self, result: StreamResult) -> None:
        await asyncio.sleep(0)
        self._books.record(_number(result.scope)).told.append(result.outcome)

    # Our own streams.

    def _answer(self, request: ChatRequest) -> Any:
        current.get().begun += 1
        script = json.loads(request.prompt)
        return getattr(self, f"_{script['shape']}")(script)

    async def _async(self, script: Script) -> AsyncIterator[Any]:
        with self._books.counted("async"):
            for pause, chunk in steps(script):
                await asyncio.sleep(pause)
                yield chunk

    def _sync(self, script: Script) -> Iterator[Any]:
        with self._books.counted("sync"):
            for pause, chunk in steps(script):
                time.sleep(pause)
                yield chunk

    async def _stubborn(self, script: Script) -> AsyncIterator[Any]:
        """Cleans up slowly, whatever is done to it meanwhile."""
        with self._books.counted("stubborn"):
            try:
                for pause, chunk in steps(script):
                    await asyncio.sleep(pause)
                    yield chunk
            finally:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.05)

    def _callbacks(self, script: Script) -> Any:
        async def produce(emit: Any) -> None:
            with self._books.counted("callbacks"):
                for pause, chunk in steps(script):
                    await asyncio.sleep(pause)
                    await emit(chunk)

        return from_callbacks(produce, buffer=4)

    def _threads(self, script: Script) -> Any:
        async def produce(emit: Any) -> None:
            over = asyncio.get_running_loop().create_future()

            def main() -> None:
                error = None
                with self._books.counted("threads"):
                    try:
                        for pause, chunk in steps(script):
                            time.sleep(pause)
                            emit.from_thread(chunk)
                    except Exception as caught:
                        error = caught
                with suppress(RuntimeError):
                    over.get_loop().call_soon_threadsafe(tell, error)

            def tell(error: Exception | None) -> None:
                if over.done():
                    return
                if error is None:
                    over.set_result(None)
                else:
                    over.set_exception(error)

            threading.Thread(target=main, daemon=True).start()
            await over

        return from_callbacks(produce, buffer=4)

    # Foreign ones, below the middleware.

    async def _write(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            # What begins is told of, whoever has left meanwhile.
            current.get().begun += message["type"] == "http.response.start"
            await send(message)

        script = json.loads(unquote(scope["query_string"]))
        await getattr(self, f"_{script['shape']}")(script, scope, receive, counting)

    async def _sse_starlette(self, script: Script, scope: Any, receive: Any, send: Any) -> None:
        async def events() -> AsyncIterator[dict[str, str]]:
            with self._books.counted("sse_starlette"):
                for pause, chunk in steps(script):
                    await asyncio.sleep(pause)
                    yield {"data": word(chunk)}

        await EventSourceResponse(events(), ping=0.5)(scope, receive, send)

    async def _hand_written(self, script: Script, scope: Any, receive: Any, send: Any) -> None:
        """Listens to nothing, and never asks for its request's body."""

        async def has_left() -> bool:
            return False

        await self._by_hand(script, send, has_left)

    async def _looks(self, script: Script, scope: Any, receive: Any, send: Any) -> None:
        """Asks whether its client has left, and cancels that at once, or soon."""
        patience = script["seed"] / 500 if script["seed"] < 0.5 else 0

        async def has_left() -> bool:
            with anyio.move_on_after(patience):
                await _disconnect(receive)
                return True
            return False

        await self._by_hand(script, send, has_left)

    async def _listens(self, script: Script, scope: Any, receive: Any, send: Any) -> None:
        """Listens in a task of its own, which it cancels when it has said everything."""
        listening = asyncio.create_task(_disconnect(receive))

        async def has_left() -> bool:
            return listening.done()

        try:
            await self._by_hand(script, send, has_left)
        finally:
            listening.cancel()

    async def _by_hand(
        self, script: Script, send: Any, has_left: Callable[[], Awaitable[bool]]
    ) -> None:
        """Cuts its events in two, and breaks off in the middle of one."""

        async def write(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        begun = False
        with self._books.counted(script["shape"]):
            try:
                for pause, chunk in steps(script):
                    if not begun:
                        begun = True
                        await send(_START)
                    event = f"data: {word(chunk)}\n\n".encode()
                    await write(event[:5])
                    await asyncio.sleep(pause)
                    await write(event[5:])
                    if await has_left():
                        return
            except Exception:
                if begun:
                    await write(b"data: hal")
                raise
        await send({"type": "http.response.body"})


async def _disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}


def _number(scope: Any) -> int:
    return int(dict(scope.get("headers", ())).get(b"x-number", 0))


def word(chunk: object) -> str:
    """A foreign stream's text for a chunk of ours."""
    return repr(chunk)


def steps(script: Script) -> Iterator[tuple[float, Any]]:
    """Pauses and chunks, and the way that the script ends; the same for every shape."""
    dice = random.Random(script["seed"])
    if script["ending"] == "raises early":
        raise RuntimeError("secret")
    yield 0, "Hel"  # a script that breaks later has begun to answer
    if script["ending"] == "silent":
        yield 3600, "lo"
    endless = script["ending"] == "never"
    for index in itertools.count() if endless else range(dice.randrange(40)):
        pause = dice.choice([0, 0, 0.001, 0.02, 0.3 if endless else 0.05])
        if script["flood"]:
            yield 0, FLOOD
            continue
        if script["large"]:
            yield 0, LARGE
            if index == 1:
                break
            continue
        kinds = ["lo \u2028 wörld 🎉", "\ud83d", Reasoning("hm"), Source("https://a"), Usage(1, 2)]
        call = ToolCall(f"c{index}", "f", {"x": index})
        kinds += ["x" * 3000, call, ToolCallDelta(index, f"d{index}", "f", '{"x":')]
        yield pause, dice.choice(kinds)
    if script["ending"] == "raises":
        raise RuntimeError("secret")
    if script["ending"] == "raises openly":
        raise LLMStreamError("The cat sat on the GPU.", code="cat")
