"""Every answer that `docs/resume.md` says a reader of a kept stream can get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from asgi_llmstream import ChatApp, ChatRequest, MemoryStore, StreamOptions
from asgi_llmstream.stores import StoreUnavailable
from asgi_llmstream.testing import Client, Response, parse_sse

pytestmark = pytest.mark.anyio

EVENT_SOURCE = {"accept": "text/event-stream"}
UNKNOWN = "0" * 32


class Scene:
    """A `ChatApp` whose answers have two halves; the second waits to be let go."""

    def __init__(self, store: MemoryStore | None = None, **settings: Any) -> None:
        self.go_on = anyio.Event()
        self.store = store or MemoryStore()
        self.app = ChatApp(self._answer, store=self.store, **settings)
        self.client = Client(self.app)
        self.get = self.client.request

    async def _answer(self, request: ChatRequest) -> AsyncIterator[str]:
        yield "One, "
        await self.go_on.wait()
        yield "two."

    async def ask(self, **headers: str) -> str:
        """Ask, leave, and return where the stream is."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"prompt": "Hi"}
        asked = self.client.stream("POST", "/events", json=body, headers=named)
        async with asked as response:
            await response.started()
            return response.headers["location"]

    async def end(self, stream: str) -> int:
        """Let it end, and return its last number."""
        self.go_on.set()
        while True:
            state = (await self.read(stream, accept="application/json")).json()
            if not state["live"]:
                return int(state["last"])
            await self.store.wait("", state["id"], state["last"])

    async def read(self, path: str, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request("GET", path, headers=named)


@asynccontextmanager
async def scene(**arguments: Any) -> AsyncIterator[Scene]:
    made = Scene(**arguments)
    with anyio.fail_after(10):
        async with made.app.lifespan():
            try:
                yield made
            finally:
                made.go_on.set()


def code_of(response: Response) -> tuple[int, str]:
    body = response.json()
    return response.status, body.get("error", body)["code"]


async def test_one_that_has_all_of_an_ended_stream_gets_a_204() -> None:
    async with scene() as it:
        stream = await it.ask()
        last = await it.end(stream)
        assert (await it.read(f"{stream}?cursor={last}")).status == 204
        rest = await it.read(f"{stream}?cursor={last - 1}")
        assert [event.event for event in parse_sse(rest.body)][-1] == "run-finished"


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1;2", "1&cursor=2", "\u00e9"])
async def test_a_cursor_that_is_none_is_a_400(cursor: str) -> None:
    async with scene() as it:
        stream = await it.ask()
        assert code_of(await it.read(f"{stream}?cursor={cursor}")) == (400, "bad_cursor")


async def test_a_cursor_behind_the_end_and_an_unknown_format_are_a_400() -> None:
    async with scene() as it:
        stream = await it.ask()
        last = await it.end(stream)
        for query in (f"cursor={last + 1}", "format=gopher"):
            assert (await it.read(f"{stream}?{query}")).status == 400


async def test_unknown_expired_erased_and_foreign_are_one_and_the_same_answer() -> None:
    def identify(scope: Mapping[str, Any]) -> str:
        return dict(scope["headers"])[b"who"].decode()

    async with scene(identify=identify) as it:
        stream = await it.ask(who="ada")
        foreign = await it.read(stream, who="bob")
        unknown = await it.read(f"/streams/{UNKNOWN}", who="ada")
        await it.get("DELETE", stream, headers={"who": "ada"})
        erased = await it.read(stream, who="ada")
        assert code_of(foreign) == (404, "unknown_stream")
        assert unknown.body == erased.body == foreign.body


async def test_without_an_identity_streams_are_not_listed() -> None:
    async with scene() as it:
        assert (await it.read("/streams")).status == 403


async def test_a_trimmed_stream_is_a_410_where_the_beginning_is_needed() -> None:
    async with scene(store=MemoryStore(max_events=4)) as it:
        stream = await it.ask()
        last = await it.end(stream)
        whole = await it.read(f"{stream}?format=chat/completions")
        assert code_of(whole) == (410, "stream_trimmed")
        assert (await it.read(f"{stream}?cursor=1")).status == 410
        assert (await it.read(f"{stream}?cursor={last - 1}")).status == 200


async def test_one_reader_too_many_is_a_429_and_an_event_source_is_told_to_come_back() -> None:
    async with scene(options=StreamOptions(max_readers=1)) as it:
        stream = await it.ask()
        async with it.client.stream("GET", stream) as reader:
            await reader.started()
            assert code_of(await it.read(stream)) == (429, "too_many_readers")
            told = await it.read(stream, **EVENT_SOURCE)
        assert told.status == 200
        [event] = parse_sse(told.body)
        assert (event.event, event.retry) == ("unavailable", 1000)


async def test_a_drain_is_a_503_and_an_event_source_is_told_to_come_back(
    drain: Callable[[], None],
) -> None:
    async with scene() as it:
        stream = await it.ask()
        drain()
        assert (await it.read(stream)).status == 503
        told = await it.read(stream, **EVENT_SOURCE)
        assert (told.status, parse_sse(told.body)[0].event) == (200, "unavailable")


class Away(MemoryStore):
    is_away = False

    async def list_runs(self, owner: str, key: str = "") -> Any:
        if self.is_away:
            raise StoreUnavailable()
        return await super().list_runs(owner, key)

    async def read(self, owner: str, id: str, after: int, limit: int) -> Any:
        if self.is_away:
            raise StoreUnavailable()
        return await super().read(owner, id, after, limit)


async def test_a_store_that_is_away_is_a_503_and_an_event_source_is_told_to_come_back() -> None:
    store = Away()
    async with scene(store=store) as it:
        stream = await it.ask()
        store.is_away = True
        refused = await it.read(stream)
        assert code_of(refused) == (503, "store_unavailable")
        assert refused.headers["retry-after"]
        told = await it.read(stream, **EVENT_SOURCE)
        assert (told.status, parse_sse(told.body)[0].event) == (200, "unavailable")
        store.is_away = False


async def test_a_reader_of_a_stream_that_is_erased_gets_an_ending() -> None:
    async with scene() as it:
        stream = await it.ask()
        async with it.client.stream("GET", stream) as reader:
            await reader.started()
            await reader.event()
            assert (await it.get("DELETE", stream)).status == 204
            await reader.read_to_end()
        assert parse_sse(reader.body)[-1].event in ("run-aborted", "run-failed")


async def test_the_header_of_the_conversation_wins_and_another_question_replaces() -> None:
    async with scene() as it:
        names = {"x-conversation-id": "c"}
        messages = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
        first = await it.ask(x_conversation_id="c")
        body = {"id": "another", "messages": messages, "trigger": "submit-message"}
        asked = it.client.stream("POST", "/ui", json=body, headers=names)
        async with asked as second:
            await second.started()
        state = (await it.read(first, accept="application/json")).json()
        assert (state["live"], state["outcome"], state["key"]) == (False, "stopped", "c")


async def test_requests_without_a_conversation_have_nothing_to_do_with_each_other() -> None:
    async with scene() as it:
        first, second = await it.ask(), await it.ask()
        assert first != second
        for stream in (first, second):
            assert (await it.read(stream, accept="application/json")).json()["live"]


async def test_an_answer_whose_client_has_left_counts_among_those_of_the_application() -> None:
    async with scene(options=StreamOptions(max_streams=1)) as it:
        stream = await it.ask()
        assert (await it.get("POST", "/events", json={"prompt": "Hi"})).status == 503
        await it.end(stream)
        assert (await it.get("POST", "/events", json={"prompt": "Hi"})).status == 200


async def test_a_busy_conversation_may_refuse() -> None:
    async with scene(on_busy="refuse") as it:
        stream = await it.ask(x_conversation_id="c")
        refused = await it.get(
            "POST", "/events", json={"prompt": "Else"}, headers={"x-conversation-id": "c"}
        )
        assert code_of(refused) == (409, "stream_busy")
        assert await it.ask(x_conversation_id="c") == stream  # the same question joins


async def test_the_same_idempotency_key_joins_whatever_the_conversation() -> None:
    async with scene() as it:
        stream = await it.ask(idempotency_key="q", x_conversation_id="c")
        await it.end(stream)
        assert await it.ask(idempotency_key="q", x_conversation_id="d") == stream


@pytest.mark.parametrize(("method", "path"), [("GET", "/events?prompt=Hi"), ("POST", "/ag-ui")])
async def test_the_same_request_with_a_cursor_follows_and_does_not_ask_again(
    method: str, path: str
) -> None:
    body = None
    if method == "POST":
        messages = [{"id": "1", "role": "user", "content": "Hi"}]
        body = {"threadId": "t", "runId": "r", "messages": messages}
        body |= {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
    async with scene() as it:
        async with it.client.stream(method, path, json=body) as response:
            event = await response.event()
            stream = response.headers["location"]
        it.go_on.set()
        headers = {"last-event-id": event.id or ""}
        rest = await it.get(method, path, json=body, headers=headers)
        assert rest.headers["location"] == stream
        assert b"two." in rest.body
        assert event.encode() not in rest.body


async def test_context_variables_and_the_scope_stay_when_the_client_has_left() -> None:
    name: ContextVar[str] = ContextVar("name")
    left = anyio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hello, "
        await left.wait()
        yield name.get()
        yield request.scope["state"]["name"]

    chat = ChatApp(answer, store=MemoryStore())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        name.set("Ada")
        await chat({**scope, "state": {"name": "Bob"}}, receive, send)

    with anyio.fail_after(10):
        async with chat.lifespan():
            async with Client(app).stream("GET", "/events?prompt=Hi") as response:
                await response.started()
                stream = response.headers["location"]
            left.set()
            await Client(app).request("GET", stream)
            message = (await Client(app).request("GET", f"{stream}/message")).json()["message"]
    assert message["content"][0]["text"] == "Hello, AdaBob"
