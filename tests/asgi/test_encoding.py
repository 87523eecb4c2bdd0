"""`encode_stream` pulls from the same feed as a delivery does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from asgi_llmstream import StreamOptions, StreamResult, encode_stream
from asgi_llmstream.errors import LimitExceeded
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import ManualClock, check_stream, settle

pytestmark = pytest.mark.anyio


async def babble() -> AsyncIterator[str]:
    while True:
        yield "word "
        await anyio.lowlevel.checkpoint()


async def test_what_is_larger_than_max_stream_size_ends_with_a_visible_error() -> None:
    results: list[StreamResult] = []
    options = StreamOptions(max_stream_size=2000)
    stream = encode_stream(babble(), format=Events(), options=options, on_finish=results.append)
    with anyio.fail_after(5):
        pieces = [piece async for piece in stream]
    events = check_stream(b"".join(pieces), "events")
    assert events[-1].event == "run-failed"
    # Of what passed the limit there is one piece, and the end.
    assert len(b"".join(pieces[:-2])) <= 2000 < len(b"".join(pieces))
    assert [result.outcome for result in results] == ["error"]
    assert isinstance(results[0].error, LimitExceeded)


async def test_deltas_that_wait_together_are_yielded_as_one() -> None:
    async def burst() -> AsyncIterator[str]:
        for word in ("Hel", "lo, ", "you"):
            yield word

    body = b"".join([piece async for piece in encode_stream(burst(), format=Events())])
    assert [event.event for event in check_stream(body, "events")].count("part-delta") == 1


async def test_a_reader_that_did_not_send_the_last_piece_left_before_the_end() -> None:
    results: list[StreamResult] = []

    async def word() -> AsyncIterator[str]:
        yield "word"

    stream = encode_stream(word(), format=Events(), on_finish=results.append)
    while b"run-finished" not in await anext(stream):
        pass
    await stream.aclose()  # as a framework does whose `send` failed
    assert [(result.outcome, result.disconnected) for result in results] == [("finished", True)]


async def test_heartbeats_do_not_count_against_max_stream_size() -> None:
    clock = ManualClock()
    options = StreamOptions(
        clock=clock, heartbeat_interval=1, idle_timeout=None, max_stream_size=1000
    )
    results: list[StreamResult] = []
    go_on = anyio.Event()

    async def slow() -> AsyncIterator[str]:
        yield "word"
        await go_on.wait()

    async def read() -> None:
        stream = encode_stream(slow(), options=options, on_finish=results.append)
        pieces.extend([piece async for piece in stream])

    pieces: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await settle()
        for _ in range(200):  # of 7 bytes each
            await clock.advance(1)
        go_on.set()
    assert pieces.count(b": ping\n") == 200
    assert [result.outcome for result in results] == ["finished"]
