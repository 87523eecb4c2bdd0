"""What is compared: four ways to stream the same tokens as OpenAI chat chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import cycle, islice
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.responses import StreamingResponse

from asgi_llmstream import LLMStream

App = Callable[[Any, Any, Any], Any]
Tokens = AsyncIterator[str]

WORDS = ["The", " quick", " brown", " fox", " jum", "ps", " over", " “", "lazy", "” dog", "."]
SSE = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


def expected(count: int) -> list[str]:
    return list(islice(cycle(WORDS), count))


async def token_by_token(count: int) -> Tokens:
    """Waits before each token for a callback of the loop, as one does that reads a socket."""
    loop = asyncio.get_running_loop()
    for token in expected(count):
        arrived = loop.create_future()
        loop.call_soon(arrived.set_result, None)
        await arrived
        yield token


async def burst(count: int) -> Tokens:
    """Never suspends."""
    for token in expected(count):
        yield token


def chunk(delta: dict[str, str], finish_reason: str | None = None) -> str:
    return json.dumps(
        {
            "id": "chatcmpl-0123456789abcdef01234567",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }
    )


async def payloads(tokens: Tokens) -> AsyncIterator[str]:
    async for token in tokens:
        yield chunk({"content": token})
    yield chunk({}, "stop")
    yield "[DONE]"


async def events(tokens: Tokens) -> AsyncIterator[str]:
    async for token in tokens:
        yield f"data: {chunk({'content': token})}\n\n"
    yield f"data: {chunk({}, 'stop')}\n\n"
    yield "data: [DONE]\n\n"


def floor(tokens: Tokens) -> App:
    """Pasted by hand: one loop, nothing that watches the client or the time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        async for token in tokens:
            body = f"data: {chunk({'content': token})}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        body = f"data: {chunk({}, 'stop')}\n\ndata: [DONE]\n\n".encode()
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


CONTESTANTS: dict[str, Callable[[Tokens], App]] = {
    "floor": floor,
    "starlette": lambda tokens: StreamingResponse(events(tokens), media_type="text/event-stream"),
    "sse-starlette": lambda tokens: EventSourceResponse(payloads(tokens)),
    "asgi-llmstream": LLMStream,
}
WORKLOADS: dict[str, Callable[[int], Tokens]] = {"token by token": token_by_token, "burst": burst}


def check(body: bytes, count: int) -> None:
    """Raise AssertionError unless `body` streams exactly the expected text, then ends."""
    data = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    deltas = [json.loads(text)["choices"][0]["delta"] for text in data[:-1]]
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text == "".join(expected(count)), f"another text than {count} tokens"
    assert data[-1] == "[DONE]", "no end"
