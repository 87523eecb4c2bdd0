"""`python -m benchmarks.followers`: what it costs to follow a run that a store keeps.

CPU of each follower and token, beside a plain stream's; and memory, where one of ten stalls.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator
from statistics import median
from typing import Any

from asgi_llmstream import ChatApp, ChatRequest, LLMStream, MemoryStore, StreamOptions
from asgi_llmstream.formats import Events

from .contestants import token_by_token

_FOLLOWERS = 1000
_TOKENS = 200
_ROUNDS = 5
_OPTIONS = StreamOptions(max_readers=2 * _FOLLOWERS)
_SCOPE = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "root_path": ""}


class Client:
    """Sends one request, and keeps of the answer only how long it was.

    Attributes:
        size: the bytes of the body so far.
        head: the headers, as soon as they have come.
    """

    def __init__(self, app: Any, method: str, path: str, stalls: bool = False) -> None:
        self.size = 0
        self.head: asyncio.Future[dict[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._requests = [{"type": "http.request", "body": b"", "more_body": False}]
        self._stalls = stalls
        path, _, query = path.partition("?")
        own = {"method": method, "path": path, "query_string": query.encode(), "headers": []}
        self.task = asyncio.create_task(app({**_SCOPE, **own}, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._requests:
            return self._requests.pop()
        await asyncio.get_running_loop().create_future()  # the client stays
        raise AssertionError

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
            self.head.set_result(dict(message["headers"]))
            return
        self.size += len(message["body"])
        if self._stalls:
            await asyncio.get_running_loop().create_future()


async def plain() -> float:
    """Return the CPU seconds of a token of a stream that nobody keeps."""
    gc.collect()
    began = time.process_time()
    await Client(LLMStream(token_by_token(10 * _TOKENS), format=Events()), "GET", "/").task
    return (time.process_time() - began) / (10 * _TOKENS)


async def followed(followers: int, tokens: int = _TOKENS, stalled: int = 0) -> float:
    """Return the CPU seconds of a run that so many follow from its beginning on."""
    begins = asyncio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        await begins.wait()
        async for token in token_by_token(tokens):
            yield token

    chat = ChatApp(answer, store=MemoryStore(max_events=1000), options=_OPTIONS)
    async with chat.lifespan():
        asker = Client(chat, "GET", "/events?prompt=hi")
        run = (await asker.head)[b"x-run-id"].decode()
        path = f"/streams/{run}?format=events"
        clients = [Client(chat, "GET", path, n < stalled) for n in range(followers)]
        if followers:
            await asyncio.wait([client.head for client in clients])
        gc.collect()
        began = time.process_time()
        begins.set()
        await asyncio.gather(asker.task, *(client.task for client in clients[stalled:]))
        seconds = time.process_time() - began
        for client in clients[stalled:]:
            assert client.size > asker.size / 2, "one has missed something"
        for client in clients[:stalled]:
            client.task.cancel()
        await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    return seconds


def memory(tokens: int, stalled: int) -> float:
    """Return the most MiB at a time, with ten followers of which so many stall."""
    tracemalloc.start()
    try:
        asyncio.run(followed(10, tokens, stalled))
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def main() -> None:
    alone = [asyncio.run(plain()) for _ in range(_ROUNDS)]
    own = [asyncio.run(followed(0)) for _ in range(_ROUNDS)]
    each = [
        (asyncio.run(followed(_FOLLOWERS)) - median(own)) / (_FOLLOWERS * _TOKENS)
        for _ in range(_ROUNDS)
    ]
    plainly = median(alone) * 1e6
    print(f"a plain stream                {plainly:7.2f} us of CPU a token")
    print(f"a kept run that its asker has {median(own) / _TOKENS * 1e6:7.2f} us")
    print(
        f"each of {_FOLLOWERS} followers        {median(each) * 1e6:7.2f} us, "
        f"{median(each) * 1e6 / plainly:.2f} of the plain stream's"
    )
    print("\nthe most memory that ten followers take, the run and the store included")
    for tokens in (1_000, 8_000):
        print(
            f"{tokens:5} tokens: {memory(tokens, 0):6.2f} MiB where all read, "
            f"{memory(tokens, 1):6.2f} MiB where one stalls"
        )


if __name__ == "__main__":
    main()
