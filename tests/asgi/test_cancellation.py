"""The client leaves: whatever the producer does and holds at that moment, it is closed.

Each test runs with the garbage collector off, so that nothing is closed by luck.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import LLMStream, StreamOptions, StreamResult
from asgi_llmstream.testing import Client, ManualClock, Response, settle

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, scope="module")
def only_what_these_tests_make_is_garbage() -> Iterator[None]:
    """Else every collection would look at all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.WARNING)
    yield
    assert caplog.messages == []


def this_task() -> Any:
    return anyio.get_current_task().id


class Probe:
    """What the producers of a test report."""

    def __init__(self) -> None:
        self.began_in: Any = None
        self.closed_in: list[tuple[str, Any]] = []
        self.results: list[StreamResult] = []
        self.returned = False

    def began(self) -> None:
        self.began_in = this_task()

    async def closed(self, what: str) -> None:
        """For a `finally`: needs an `await` that works, which on trio the user shields."""
        with anyio.CancelScope(shield=True):
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
        self.closed_in.append((what, this_task()))

    async def on_finish(self, result: StreamResult) -> None:
        await anyio.lowlevel.checkpoint()
        self.results.append(result)


# What a producer does when its client leaves.


async def silent() -> AsyncIterator[str]:
    yield "Hel"
    await anyio.sleep_forever()


async def silent_from_the_start() -> AsyncIterator[str]:
    await anyio.sleep_forever()
    yield "never"


async def flat_out() -> AsyncIterator[str]:
    while True:
        yield "x"
        await anyio.lowlevel.checkpoint()


async def without_a_pause() -> AsyncIterator[str]:
    while True:
        yield "x"


# What it holds meanwhile.


async def with_finally(probe: Probe, chunks: Callable[[], AsyncIterator[str]]) -> Any:
    probe.began()
    try:
        async with aclosing(chunks()) as inner:
            async for chunk in inner:
                yield chunk
    finally:
        await probe.closed("finally")


async def with_aclosing(probe: Probe, chunks: Callable[[], AsyncIterator[str]]) -> Any:
    async with aclosing(with_finally(probe, chunks)) as nested:
        async for chunk in nested:
            yield chunk


async def with_task_group(probe: Probe, chunks: Callable[[], AsyncIterator[str]]) -> Any:
    probe.began()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            async with aclosing(chunks()) as inner:
                async for chunk in inner:
                    yield chunk
    finally:
        await probe.closed("task group")


async def with_timeout(probe: Probe, chunks: Callable[[], AsyncIterator[str]]) -> Any:
    probe.began()
    try:
        with anyio.fail_after(3600):
            async with aclosing(chunks()) as inner:
                async for chunk in inner:
                    yield chunk
    finally:
        await probe.closed("timeout")


class ProviderStream:
    """As SDKs have it: an iterable that is no generator, with a `close` that must be awaited."""

    def __init__(self, probe: Probe, chunks: Callable[[], AsyncIterator[str]]) -> None:
        self._probe = probe
        self._chunks = chunks()

    def __aiter__(self) -> ProviderStream:
        self._probe.began()
        return self

    async def __anext__(self) -> str:
        return await anext(self._chunks)

    async def close(self) -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        self._probe.closed_in.append(("provider", this_task()))
        with anyio.CancelScope(shield=True):
            await self._chunks.aclose()  # type: ignore[attr-defined]


HOLDERS = [with_finally, with_aclosing, with_task_group, with_timeout, ProviderStream]


def stream_of(probe: Probe, producer: Any, **options: Any) -> Any:
    stream = LLMStream(
        producer, options=StreamOptions(**options), on_finish=probe.on_finish, model="m"
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await stream(scope, receive, send)
        probe.returned = True

    return app


def assert_closed(probe: Probe, outcome: str = "disconnected") -> None:
    assert [task for _, task in probe.closed_in] == [probe.began_in]
    assert [result.outcome for result in probe.results] == [outcome]
    assert probe.results[0].disconnected
    assert probe.returned


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("chunks", [silent, flat_out, without_a_pause])
async def test_a_producer_is_closed_when_its_client_leaves(holder: Any, chunks: Any) -> None:
    probe = Probe()
    async with Client(stream_of(probe, holder(probe, chunks))).stream("GET", "/") as response:
        await response.started()
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert_closed(probe)


@pytest.mark.parametrize("holder", HOLDERS)
async def test_a_producer_is_closed_when_its_client_leaves_before_the_headers(
    holder: Any,
) -> None:
    probe = Probe()
    app = stream_of(probe, holder(probe, silent_from_the_start), clock=ManualClock())
    async with Client(app).stream("GET", "/") as response:
        await settle()
        response.disconnect()
        await response.returned()
    assert response.sends == []
    assert_closed(probe)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("chunks", [flat_out, without_a_pause])
async def test_a_producer_is_closed_when_its_client_leaves_during_a_blocked_send(
    holder: Any, chunks: Any
) -> None:
    probe = Probe()
    async with Client(stream_of(probe, holder(probe, chunks))).stream("GET", "/") as response:
        await response.started()
        response.stall()
        await settle()
        response.disconnect()
        await response.returned()
    assert_closed(probe)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("chunks", [flat_out, without_a_pause])
async def test_a_server_whose_send_raises_ends_the_same_way(holder: Any, chunks: Any) -> None:
    probe = Probe()
    client = Client(
        stream_of(probe, holder(probe, chunks)),
        spec_version="2.4",
        send_raises_after_disconnect=True,
    )
    async with client.stream("GET", "/") as response:
        response.disconnect_after(2)
        await response.returned()
    assert_closed(probe)


async def test_a_client_that_leaves_before_the_first_step_leaves_nothing_open() -> None:
    probe = Probe()
    app = stream_of(probe, with_finally(probe, silent))
    async with Client(app).stream("GET", "/") as response:
        response.disconnect()
        await response.returned()
    assert [result.outcome for result in probe.results] == ["disconnected"]
    assert probe.began_in is None or probe.closed_in


async def test_others_are_answered_while_a_producer_never_suspends() -> None:
    probe, other = Probe(), Probe()
    app = stream_of(probe, with_finally(probe, without_a_pause))

    async def short() -> AsyncIterator[str]:
        yield "short"

    async with Client(app).stream("GET", "/") as response:
        await response.started()
        answered = await Client(stream_of(other, short())).request("GET", "/")
        assert b'"short"' in answered.body
        response.disconnect()
        await response.returned()
    assert_closed(probe)


# Scopes that a producer holds across a yield, and that fire while it is suspended there.


async def blocked(response: Response) -> None:
    """Until the reader has stalled the producer."""
    await response.started()
    response.stall()
    await settle()


async def test_a_scope_that_is_cancelled_at_a_yield_ends_inside_the_producer() -> None:
    probe = Probe()
    scope = anyio.CancelScope()

    async def producer() -> AsyncIterator[str]:
        with scope:
            while True:
                yield "x"
        yield "after the scope"

    async with Client(stream_of(probe, producer())).stream("GET", "/") as response:
        await blocked(response)
        scope.cancel()
        await settle()
        response.resume()
        await response.read_to_end()
    assert b"after the scope" in response.body
    assert [result.outcome for result in probe.results] == ["finished"]


async def test_a_native_timeout_that_fires_at_a_yield_ends_inside_the_producer(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name != "asyncio":
        return
    probe = Probe()
    timeout = asyncio.timeout(None)

    async def producer() -> AsyncIterator[str]:
        try:
            async with timeout:
                while True:
                    yield "x"
        except TimeoutError:
            yield "after the timeout"

    async with Client(stream_of(probe, producer())).stream("GET", "/") as response:
        await blocked(response)
        timeout.reschedule(asyncio.get_running_loop().time() - 1)
        await settle()
        response.resume()
        await response.read_to_end()
    assert b"after the timeout" in response.body
    assert [result.outcome for result in probe.results] == ["finished"]


async def test_a_task_group_whose_child_fails_at_a_yield_ends_inside_the_producer() -> None:
    probe = Probe()
    fail = anyio.Event()

    async def child() -> None:
        await fail.wait()
        raise ValueError("the child failed")

    async def producer() -> AsyncIterator[str]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                while True:
                    yield "x"
        except* ValueError:
            pass
        yield "after the group"

    async with Client(stream_of(probe, producer())).stream("GET", "/") as response:
        await blocked(response)
        fail.set()
        await settle()
        response.resume()
        await response.read_to_end()
    assert b"after the group" in response.body
    assert [result.outcome for result in probe.results] == ["finished"]


async def test_a_finally_may_use_task_groups_and_timeouts_of_its_own() -> None:
    probe = Probe()

    async def producer() -> AsyncIterator[str]:
        probe.began()
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True), anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.lowlevel.checkpoint)
            await probe.closed("finally")

    async with Client(stream_of(probe, producer())).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert_closed(probe)


async def test_a_finally_may_use_asyncios_own_task_group_and_timeout(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name != "asyncio":
        return
    probe = Probe()

    async def producer() -> AsyncIterator[str]:
        probe.began()
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            probe.closed_in.append(("finally", this_task()))

    async with Client(stream_of(probe, producer())).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert_closed(probe)


async def test_reading_on_to_the_end_still_reports_the_disconnect() -> None:
    probe = Probe()
    gone = anyio.Event()

    async def producer() -> AsyncIterator[str]:
        yield "Hel"
        await gone.wait()
        for _ in range(1000):  # more than any buffer: nobody reads it
            yield "lo"

    app = stream_of(probe, producer(), on_disconnect="complete")
    async with Client(app).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await settle()
        gone.set()
        await response.returned()
    (result,) = probe.results
    assert (result.outcome, result.disconnected) == ("finished", True)
    assert result.message.text == "Hel" + "lo" * 1000


@pytest.mark.parametrize("policy", ["cancel", "complete"])
async def test_a_producer_that_never_suspends_starves_nobody_after_its_client_left(
    policy: Any,
) -> None:
    probe = Probe()
    others_ran = 0

    async def producer() -> AsyncIterator[str]:
        while others_ran < 50:
            yield ""

    async with Client(stream_of(probe, producer(), on_disconnect=policy)).stream("GET", "/") as r:
        r.disconnect()
        with anyio.fail_after(10):
            while others_ran < 50:
                others_ran += 1
                await anyio.lowlevel.checkpoint()
        await r.returned()
    assert len(probe.results) == 1


async def test_a_stalled_reader_blocks_the_producer_and_is_given_up_in_time() -> None:
    probe, clock = Probe(), ManualClock()
    yielded = 0

    async def producer() -> AsyncIterator[str]:
        nonlocal yielded
        probe.began()
        try:
            while True:
                yielded += 1
                yield "x" * 100
        finally:
            await probe.closed("finally")

    app = stream_of(
        probe, producer(), clock=clock, send_timeout=30, heartbeat_interval=5, buffer_events=16
    )
    async with Client(app).stream("GET", "/") as response:
        await blocked(response)
        held = yielded
        await clock.advance(29)
        assert yielded == held
        assert probe.results == []
        await clock.advance(1)
        await response.returned()
    assert_closed(probe, "stalled")
    assert response.aborted
