"""However large a request's body is, and whatever it is made of: nobody else waits for it."""

from __future__ import annotations

import gc
import json
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmstream import BadRequest, ChatApp, ChatRequest, StreamOptions
from asgi_llmstream.formats import OpenAIChat
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.testing import Client, ManualClock, settle

MIB = 1024 * 1024
LARGE = "x" * (100 * 1024)
AS_JSON = {"content-type": "application/json"}


def asking(**more: Any) -> dict[str, Any]:
    return {"stream": True, "messages": [{"role": "user", "content": "hi"}], **more}


async def one_word(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello"


# How much there may be in it.


def test_a_body_has_eight_mebibytes_at_most_unless_told() -> None:
    assert StreamOptions().max_body_size == 8 * MIB


def values_in(value: Any) -> int:
    """How many values are inside of `value`; what is empty counts as two."""
    if not isinstance(value, dict | list):
        return 0
    inside = [*value.values()] if isinstance(value, dict) else value
    return sum(1 + values_in(one) for one in inside) if inside else 1


TEXT = st.text(',[{]}"\\:aø', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=20,
)


@given(
    body=st.dictionaries(TEXT, VALUES, max_size=4),
    ascii_only=st.booleans(),
    spaces=st.booleans(),
)
def test_values_are_counted_outside_of_strings(
    body: dict[str, Any], ascii_only: bool, spaces: bool
) -> None:
    body = {"a": [body, {"b": 0}]}
    indent, count = (1 if spaces else None), values_in(body)
    encoded = json.dumps(body, ensure_ascii=ascii_only, indent=indent)
    raw = encoded.encode()
    assert decode_json(raw, max_items=count) == json.loads(raw)
    with pytest.raises(BadRequest, match=f"more than {count - 1} values"):
        decode_json(raw, max_items=count - 1)


@pytest.mark.parametrize(
    "item", [b"[]", b"{}", b"1", b'""', b'{"a":1}', b'["ab"]'], ids=bytes.decode
)
def test_too_many_values_are_refused_before_any_is_made(item: bytes) -> None:
    body = b'{"messages":[' + b",".join([item] * (4 * MIB // len(item))) + b"]}"
    with traced() as allocated:
        with pytest.raises(BadRequest) as refused:
            decode_json(body, max_items=StreamOptions().max_body_items)
        assert allocated()[1] < 4 * len(body)  # copies without what is escaped
    assert refused.value.code == "too_many_values"


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages", "/ui", "/ag-ui"])
async def test_a_body_of_too_many_values_is_a_400_before_any_is_made(path: str) -> None:
    asked: list[ChatRequest] = []

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        asked.append(request)
        yield "Hello"

    app = ChatApp(answer, options=StreamOptions(max_body_items=50))
    response = await Client(app).request("POST", path, json=asking(metadata=[1] * 50))
    assert response.status == 400
    assert b"more than 50 values" in response.body
    assert asked == []


@pytest.mark.anyio
@pytest.mark.parametrize("character", [",", "[{", '"', "\\", '\\",', "1,2\n"])
async def test_a_long_text_is_one_value_whatever_is_in_it(character: str) -> None:
    said = character * 300_000
    seen: list[str] = []

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        seen.append(request.prompt)
        yield "Hello"

    body = asking(messages=[{"role": "user", "content": said}])
    response = await Client(ChatApp(answer)).request("POST", "/chat/completions", json=body)
    assert response.status == 200
    assert seen == [said]


# Who waits for it.


class Held(OpenAIChat):
    """A format that takes its time.

    Attributes:
        go_on: set when it may.
        readers: the threads that it is read in, in their order.
    """

    go_on: ClassVar[threading.Event]
    readers: ClassVar[list[threading.Thread]]

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        self.readers.append(threading.current_thread())
        self.go_on.wait(10)
        return super().decode(fields)


@pytest.fixture
def held() -> Iterator[Held]:
    Held.go_on, Held.readers = threading.Event(), []
    yield Held()
    Held.go_on.set()


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not true():
            await settle()


@pytest.mark.anyio
async def test_a_small_body_is_read_at_once(held: Held) -> None:
    held.go_on.set()
    await Client(ChatApp(one_word, formats=[held])).request(
        "POST", "/chat/completions", json=asking()
    )
    assert held.readers == [threading.current_thread()]


@pytest.mark.anyio
async def test_while_a_large_body_is_read_heartbeats_flow(held: Held) -> None:
    async def silence() -> AsyncIterator[str]:
        yield "Hello"
        await anyio.sleep_forever()

    clock = ManualClock()
    app = ChatApp(
        lambda request: silence() if request.prompt == "hi" else one_word(request),
        formats=[held],
        options=StreamOptions(clock=clock, heartbeat_interval=1),
    )
    held.go_on.set()
    client = Client(app)
    async with client.stream("POST", "/chat/completions", json=asking()) as neighbour:
        await neighbour.chunk()
        held.go_on.clear()
        large = asking(messages=[{"role": "user", "content": LARGE}])
        async with client.stream("POST", "/chat/completions", json=large) as response:
            await until(lambda: len(held.readers) == 2)
            for beats in (1, 2, 3):
                await clock.advance(1)
                assert neighbour.comments == beats
            assert not response.sends
            held.go_on.set()
            await response.read_to_end()
            assert response.status == 200


@pytest.mark.anyio
async def test_large_bodies_are_read_one_after_the_other(held: Held) -> None:
    app = ChatApp(one_word, formats=[held])
    statuses = []

    async def ask() -> None:
        body = asking(pad=LARGE)
        statuses.append((await Client(app).request("POST", "/chat/completions", json=body)).status)

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "llmstream"]

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await until(lambda: len(threads()) == 3 and bool(held.readers))
        await settle()
        assert len(held.readers) == 1
        held.go_on.set()
    assert statuses == [200] * 3
    assert len(set(held.readers)) == 3


@pytest.mark.anyio
async def test_what_is_wrong_with_a_large_body_is_told_as_ever() -> None:
    for body, status in ((asking(n=2), 400), (asking(), 200)):
        body["pad"] = LARGE
        response = await Client(ChatApp(one_word)).request("POST", "/chat/completions", json=body)
        assert response.status == status


# What stays of it.


@contextmanager
def traced() -> Iterator[Callable[[], tuple[int, int]]]:
    """The bytes allocated since, and the most there were; no garbage is collected."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()
        gc.enable()


def long_body() -> bytes:
    return json.dumps(asking(messages=[{"role": "user", "content": "x" * MIB}])).encode()


@pytest.mark.anyio
async def test_the_raw_body_is_let_go_when_the_answer_begins() -> None:
    kept: list[int] = []

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        kept.append(allocated()[0])
        yield "Hello"

    body = long_body()
    with traced() as allocated:
        client = Client(ChatApp(answer), headers=AS_JSON)
        await client.request("POST", "/chat/completions", body=body)
    assert MIB < kept[0] < 1.5 * MIB  # the text, once


@pytest.mark.anyio
async def test_a_body_that_is_refused_is_let_go_at_once() -> None:
    body = long_body()[:-1]
    client = Client(ChatApp(one_word), headers=AS_JSON)
    with traced() as allocated:
        for _ in range(4):
            response = await client.request("POST", "/chat/completions", body=body)
            assert response.status == 400
        assert allocated()[0] < 2 * MIB  # the last one's thread may just be ending
