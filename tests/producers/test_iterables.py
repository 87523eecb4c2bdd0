"""Every shape of iterable streams, and is closed where it lives."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import LLMStream, StreamOptions, StreamResult, Text, collect, from_callbacks
from asgi_llmstream.errors import BufferFull, StreamClosed
from asgi_llmstream.producers.callbacks import Emitter
from asgi_llmstream.testing import Client, ManualClock, settle
from tests.support.shapes import SHAPES, WORDS, Iterable, Log, Manager, callbacks

pytestmark = pytest.mark.anyio

user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_streams_whole_and_is_closed_once(shape: str) -> None:
    make, closes = SHAPES[shape]
    log = Log()
    assert (await collect(make(log))).text == "Hello, you"
    assert log.closed == closes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", range(1, len(WORDS)))
async def test_every_shape_is_closed_once_wherever_it_is_cut(shape: str, cut: int) -> None:
    make, closes = SHAPES[shape]
    log = Log()
    results: list[StreamResult] = []
    stream = LLMStream(make(log), on_finish=results.append)
    async with Client(stream).stream("GET", "/") as response:
        response.disconnect_after(cut)
        await response.returned()
    assert log.closed == closes
    assert len(results) == 1
    assert "Hello, you".startswith(results[0].message.text)


async def test_a_context_manager_of_nothing_to_iterate_is_left_again() -> None:
    log = Log()

    class Nothing(Manager):
        async def __aenter__(self) -> Any:
            return 42

    with pytest.raises(TypeError, match="cannot stream from int"):
        await collect(Nothing(log))
    assert log.closed == ["manager"]


async def test_every_close_is_tried_whatever_the_others_raise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log()

    class Broken(Iterable):
        async def close(self) -> None:
            log("broken")
            raise ValueError("it was closed already")

    class BrokenManager(Manager):
        async def __aenter__(self) -> Iterable:
            return Broken(log)

    message = await collect(BrokenManager(log))
    assert message.text == "Hello, you"
    assert log.closed == ["broken", "manager"]
    assert "it was closed already" in caplog.text


@pytest.mark.parametrize("producer", [42, None, object()])
async def test_what_is_no_stream_is_a_type_error_that_names_it(producer: Any) -> None:
    with pytest.raises(TypeError, match=f"cannot stream from {type(producer).__name__}"):
        await collect(producer)


# Threads.


async def test_a_sync_generator_sees_the_requests_context_and_leaves_its_own_thread() -> None:
    user.set("ada")

    def producer() -> Iterator[str]:
        assert threading.current_thread() is not threading.main_thread()
        assert threading.current_thread().daemon
        yield user.get()

    assert (await collect(producer())).text == "ada"


async def test_an_async_producer_sees_the_requests_context() -> None:
    user.set("ada")

    async def producer() -> AsyncIterator[str]:
        yield user.get()

    assert (await collect(producer())).text == "ada"


async def test_an_error_in_a_sync_generator_is_the_producers() -> None:
    def producer() -> Iterator[str]:
        yield "Hel"
        raise KeyError("x")

    with pytest.raises(KeyError):
        await collect(producer())


async def test_two_hundred_idle_sync_generators_starve_nobody() -> None:
    release = threading.Event()
    closed: list[int] = []

    def idle(number: int) -> Iterator[str]:
        try:
            yield "x"
            release.wait()
            yield "y"
        finally:
            closed.append(number)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(collect, idle(number))
        with anyio.fail_after(20):
            while threading.active_count() < 200:
                await anyio.lowlevel.checkpoint()
        with anyio.fail_after(20):
            assert (await collect(iter("ab"))).text == "ab"
        release.set()
    assert sorted(closed) == list(range(200))


async def test_a_sync_generator_that_blocks_never_delays_anothers_heartbeat() -> None:
    release = threading.Event()
    clock = ManualClock()

    def blocks() -> Iterator[str]:
        yield "x"
        release.wait()

    async def silent() -> AsyncIterator[str]:
        yield "y"
        await anyio.sleep_forever()

    blocking = LLMStream(blocks())
    other = LLMStream(silent(), options=StreamOptions(clock=clock, heartbeat_interval=1))
    async with Client(blocking).stream("GET", "/") as first:
        await first.chunk()
        async with Client(other).stream("GET", "/") as second:
            await second.chunk()
            await clock.advance(1)
            assert second.comments == 1
            second.disconnect()
        release.set()
        await first.read_to_end()


async def test_a_blocking_step_is_given_up_after_close_timeout_and_closed_when_it_returns() -> None:
    release, closed = threading.Event(), threading.Event()
    clock = ManualClock()
    results: list[StreamResult] = []

    def producer() -> Iterator[str]:
        try:
            yield "x"
            release.wait()
            yield "y"
        finally:
            closed.set()

    stream = LLMStream(
        producer(),
        options=StreamOptions(clock=clock, close_timeout=5),
        on_finish=results.append,
    )
    async with Client(stream).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await settle()
        assert results == []
        await clock.advance(5)
        await response.returned()
    assert [result.outcome for result in results] == ["disconnected"]
    release.set()
    assert await anyio.to_thread.run_sync(closed.wait, 10)


def test_a_blocking_step_never_holds_up_the_exit_of_the_process() -> None:
    program = """
import anyio, threading
from asgi_llmstream import collect

def blocks():
    yield "x"
    print("blocking", flush=True)
    threading.Event().wait()

async def main():
    with anyio.move_on_after(0.1):
        await collect(blocks(), options=options)

from asgi_llmstream import StreamOptions
options = StreamOptions(close_timeout=0.1)
anyio.run(main)
print("over", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.split() == ["blocking", "over"]
    assert done.stderr == ""
    assert done.returncode == 0


# Callbacks.


async def test_what_a_full_buffer_cannot_take_is_a_clear_error() -> None:
    caught: list[BufferFull] = []

    async def produce(emit: Emitter) -> None:
        for _ in range(4):
            emit.text_nowait("x")
        try:
            emit.text_nowait("y")
        except BufferFull as error:
            caught.append(error)

    assert (await collect(from_callbacks(produce, buffer=4))).text == "xxxx"
    assert "4 chunks wait for a slow reader" in str(caught[0])


async def test_emitting_with_await_waits_for_the_reader() -> None:
    emitted = 0

    async def produce(emit: Emitter) -> None:
        nonlocal emitted
        while True:
            await emit.text("x")
            emitted += 1

    source = aiter(from_callbacks(produce, buffer=4))
    await anext(source)
    await settle()
    assert emitted <= 6
    await source.aclose()


async def test_callbacks_from_other_threads_lose_no_token_and_keep_their_order() -> None:
    async def produce(emit: Emitter) -> None:
        def in_thread() -> None:
            for number in range(500):
                emit.from_thread.text(f"{number} ")

        await anyio.to_thread.run_sync(in_thread)

    message = await collect(from_callbacks(produce, buffer=3))
    assert message.text == "".join(f"{number} " for number in range(500))


async def test_produce_is_told_when_the_client_has_left() -> None:
    told: list[str] = []
    emitters: list[Emitter] = []

    async def produce(emit: Emitter) -> None:
        emitters.append(emit)
        await emit.text("Hel")
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cancelled")

    stream = LLMStream(from_callbacks(produce))
    async with Client(stream).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert told == ["cancelled"]
    with pytest.raises(StreamClosed):
        emitters[0].text_nowait("lo")
    with pytest.raises(StreamClosed):
        await emitters[0].text("lo")
    with pytest.raises(StreamClosed):
        await anyio.to_thread.run_sync(emitters[0].from_thread.text, "lo")


async def test_a_thread_that_waits_for_room_is_told_when_the_client_has_left() -> None:
    told = threading.Event()

    async def produce(emit: Emitter) -> None:
        def in_thread() -> None:
            try:
                while True:
                    emit.from_thread.text("x")
            except StreamClosed:
                told.set()

        await anyio.to_thread.run_sync(in_thread, abandon_on_cancel=True)

    stream = LLMStream(from_callbacks(produce, buffer=2))
    async with Client(stream).stream("GET", "/") as response:
        await response.chunk()
        response.stall()
        response.disconnect()
        await response.returned()
    assert await anyio.to_thread.run_sync(told.wait, 10)


async def test_a_stream_fails_when_produce_raises_after_what_it_emitted() -> None:
    async def produce(emit: Emitter) -> None:
        emit.text_nowait("Hel")
        raise KeyError("x")

    results: list[StreamResult] = []
    stream = LLMStream(from_callbacks(produce), on_finish=results.append)
    await Client(stream).request("GET", "/")
    assert results[0].outcome == "error"
    assert results[0].message.text == "Hel"
    assert isinstance(results[0].error, KeyError)


def test_a_buffer_must_hold_something() -> None:
    with pytest.raises(ValueError, match="positive"):
        from_callbacks(callbacks, buffer=0)


async def test_a_finished_stream_is_forgotten_while_others_go_on() -> None:
    async def open_end() -> AsyncIterator[str]:
        yield "x"
        await anyio.sleep_forever()

    async def short() -> AsyncIterator[str]:
        yield "y"

    messages: list[weakref.ref[Any]] = []
    gc.disable()
    try:
        async with Client(LLMStream(open_end())).stream("GET", "/") as response:
            await response.chunk()
            stream = LLMStream(
                short, on_finish=lambda result: messages.append(weakref.ref(result.message))
            )
            for _ in range(20):
                await Client(stream).request("GET", "/")
            await settle()
            assert sum(message() is not None for message in messages) <= 1
            response.disconnect()
    finally:
        gc.enable()


async def test_stop_async_iteration_in_produce_is_an_error_and_no_end() -> None:
    async def produce(emit: Emitter) -> None:
        await emit.text("half an ans")
        raise StopAsyncIteration

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await collect(from_callbacks(produce))


async def test_emitting_from_thread_in_the_loops_own_thread_is_an_error_and_no_deadlock() -> None:
    async def produce(emit: Emitter) -> None:
        emit.from_thread.text("x")

    with pytest.raises(RuntimeError, match="await emit"):
        await collect(from_callbacks(produce))


async def test_an_emit_that_was_given_up_is_not_delivered() -> None:
    taken, gave_up = anyio.Event(), anyio.Event()

    async def produce(emit: Emitter) -> None:
        emit.text_nowait("a")
        await taken.wait()
        emit.text_nowait("b")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await emit.text("given up")
        gave_up.set()
        await emit.text("c")

    emitted = aiter(from_callbacks(produce, buffer=1))
    chunks = [await anext(emitted)]
    taken.set()
    await gave_up.wait()
    chunks += [chunk async for chunk in emitted]
    assert chunks == [Text("a"), Text("b"), Text("c")]


async def test_callbacks_and_lists_may_be_streamed_more_than_once() -> None:
    async def produce(emit: Emitter) -> None:
        await emit.text("again")

    for producer in (from_callbacks(produce), ["again"]):
        stream = LLMStream(producer)
        for _ in range(2):
            assert b"again" in (await Client(stream).request("GET", "/")).body


def test_a_closed_event_loop_is_forgotten() -> None:
    loops: list[weakref.ref[Any]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await collect(["x"])

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert [loop() for loop in loops] == [None, None, None]


class _ListeningLoop(asyncio.SelectorEventLoop):
    """Says when another thread has asked it to call something."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        try:
            return super().call_soon_threadsafe(*args, **kwargs)
        finally:
            self.asked.set()


def test_a_thread_whose_event_loop_ends_before_it_has_listened_is_told() -> None:
    loop = _ListeningLoop()
    emitters: list[Emitter] = []
    raised: list[Exception] = []

    async def produce(emit: Emitter) -> None:
        emitters.append(emit)

    async def begin() -> None:
        async for _ in from_callbacks(produce):
            pass

    def emit() -> None:
        try:
            emitters[0].from_thread.text("too late")
        except StreamClosed as error:
            raised.append(error)

    loop.run_until_complete(begin())
    loop.asked.clear()
    thread = threading.Thread(target=emit, daemon=True)
    thread.start()
    assert loop.asked.wait(10)
    loop.close()
    thread.join(10)
    assert len(raised) == 1
