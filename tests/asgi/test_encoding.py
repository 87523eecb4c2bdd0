"""`encode_stream` pulls from the same feed as a delivery does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import anyio
import pytest

from asgi_llmstream import ReadTooLate, StreamOptions, StreamResult, encode_stream
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


class Away:
    """A reader that has taken what there is, and its producer.

    Attributes:
        open: whether the producer is.
        results: what `on_finish` was told.
    """

    def __init__(self, **options: object) -> None:
        self.clock = ManualClock()
        self.open = False
        self.results: list[StreamResult] = []
        patient = {"first_chunk_timeout": None, "idle_timeout": None}
        self.stream = encode_stream(
            self._answer(),
            format=Events(),
            options=StreamOptions(clock=self.clock, **patient, **options),  # type: ignore[arg-type]
            on_finish=self.results.append,
        )
        self.go_on = anyio.Event()

    async def _answer(self) -> AsyncIterator[str]:
        self.open = True
        try:
            yield "word"
            await self.go_on.wait()
        finally:
            self.open = False

    @property
    def outcomes(self) -> list[str]:
        return [result.outcome for result in self.results]


async def test_a_reader_that_does_not_come_back_in_time_has_its_producer_closed() -> None:
    away = Away(send_timeout=30)
    await anext(away.stream)  # and nobody closes it, as in a cycle that waits to be collected
    await away.clock.advance(29)
    assert away.open
    await away.clock.advance(1)
    assert not away.open
    assert away.outcomes == ["stalled"]
    with pytest.raises(ReadTooLate, match=r"send_timeout \(30 s\)"):
        await anext(away.stream)
    with pytest.raises(StopAsyncIteration):
        await anext(away.stream)
    assert away.outcomes == ["stalled"]


async def test_a_reader_that_comes_back_in_time_reads_on_however_long_it_waits_then() -> None:
    away = Away(send_timeout=30, heartbeat_interval=20)
    while b"word" not in await anext(away.stream):
        pass
    await away.clock.advance(29)
    for _ in range(4):
        # The next piece is a heartbeat: it waits for that in here, and is not away.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, away.stream)
            await settle()
            await away.clock.advance(20)
    await away.clock.advance(29)
    away.go_on.set()
    assert b"run-finished" in b"".join([piece async for piece in away.stream])
    assert away.outcomes == ["finished"]


async def test_a_reader_may_stay_away_for_ever_where_nothing_else_is_asked_for() -> None:
    away = Away(send_timeout=None)
    await anext(away.stream)
    await away.clock.advance(100_000)
    assert away.open
    await away.stream.aclose()
    assert away.outcomes == ["disconnected"]


async def test_a_producer_that_is_to_complete_does_so_without_its_reader() -> None:
    away = Away(send_timeout=30, on_disconnect="complete")
    await anext(away.stream)
    await away.clock.advance(30)
    assert away.open
    away.go_on.set()
    await settle()
    assert [(result.outcome, result.disconnected) for result in away.results] == [
        ("finished", True)
    ]
    with pytest.raises(ReadTooLate):
        await anext(away.stream)


async def test_a_large_chunk_is_yielded_in_pieces_that_show_progress() -> None:
    clock = ManualClock()

    async def large() -> AsyncIterator[str]:
        yield "~" * 1_000_000

    pieces = []
    options = StreamOptions(clock=clock, send_timeout=30)
    async for piece in encode_stream(large(), options=options):
        pieces.append(piece)
        await clock.advance(20)
    assert b"".join(pieces).count(b"~") == 1_000_000
    assert b"[DONE]" in pieces[-1]
    assert max(map(len, pieces)) <= 65536


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_ends_with_a_reader_that_is_away(backend: str) -> None:
    """In a process of its own, which would hang."""
    script = """
import sys
import anyio
from asgi_llmstream import encode_stream

async def answer():
    yield "word"
    await anyio.sleep_forever()

async def main():
    stream = encode_stream(answer(), on_finish=lambda result: print("told"))
    await anext(stream)
    kept.append(stream)

kept = []
anyio.run(main, backend=sys.argv[1])
"""
    command = [sys.executable, "-c", script, backend]
    done = subprocess.run(command, timeout=30, check=True, stdout=subprocess.PIPE)
    assert done.stdout.split() == [b"told"]
