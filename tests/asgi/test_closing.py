"""Closing that goes wrong: whatever a producer or a hook does, the stream comes to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import LLMStream, StreamResult
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, settle
from tests.support.one_request import Run, finish_reason_of

pytestmark = pytest.mark.anyio


async def test_a_producer_that_ignores_its_cancellation_is_closed_at_its_next_chunk() -> None:
    closed, release = False, anyio.Event()

    async def producer() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield "Hel"
            with anyio.CancelScope(shield=True):
                while not release.is_set():
                    try:
                        await release.wait()
                    except BaseException:
                        pass
            yield "lo"
            yield "never"
        finally:
            closed = True

    run = Run(producer())
    async with Client(run.stream).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await settle()
        assert not closed
        release.set()
        await response.returned()
    assert closed
    assert run.result.outcome == "disconnected"
    assert run.result.message.text == "Hel"


async def test_a_finally_that_hangs_is_cancelled_again(anyio_backend_name: str) -> None:
    ended = False

    async def producer() -> AsyncIterator[Any]:
        nonlocal ended
        try:
            yield "Hel"
            await anyio.sleep_forever()
        finally:
            try:
                await anyio.sleep_forever()
            finally:
                ended = True

    run = Run(producer(), close_timeout=5)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await settle()
        if anyio_backend_name == "asyncio":
            assert not ended
            await run.clock.advance(5)
        await response.returned()
    assert ended
    assert run.result.outcome == "disconnected"


async def test_a_producer_that_survives_both_cancellations_is_abandoned_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = anyio.Event()

    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        with anyio.CancelScope(shield=True):
            while not release.is_set():
                try:
                    await release.wait()
                except BaseException:
                    pass

    run = Run(producer(), close_timeout=5)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await settle()
        await run.clock.advance(5)
        assert run.results == []
        await run.clock.advance(5)
        await response.returned()
    assert run.result.outcome == "disconnected"
    assert "abandoned" in caplog.text
    release.set()
    await settle()
    assert len(run.results) == 1


async def test_an_error_in_on_finish_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hello"

    def on_finish(result: StreamResult) -> None:
        raise ValueError("the database is down")

    response = await Client(LLMStream(producer(), on_finish=on_finish)).request("GET", "/")
    assert finish_reason_of(response) == "stop"
    assert "the database is down" in caplog.text


async def test_a_broken_format_of_ones_own_aborts_the_connection() -> None:
    class Broken(Events):
        def encoder(self) -> Any:
            def encode(event: Any) -> bytes:
                raise ValueError("bug")

            return encode

    async def producer() -> AsyncIterator[Any]:
        yield "Hello"
        await anyio.sleep_forever()

    results: list[StreamResult] = []
    stream = LLMStream(producer(), format=Broken(), on_finish=results.append)
    with pytest.raises(ValueError, match="bug"):
        async with Client(stream).stream("GET", "/") as response:
            await response.returned()
    assert response.aborted
    assert [result.outcome for result in results] == ["error"]
