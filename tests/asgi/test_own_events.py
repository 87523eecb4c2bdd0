"""`Events(envelope=False)`: a producer's own events go out as they are, and nothing of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Error,
    LLMStream,
    RateLimited,
    ServerSentEvent,
    Usage,
    encode_stream,
)
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client
from tests.support.one_request import Run

pytestmark = pytest.mark.anyio

AS_THEY_ARE = Events(envelope=False)
OURS = "0123456789abcdef01234567:3"
"""An id as ours are."""


async def numbers() -> AsyncIterator[Any]:
    yield ServerSentEvent(id="1", retry=3000, data="")
    yield ServerSentEvent('{"n": 1}', event="number", id="2", comment="first")
    yield {"data": "a\nb", "id": "3"}


async def test_own_events_go_out_as_they_are_and_nothing_else_does() -> None:
    run = Run(numbers(), AS_THEY_ARE)
    response = await run.whole()
    assert response.body.decode() == (
        "id: 1\nretry: 3000\ndata: \n\n"
        ': first\nid: 2\nevent: number\ndata: {"n": 1}\n\n'
        "id: 3\ndata: a\ndata: b\n\n"
    )
    assert response.complete
    assert run.result.outcome == "finished"


async def test_an_event_without_data_still_moves_the_id_and_the_retry() -> None:
    events = [ServerSentEvent(id="7"), ServerSentEvent(retry=5), ServerSentEvent(comment="hi")]
    response = await Run(events, AS_THEY_ARE).whole()
    assert response.body == b"id: 7\n\nretry: 5\n\n: hi\n"


async def test_what_has_no_words_for_the_client_may_stand_between() -> None:
    run = Run([ServerSentEvent("x"), Usage(3, 5)], AS_THEY_ARE)
    assert (await run.whole()).body == b"data: x\n\n"
    assert run.result.message.usage == Usage(3, 5)


async def raising() -> AsyncIterator[Any]:
    yield ServerSentEvent("x", id="1")
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    "producer",
    [raising, lambda: iter([ServerSentEvent("x", id="1"), Error("No more.")])],
    ids=["raises", "says so"],
)
async def test_a_stream_that_breaks_off_has_no_last_word(producer: Callable[[], Any]) -> None:
    run = Run(producer, AS_THEY_ARE)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.returned()
    assert response.body == b"id: 1\ndata: x\n\n"
    assert response.aborted
    assert run.result.outcome == "error"


async def test_a_drain_breaks_it_off(drain: Callable[[], None]) -> None:
    async def produce() -> AsyncIterator[Any]:
        yield ServerSentEvent("x")
        await anyio.sleep_forever()

    run = Run(produce(), AS_THEY_ARE, shutdown_grace=1)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.event()
        drain()
        await run.clock.advance(0)  # the drain begins to count
        await run.clock.advance(1)
        await response.returned()
    assert response.body == b"data: x\n\n"
    assert response.aborted
    assert run.result.outcome == "shutdown"


async def test_a_refusal_before_the_first_event_is_a_status() -> None:
    async def produce() -> AsyncIterator[Any]:
        raise RateLimited(retry_after=7)
        yield

    response = await Run(produce(), AS_THEY_ARE).whole()
    assert (response.status, response.headers["retry-after"]) == (429, "7")


async def test_who_encodes_by_hand_is_raised_at_where_it_broke() -> None:
    read = b""
    with pytest.raises(Exception, match="could not finish"):
        async for body in encode_stream(raising(), format=AS_THEY_ARE):
            read += body
    assert read == b"id: 1\ndata: x\n\n"


async def test_words_have_no_place_there_and_the_log_says_what_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = await Run(["Hello"], AS_THEY_ARE).whole()
    assert response.status == 500
    assert "sends ServerSentEvents only, and no Text" in caplog.text


@pytest.mark.parametrize("id", ["2", OURS])
async def test_the_last_event_id_is_the_applications_on_a_route_of_ones_own(id: str) -> None:
    stream = LLMStream(numbers, format=AS_THEY_ARE)
    response = await Client(stream).request("GET", "/", headers={"last-event-id": id})
    assert response.status == 200


@pytest.mark.parametrize("id", ["2", OURS])
async def test_the_last_event_id_is_the_applications_in_a_chat_app(id: str) -> None:
    async def resume(request: ChatRequest) -> AsyncIterator[Any]:
        headers = dict(request.scope["headers"])
        yield ServerSentEvent(headers[b"last-event-id"].decode())

    client = Client(ChatApp(resume, formats=[AS_THEY_ARE]))
    response = await client.request("GET", "/events?prompt=x", headers={"last-event-id": id})
    assert response.body == f"data: {id}\n\n".encode()


async def test_heartbeats_stand_between() -> None:
    go_on = anyio.Event()

    async def produce() -> AsyncIterator[Any]:
        yield ServerSentEvent("x")
        await go_on.wait()
        yield ServerSentEvent("y")

    run = Run(produce(), AS_THEY_ARE, heartbeat_interval=1)
    async with Client(run.stream).stream("GET", "/") as response:
        assert await response.chunk() == b"data: x\n\n"
        await run.clock.advance(1)
        assert await response.chunk() == b": ping\n"
        go_on.set()
        await response.read_to_end()
    assert response.body == b"data: x\n\n: ping\ndata: y\n\n"


def test_a_retry_of_ours_would_need_an_event_of_ours() -> None:
    with pytest.raises(ValueError, match="yield it yourself"):
        Events(envelope=False, retry=5)
