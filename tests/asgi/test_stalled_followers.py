"""One of ten who follow a kept stream stalls: he is cut, comes back, and nobody else notices."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import pytest

from asgi_llmstream import ChatApp, ChatRequest, MemoryStore, StreamOptions, StreamResult
from asgi_llmstream.testing import Client, ManualClock, check_stream, parse_sse

pytestmark = pytest.mark.anyio

WORDS = [f"{number} " for number in range(300)]


def text_of(body: bytes) -> str:
    events = [json.loads(event.data or "") for event in parse_sse(body)]
    return "".join(event["text"] for event in events if event["type"] == "part-delta")


async def test_who_stalls_is_cut_and_comes_back_and_the_others_notice_nothing() -> None:
    clock, go_on, results = ManualClock(), anyio.Event(), list[StreamResult]()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield WORDS[0]
        await go_on.wait()
        for word in WORDS[1:]:
            yield word

    options = StreamOptions(clock=clock, buffer_events=8)
    store = MemoryStore(clock=clock)
    app = ChatApp(answer, store=store, options=options, on_finish=results.append)
    client = Client(app)
    async with app.lifespan(), AsyncExitStack() as stack:
        asked = client.stream("GET", "/events?prompt=hi")
        async with asked as asker:
            await asker.started()
            path = asker.headers["location"]
        readers = [await stack.enter_async_context(client.stream("GET", path)) for _ in range(10)]
        for reader in readers:
            await reader.started()
            await reader.chunk()
        stalled, *others = readers
        stalled.stall()
        go_on.set()
        for reader in others:
            check_stream(await reader.read_to_end(), "events")
            assert text_of(reader.body) == "".join(WORDS)
        assert [result.outcome for result in results] == ["finished"]
        assert not stalled.complete
        await clock.advance(31)
        await stalled.returned()
        assert stalled.aborted
        last = parse_sse(stalled.body)[-1].id or ""
        rest = await client.request("GET", path, headers={"last-event-id": last})
        check_stream(stalled.body + rest.body, "events")
        assert text_of(stalled.body + rest.body) == "".join(WORDS)
