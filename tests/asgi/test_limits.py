"""An answer may take so long and be so large, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import Data, File, LLMStream, StreamOptions, ToolCall, ToolCallDelta
from asgi_llmstream.testing import Client, ManualClock, settle
from tests.support.one_request import Run, a_word_then_silence, error_of, finish_reason_of

pytestmark = pytest.mark.anyio


# Deadlines.


async def silence() -> AsyncIterator[Any]:
    await anyio.sleep_forever()
    yield


async def test_no_first_chunk_in_time_is_a_504_when_it_is_not_too_late() -> None:
    run = Run(silence(), first_chunk_timeout=1, commit_after=2)
    async with Client(run.stream).stream("GET", "/") as response:
        await settle()
        await run.clock.advance(1)
        await response.read_to_end()
    assert response.status == 504
    assert response.json()["error"]["code"] == "first_chunk_timeout"
    assert run.result.outcome == "error"


@pytest.mark.parametrize(
    ("producer", "code"),
    [(silence, "first_chunk_timeout"), (a_word_then_silence, "idle_timeout")],
)
async def test_silence_that_is_too_long_ends_with_an_error_event(
    producer: Callable[[], Any], code: str
) -> None:
    run = Run(producer(), first_chunk_timeout=10, idle_timeout=10)
    async with Client(run.stream).stream("GET", "/") as response:
        await settle()
        await run.clock.advance(3)
        await response.started()
        await run.clock.advance(7)
        await response.read_to_end()
    assert error_of(response)["code"] == code
    assert run.result.outcome == "error"


async def test_the_whole_answer_may_take_so_long_and_no_longer() -> None:
    ticks = 0
    clock = ManualClock()

    async def producer() -> AsyncIterator[Any]:
        nonlocal ticks
        while True:
            yield "x"
            ticks += 1
            await settle()
            await clock.advance(1)

    stream = LLMStream(producer(), options=StreamOptions(clock=clock, total_timeout=5))
    response = await Client(stream).request("GET", "/")
    assert error_of(response)["code"] == "total_timeout"
    assert ticks == 5


async def test_time_that_a_producer_waits_for_a_slow_reader_is_not_its_silence() -> None:
    async def producer() -> AsyncIterator[Any]:
        for _ in range(40):
            yield "x"

    run = Run(producer(), idle_timeout=5, send_timeout=None, buffer_events=8)
    async with Client(run.stream).stream("GET", "/") as response:
        response.stall()
        await settle()
        await run.clock.advance(60)
        response.resume()
        await response.read_to_end()
    assert run.result.outcome == "finished"


@pytest.mark.parametrize(("events", "ahead"), [(1, 1), (4, 8)])
async def test_a_producer_is_read_ahead_by_what_may_wait_and_what_is_being_sent(
    events: int, ahead: int
) -> None:
    gone_on = 0

    async def producer() -> AsyncIterator[Any]:
        nonlocal gone_on
        while True:
            yield "x"
            gone_on += 1

    run = Run(producer(), buffer_events=events)
    async with Client(run.stream).stream("GET", "/") as response:
        response.stall()
        await settle()
        assert 1 <= gone_on <= ahead


async def test_heartbeats_flow_whenever_nothing_else_does() -> None:
    run = Run(a_word_then_silence(), heartbeat_interval=5, idle_timeout=None)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.chunk()
        for beats in range(1, 21):
            await run.clock.advance(4)
            assert response.comments == beats - 1
            await run.clock.advance(1)
            assert response.comments == beats


async def test_headers_wait_for_the_first_chunk_and_not_longer_than_commit_after() -> None:
    run = Run(silence(), commit_after=2, heartbeat_interval=1)
    async with Client(run.stream).stream("GET", "/") as response:
        await settle()
        await run.clock.advance(1.9)
        assert response.sends == []
        await run.clock.advance(0.1)
        await response.started()
        assert response.status == 200
        await run.clock.advance(1)
        assert response.comments == 1


# Limits.


async def babbling() -> AsyncIterator[Any]:
    while True:
        yield "x" * 10
        await anyio.lowlevel.checkpoint()


async def calling() -> AsyncIterator[Any]:
    yield ToolCallDelta(0, "a", "f")
    yield ToolCallDelta(1, "b", "g")
    while True:
        yield ToolCallDelta(0, arguments="x" * 10)
        yield ToolCallDelta(1, arguments="x" * 10)
        await anyio.lowlevel.checkpoint()


async def one_large() -> AsyncIterator[Any]:
    yield "Hel"
    yield "x" * 1000


async def one_large_item() -> AsyncIterator[Any]:
    yield "Hel"
    yield Data("image", "x" * 1000)


async def many_items() -> AsyncIterator[Any]:
    yield "Hel"
    while True:
        yield File("data:;base64," + "x" * 100, "text/plain")
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("producer", "limit", "kept"),
    [
        (babbling, {"max_message_size": 95}, 100),
        (one_large, {"max_chunk_size": 999}, 1003),
        (babbling, {"max_stream_size": 5000}, None),
        (calling, {"max_tool_arguments": 95}, 0),
        (one_large_item, {"max_chunk_size": 999}, 3),
        (many_items, {"max_message_size": 9999}, 3),
    ],
)
async def test_an_answer_that_is_too_large_ends_with_an_error_and_keeps_what_came(
    producer: Any, limit: dict[str, int], kept: int | None
) -> None:
    run = Run(producer(), **limit)
    response = await run.whole()
    assert error_of(response)["code"] == "limit_exceeded"
    assert run.result.outcome == "error"
    assert kept is None or len(run.result.message.text) == kept


async def test_an_answer_within_its_limits_is_whole() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "x" * 10
        yield ToolCall("c", "f", "{}")

    limits = {
        "max_message_size": 12,
        "max_chunk_size": 10,
        "max_tool_arguments": 2,
        "max_stream_size": 5000,
    }
    assert finish_reason_of(await Run(producer(), **limits).whole()) == "tool_calls"
