"""The same answers without a stream, or without a request."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from asgi_llmstream import (
    ChatApp,
    LLMStream,
    RateLimited,
    StreamOptions,
    StreamResult,
    collect,
    encode_stream,
)
from asgi_llmstream.testing import Client, ManualClock, check_stream, settle
from tests.support.one_request import Run

pytestmark = pytest.mark.anyio


async def test_who_leaves_before_a_whole_answer_cancels_the_producer_too() -> None:
    closed, results = False, []

    async def answer(request: Any) -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield "Hel"
            await anyio.sleep_forever()
        finally:
            closed = True

    app = ChatApp(answer, on_finish=results.append)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    async with Client(app).stream("POST", "/chat/completions", json=body) as response:
        await settle()
        response.disconnect()
        await response.returned()
    assert closed
    assert response.sends == []
    assert [result.outcome for result in results] == ["disconnected"]


async def test_a_whole_answer_that_breaks_off_is_an_http_error() -> None:
    async def answer(request: Any) -> AsyncIterator[Any]:
        yield "Hel"
        raise RateLimited(retry_after=9)

    body = {"messages": [{"role": "user", "content": "hi"}]}
    response = await Client(ChatApp(answer)).request("POST", "/chat/completions", json=body)
    assert response.status == 429
    assert response.headers["retry-after"] == "9"


async def test_encode_stream_gives_the_same_bytes_and_heartbeats() -> None:
    clock = ManualClock()
    pieces: list[bytes] = []

    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        await settle()
        await clock.advance(15)
        await settle()
        yield "lo"

    async for piece in encode_stream(producer(), options=StreamOptions(clock=clock)):
        pieces.append(piece)
    assert b": ping\n" in pieces
    check_stream(b"".join(pieces), "openai")


async def test_encode_stream_reads_on_to_the_end_if_it_is_told_to_complete() -> None:
    released, finished = anyio.Event(), anyio.Event()
    results: list[StreamResult] = []

    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        await released.wait()
        yield "lo"

    def on_finish(result: StreamResult) -> None:
        results.append(result)
        finished.set()

    async def endpoint(request: Any) -> StreamingResponse:
        options = StreamOptions(on_disconnect="complete")
        pieces = encode_stream(producer(), options=options, on_finish=on_finish)
        return StreamingResponse(pieces, media_type="text/event-stream")

    app = Starlette(routes=[Route("/", endpoint)])
    async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
        await response.chunk()
        response.disconnect()  # of which Starlette tells by a cancellation
        await settle()
        assert results == []
        released.set()
        with anyio.fail_after(10):
            await finished.wait()
    (result,) = results
    assert (result.outcome, result.disconnected) == ("finished", True)
    assert result.message.text == "Hello"


async def test_encode_stream_may_be_made_in_a_thread_without_an_event_loop() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hello"

    pieces = await anyio.to_thread.run_sync(lambda: encode_stream(producer()))
    body = b"".join([piece async for piece in pieces])
    check_stream(body, "openai")


async def test_closing_encode_stream_closes_the_producer() -> None:
    closed, results = False, []

    async def producer() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield "Hel"
            await anyio.sleep_forever()
        finally:
            closed = True

    pieces = encode_stream(producer(), on_finish=results.append)
    while b'"Hel"' not in await anext(pieces):
        pass
    await pieces.aclose()
    assert closed
    assert [result.outcome for result in results] == ["disconnected"]


async def test_collect_gives_the_whole_message_or_raises_what_the_producer_raised() -> None:
    async def well() -> AsyncIterator[Any]:
        yield "Hel"
        yield "lo"

    async def badly() -> AsyncIterator[Any]:
        yield "Hel"
        raise KeyError("x")

    message = await collect(well(), model="m")
    assert (message.text, message.model, message.finish_reason) == ("Hello", "m", "stop")
    with pytest.raises(KeyError):
        await collect(badly())


async def test_cancelling_collect_closes_the_producer() -> None:
    closed = False

    async def producer() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            await anyio.sleep_forever()
            yield
        finally:
            closed = True

    with anyio.move_on_after(0.01):
        await collect(producer())
    assert closed


async def test_a_stream_of_an_iterator_serves_one_request_and_of_a_function_many() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hello"

    once, many = LLMStream(producer()), LLMStream(producer)
    for _ in range(2):
        assert b'"Hello"' in (await Client(many).request("GET", "/")).body
    await Client(once).request("GET", "/")
    with pytest.raises(RuntimeError, match="used up"):
        await Client(once).request("GET", "/")


async def test_of_a_good_answer_one_line_is_logged_which_is_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "asgi_llmstream")

    async def producer() -> AsyncIterator[Any]:
        yield "Hello"

    await Run(producer).whole()
    (record,) = [r for r in caplog.records if r.name == "asgi_llmstream"]
    assert record.levelno == logging.DEBUG
    assert record.getMessage().endswith(
        "producer, answering GET /: finished after 0.000 s, first chunk after 0.000 s, 7 events"
    )
