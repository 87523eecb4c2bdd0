"""A conversation's stream, as llama.cpp's page comes back to it: by how many bytes it has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asgi_llmstream import ChatApp, ChatRequest, Reasoning, StreamOptions, ToolCallDelta, Usage
from asgi_llmstream.stores import MemoryStore
from asgi_llmstream.testing import Client, ManualClock

pytestmark = pytest.mark.anyio

CONVERSATION = "7f0c::some/model"


class App:
    """An application that halts in the midst of its answer, and counts its questions."""

    def __init__(self, **settings: Any) -> None:
        self.questions = 0
        self.go_on = anyio.Event()
        self.chat = ChatApp(self._answer, store=MemoryStore(), identify=user_of, **settings)
        self.client = Client(self.chat)

    async def _answer(self, request: ChatRequest) -> AsyncIterator[Any]:
        self.questions += 1
        yield Reasoning("Let me ")
        yield Reasoning("think.")
        yield "Hel"
        yield "lo \u2028 wörld "
        await self.go_on.wait()
        yield "🎉"
        yield ToolCallDelta(0, "call_a", "add", '{"x":')
        yield ToolCallDelta(1, "call_b", "sub", "{")
        yield ToolCallDelta(0, arguments="1}")
        yield ToolCallDelta(1, arguments="}")
        yield Usage(5, 7)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        with anyio.fail_after(20):
            async with self.chat.lifespan():
                try:
                    yield self
                finally:
                    self.go_on.set()  # or its end would be waited for

    @asynccontextmanager
    async def asking(self, conversation: str = CONVERSATION, **headers: str) -> AsyncIterator[Any]:
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
        headers |= {"x-conversation-id": conversation}
        path = "/v1/chat/completions"
        async with self.client.stream("POST", path, json=body, headers=headers) as stream:
            yield stream

    async def looked_up(self, *names: Any, **headers: str) -> Any:
        answer = await self.client.request(
            "POST", "/v1/streams/lookup", json={"conversation_ids": names}, headers=headers
        )
        assert answer.status == 200
        return json.loads(answer.body)


def user_of(scope: Any) -> str | None:
    return next((v.decode() for k, v in scope["headers"] if k == b"x-user"), None)


async def halted(stream: Any) -> bytes:
    """Return what was sent before the answer halts."""
    while "wörld".encode() not in stream.body:
        await stream.chunk()
    return bytes(stream.body)


PLACES = [
    "/v1/stream?conv_id=7f0c%3A%3Asome%2Fmodel&from=",
    "/v1/stream/7f0c%3A%3Asome%2Fmodel?from=",
]


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App().running() as app:
        yield app


@pytest.mark.parametrize("place", PLACES)
async def test_whoever_comes_back_gets_the_bytes_behind_those_that_he_has(
    app: App, place: str
) -> None:
    async with app.asking() as stream:
        first = await halted(stream)
    async with app.client.stream("GET", f"{place}{len(first)}") as rest:
        await rest.started()
        app.go_on.set()
        await rest.read_to_end()
    whole = (await app.client.request("GET", f"{place}0")).body
    assert whole == first + rest.body
    assert whole.endswith(b"data: [DONE]\n\n")
    assert app.questions == 1


async def test_any_byte_is_a_place_to_come_back_to(app: App) -> None:
    app.go_on.set()
    async with app.asking() as stream:
        await stream.read_to_end()
    for size in range(0, len(stream.body) + 3, 3):
        rest = await app.client.request("GET", f"{PLACES[0]}{size}")
        assert (rest.status, rest.body) == (200, stream.body[size:])


async def test_no_heartbeat_stands_between_bytes_that_are_counted() -> None:
    clock = ManualClock()
    options = StreamOptions(clock=clock, heartbeat_interval=1)
    async with App(options=options).running() as app, app.asking() as stream:
        first = await halted(stream)
        await clock.advance(5)
        assert stream.body == first
        app.go_on.set()
        await stream.read_to_end()
        whole = (await app.client.request("GET", f"{PLACES[0]}0")).body
        assert whole == stream.body


async def test_only_those_who_know_a_conversation_look_it_up(app: App) -> None:
    async with app.asking() as stream:
        await halted(stream)
    async with app.asking("other", **{"x-user": "somebody"}) as stream:
        await halted(stream)
    assert await app.looked_up() == []
    assert await app.looked_up("other", 7, None, "7f0") == []
    (live,) = await app.looked_up("7f0c")  # whatever the model
    assert live["conversation_id"] == CONVERSATION
    assert (live["is_done"], live["completed_at"]) == (False, 0)
    app.go_on.set()
    whole = (await app.client.request("GET", f"{PLACES[0]}0")).body
    (done,) = await app.looked_up(CONVERSATION, "other")
    assert (done["is_done"], done["total_bytes"]) == (True, len(whole))
    assert done["completed_at"] >= done["started_at"] > 0


@pytest.mark.parametrize("place", PLACES)
async def test_its_page_stops_and_forgets_it(app: App, place: str) -> None:
    async with app.asking() as stream:
        await halted(stream)
        assert (await app.client.request("DELETE", place)).status == 204
        await stream.read_to_end()
    assert b'"code":"stopped"' in stream.body
    assert await app.looked_up(CONVERSATION) == []
    assert (await app.client.request("GET", f"{place}0")).status == 404
    assert (await app.client.request("DELETE", place)).status == 204


async def test_others_neither_read_nor_stop_it(app: App) -> None:
    async with app.asking() as stream:
        await halted(stream)
    other = {"x-user": "somebody"}
    assert (await app.client.request("GET", f"{PLACES[0]}0", headers=other)).status == 404
    assert (await app.client.request("DELETE", PLACES[0], headers=other)).status == 204
    assert (await app.looked_up(CONVERSATION))[0]["is_done"] is False


async def test_bytes_are_counted_for_those_only_who_name_their_conversation(app: App) -> None:
    app.go_on.set()
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    answer = await app.client.request("POST", "/v1/chat/completions", json=body)
    assert answer.status == 200
    assert await app.looked_up("") == []


@pytest.mark.parametrize("path", ["/stream", "/stream?conv_id=", "/stream?conv_id=x&from=-1"])
async def test_what_is_no_place_is_a_bad_request(app: App, path: str) -> None:
    answer = await app.client.request("GET", path)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["param"] in ("conv_id", "from")
