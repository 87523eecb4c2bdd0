"""Foreign streams that are silent, end late, or outlive their event loop."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from asgi_llmstream import LLMStreamMiddleware, StreamOptions, StreamResult
from asgi_llmstream.testing import Client, ManualClock, settle

pytestmark = pytest.mark.anyio

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}


async def test_a_foreign_stream_may_be_silent_as_long_as_it_likes() -> None:
    async def notifications(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass

    clock, results = ManualClock(), list[StreamResult]()
    app = LLMStreamMiddleware(notifications, StreamOptions(clock=clock), on_finish=results.append)
    async with Client(app).stream("GET", "/") as response:
        await response.started()
        await settle()
        for _ in range(100):
            await clock.advance(15)
        assert response.comments == 100
    assert [result.outcome for result in results] == ["disconnected"]


async def test_of_a_foreign_streams_message_nothing_is_known() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"data: a\n\n"})

    results: list[StreamResult] = []
    await Client(LLMStreamMiddleware(app, on_finish=results.append)).request("GET", "/")
    (result,) = results
    assert (result.outcome, result.message.finish_reason) == ("finished", None)


def test_an_event_loop_ends_with_a_foreign_stream_whose_client_has_left() -> None:
    """In a process of its own, which would hang."""
    script = """
import asyncio
from asgi_llmstream import LLMStreamMiddleware, StreamOptions

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream")]})
    await asyncio.Event().wait()

async def main():
    messages = [{"type": "http.request", "body": b"", "more_body": False},
                {"type": "http.disconnect"}]
    async def receive():
        return messages.pop(0) if messages else await asyncio.Event().wait()
    async def send(message):
        pass
    wrapped = LLMStreamMiddleware(app, StreamOptions(on_disconnect="complete"))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "asgi": {}}
    task = asyncio.ensure_future(wrapped(scope, receive, send))
    for _ in range(50):
        await asyncio.sleep(0)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], timeout=30, check=True)


def test_on_finish_is_told_when_the_loop_ends_of_streams_that_go_on_without_a_client() -> None:
    """In a process of its own, which might hang. Whoever delivers one and whoever runs it learn of
    the loop's end in any order, and both end it: of so many there is every order."""
    script = """
import asyncio
from asgi_llmstream import LLMStreamMiddleware, StreamOptions

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b"data: a\\n\\n", "more_body": True})
        await asyncio.sleep(0.01)

async def main():
    async def receive():
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}
    async def send(message):
        pass
    options = StreamOptions(on_disconnect="complete")
    wrapped = LLMStreamMiddleware(app, options, on_finish=lambda result: print("told"))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    for _ in range(20):
        kept.append(asyncio.create_task(wrapped({**scope}, receive, send)))
    await asyncio.sleep(0.15)

kept = []
asyncio.run(main())
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, timeout=30, check=True, stdout=subprocess.PIPE)
    assert done.stdout.split() == [b"told"] * 20
