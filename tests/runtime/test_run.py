"""One run: three followers, its observers, and how long an `on_finish` may take."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from msgspec.structs import replace

from asgi_llmstream import StreamOptions, StreamResult
from asgi_llmstream.events import Event
from asgi_llmstream.formats import Events, OpenAIChat
from asgi_llmstream.runtime import Audience, Feed, Follower, Generation, Log, Phase, Run
from asgi_llmstream.sse import parse_sse
from asgi_llmstream.testing import ManualClock, settle

pytestmark = pytest.mark.anyio

WORDS = [f"{number} " for number in range(20)]


class Reader:
    """Reads a run in a format: all that it can get at once, when it is told to."""

    def __init__(self, run: Generation, follower: Follower, encode: Callable[[Event], bytes]):
        self.follower = follower
        self.feed = Feed(follower, encode, run.options, run.fail)
        self.feed.commit()
        self.body = b""

    def read(self) -> None:
        while (body := self.feed.take()) is not None:
            self.body += body
            self.feed.sent()

    async def read_to_end(self) -> None:
        while self.feed.end is None:
            self.read()
            if self.feed.end is None:
                await self.feed.wait()
        self.follower.leave(had_the_end=True)


def chat_text(body: bytes) -> str:
    datas = [event.data or "" for event in parse_sse(body) if event.data != "[DONE]"]
    chunks = map(json.loads, datas)
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def plain_text(body: bytes) -> str:
    events = [json.loads(event.data or "") for event in parse_sse(body)]
    return "".join(event["text"] for event in events if event["type"] == "part-delta")


async def test_three_followers_from_different_events_in_two_formats_and_one_of_them_slow() -> None:
    said: list[str] = []

    async def produce() -> AsyncIterator[str]:
        for word in WORDS:
            said.append(word)
            yield word
            await anyio.lowlevel.checkpoint()

    options = StreamOptions(buffer_events=8, clock=ManualClock())
    log = Log(8, 10_000, kept=True)
    run = Generation(produce(), options, id="run", model="m", log=log)
    fast = Reader(run, log.follow(), OpenAIChat().encoder())
    async with anyio.create_task_group() as tasks:
        run.start()
        slow = Reader(run, log.follow(1), encoder_behind(log, 1))
        tasks.start_soon(fast.read_to_end)
        await settle()
        # The slow one holds the producer up, eight events behind.
        assert said == WORDS[:6]
        fast.read()
        assert chat_text(fast.body) == "".join(WORDS[:6])
        late = Reader(run, log.follow(5, holds=False), encoder_behind(log, 5))
        slow.read()
        await settle()
        assert said == WORDS[:14]  # and eight more, though the late one has read nothing
        with anyio.fail_after(5):
            await slow.read_to_end()
        await late.read_to_end()
    assert chat_text(fast.body) == plain_text(slow.body) == "".join(WORDS)
    assert plain_text(late.body) == "".join(WORDS[2:])
    assert log.published == log.last
    ids = [[event.id for event in parse_sse(reader.body)][-1] for reader in (slow, late)]
    assert ids == [f"run:{log.last}"] * 2


def encoder_behind(log: Log, number: int) -> Callable[[Event], bytes]:
    """An encoder that has seen the events up to this one."""
    encode = Events().encoder()
    for event in log.follow(holds=False).take()[:number]:
        encode(event)
    return encode


async def silent() -> AsyncIterator[str]:
    await anyio.sleep_forever()
    yield ""


async def hello() -> AsyncIterator[str]:
    yield "Hel"
    yield "lo"


async def test_observers_hear_of_each_moment_once_and_hurt_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[tuple[str, Phase]] = []

    def observe(moment: str, run: Run) -> None:
        heard.append((moment, run.phase))
        raise RuntimeError("not the run's affair")

    audience = Audience(on_finish=(lambda _: heard.append(("told", run.phase)),))
    audience = replace(audience, observers=(observe,))
    run = Generation(hello(), StreamOptions(), audience, id="run", model="m")
    run.start()
    with anyio.fail_after(5):
        await run.wait()
    assert heard == [
        ("begun", Phase.RUNNING),
        ("first event", Phase.RUNNING),
        ("told", Phase.SETTLING),
        ("ended", Phase.DONE),
    ]
    assert run.message.text == "Hello"
    assert [record.getMessage() for record in caplog.records] == ["an observer raised"] * 3


# How long an `on_finish` may take.


async def test_an_on_finish_has_finish_timeout_and_the_next_is_told_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, others, cancels = ManualClock(), list[StreamResult](), list[str]()

    async def told(result: StreamResult) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancels.append(result.outcome)

    options = StreamOptions(clock=clock, finish_timeout=30)
    audience = Audience(on_finish=(told, others.append))
    run = Generation(hello(), options, audience, id="run", model="m")
    run.start()
    await settle()
    await clock.advance(29)
    assert (cancels, run.phase) == ([], Phase.SETTLING)
    await clock.advance(1)
    assert cancels == ["finished"]
    with anyio.fail_after(5):
        await run.wait()
    assert [result.outcome for result in others] == ["finished"]
    assert "finish_timeout (30 s)" in caplog.text


async def test_an_on_finish_that_ignores_its_cancellation_is_abandoned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, others, may_end = ManualClock(), list[StreamResult](), anyio.Event()

    async def told(result: StreamResult) -> None:
        with anyio.CancelScope(shield=True):  # which holds on trio
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except anyio.get_cancelled_exc_class():
                    pass

    options = StreamOptions(clock=clock, finish_timeout=30, close_timeout=5)
    audience = Audience(on_finish=(told, others.append))
    run = Generation(hello(), options, audience, id="run", model="m")
    run.start()
    await settle()
    for seconds in (30, 5, 5):
        await clock.advance(seconds)
    with anyio.fail_after(5):
        await run.wait()
    assert [result.outcome for result in others] == ["finished"]
    assert "abandoned" in caplog.text
    may_end.set()
    await settle()
    assert len(others) == 1


async def test_finish_timeout_none_waits_as_long_as_it_takes() -> None:
    clock, may_end = ManualClock(), anyio.Event()

    async def told(result: StreamResult) -> None:
        await may_end.wait()

    options = StreamOptions(clock=clock, finish_timeout=None)
    run = Generation(hello(), options, Audience(on_finish=(told,)), id="run", model="m")
    run.start()
    await settle()
    await clock.advance(1_000_000)
    assert run.phase is Phase.SETTLING
    may_end.set()
    with anyio.fail_after(5):
        await run.wait()


async def test_everybody_who_waits_for_a_run_is_told() -> None:
    run = Generation(hello(), StreamOptions(), id="run", model="m")
    told: list[int] = []

    async def wait(number: int) -> None:
        await run.wait()
        told.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(wait, number)
            await settle()
            run.start()
    assert sorted(told) == [0, 1, 2]


def test_the_longest_end_has_room_for_every_on_finish() -> None:
    options = StreamOptions(shutdown_grace=5, close_timeout=2, finish_timeout=30)
    assert options.longest_end(0) == 5 + 4 + 1
    assert options.longest_end(2) == 5 + 4 + 2 * (30 + 4) + 1
    assert math.isinf(StreamOptions(finish_timeout=None).longest_end(1))


async def test_a_run_that_is_over_stays_over_though_it_is_ended_once_more() -> None:
    async def word() -> AsyncIterator[str]:
        yield "word"

    run = Generation(word(), StreamOptions(clock=ManualClock()), id="run", model="m")
    run.start()
    with anyio.fail_after(5):
        await run.wait()
        run.end("cancelled", [])
        await run.wait()
    assert run.phase is Phase.DONE
