"""Event streams that are not ours, one event and then silence, below the middleware.

`app` has the middleware, `bare` is the same without it. What they did is appended to the file that
LOG names: one line for each stream that was closed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from starlette.responses import StreamingResponse

from asgi_llmstream import LLMStreamMiddleware, StreamOptions

EVENT = b"data: Hel\n\n"


@contextmanager
def logged() -> Iterator[None]:
    try:
        yield
    finally:
        with open(os.environ["LOG"], "a") as log:
            log.write("closed\n")


async def hand_written(scope: Any, receive: Any, send: Any) -> None:
    """Never listens to `receive`, so nobody can tell it that it is over."""
    headers = [(b"content-type", b"text/event-stream")]
    with logged():
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await anyio.sleep_forever()


async def words() -> AsyncIterator[bytes]:
    with logged():
        yield EVENT
        await anyio.sleep_forever()


async def bare(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError  # servers take it that there is no lifespan
    if scope["path"] == "/hand-written":
        await hand_written(scope, receive, send)
    else:
        # Not sse-starlette's: that watches for uvicorn's end by itself, and might be first.
        await StreamingResponse(words(), media_type="text/event-stream")(scope, receive, send)


app = LLMStreamMiddleware(
    bare,
    StreamOptions(shutdown_grace=float(os.environ.get("GRACE", "0.5")), close_timeout=1),
)
