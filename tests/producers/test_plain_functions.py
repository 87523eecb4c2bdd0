"""A plain function runs in a thread of its own, and whoever holds the event loop is named."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    LLMStream,
    StreamOptions,
    StreamResult,
    Text,
    accumulate,
    collect,
)
from asgi_llmstream.runtime import blocking
from asgi_llmstream.testing import Client, ManualClock, settle
from tests.support.shapes import Log, SyncIterator

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Ada"}]}
user: ContextVar[str] = ContextVar("user", default="nobody")


async def until(event: threading.Event) -> None:
    """Wait for a thread; whoever never says so fails the test."""
    with anyio.fail_after(10):
        while not event.is_set():
            await anyio.lowlevel.checkpoint()


async def test_a_plain_function_holds_up_nobody() -> None:
    entered, gate = threading.Event(), threading.Event()

    def answer(request: ChatRequest) -> str:
        entered.set()
        assert gate.wait(10), "nobody else ran meanwhile"
        return f"Hello, {request.prompt}"

    bodies = []

    async def ask() -> None:
        response = await Client(ChatApp(answer)).request("POST", "/chat/completions", json=CHAT)
        bodies.append(response.json()["choices"][0]["message"]["content"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(entered)
        gate.set()
    assert bodies == ["Hello, Ada"]


async def test_the_thread_that_made_an_iterable_goes_on_stepping_it() -> None:
    user.set("Ada")
    seen: list[tuple[int, str]] = []

    def words() -> Iterator[str]:
        seen.append((threading.get_ident(), user.get()))
        yield "Hello"

    def answer() -> Iterator[str]:
        seen.append((threading.get_ident(), user.get()))
        user.set("Bea")
        return words()

    assert (await collect(answer)).text == "Hello"
    (first, asked_by), (second, seen_by) = seen
    assert first == second != threading.get_ident()
    assert (asked_by, seen_by, user.get()) == ("Ada", "Bea", "Ada")


async def words(*_: object) -> AsyncIterator[str]:
    yield "Hello"


async def awaited(*_: object) -> str:
    return "Hello"


def returns(thing: Callable[[], Any]) -> Callable[[], Any]:
    def answer() -> Any:
        assert threading.current_thread().name == "llmstream"
        return thing()

    return answer


class Made:
    """An async iterable of one's own."""

    def __aiter__(self) -> AsyncIterator[str]:
        return words()


@pytest.mark.parametrize(
    "thing", [words, awaited, lambda: "Hello", lambda: ["Hel", "lo"], lambda: Text("Hello"), Made]
)
async def test_whatever_a_plain_function_returns_is_streamed(thing: Callable[[], Any]) -> None:
    assert (await collect(returns(thing))).text == "Hello"
    turn = accumulate(returns(thing))
    async for _ in turn:
        pass
    assert turn.message.text == "Hello"


class Answers:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def here(self) -> None:
        self.log.append(threading.current_thread().name)

    def plain(self, _: object = None) -> str:
        self.here()
        return "Hello"

    async def coroutine(self, _: object = None) -> str:
        self.here()
        return "Hello"

    def generator(self, _: object = None) -> Iterator[str]:
        self.here()
        yield "Hello"

    async def __call__(self, _: object = None) -> str:
        self.here()
        return "Hello"


@pytest.mark.parametrize(
    ("producer", "in_thread"),
    [
        (lambda a: a.plain, True),
        (lambda a: partial(a.plain, 1), True),
        (lambda a: partial(partial(a.plain), 1), True),
        (lambda a: lambda: a.plain(), False),
        (lambda a: a.coroutine, False),
        (lambda a: partial(a.coroutine, 1), False),
        (lambda a: a, False),
        (lambda a: partial(a, 1), False),
        (lambda a: a.generator, True),  # stepped there
    ],
)
async def test_what_may_block_is_called_in_a_thread_and_nothing_else(
    producer: Callable[[Answers], Any], in_thread: bool
) -> None:
    log: list[str] = []
    assert (await collect(producer(Answers(log)))).text == "Hello"
    assert [name == "llmstream" for name in log] == [in_thread]


async def test_what_a_function_returns_after_its_client_has_left_is_closed() -> None:
    entered, gate, log = threading.Event(), threading.Event(), Log()

    def iterable() -> Any:
        entered.set()
        assert gate.wait(10)
        return SyncIterator(log)

    results: list[StreamResult] = []
    stream = LLMStream(iterable, on_finish=results.append)
    async with Client(stream).stream("GET", "/") as response:
        await until(entered)
        response.disconnect()
        await response.returned()
    assert results[0].outcome == "disconnected"
    gate.set()
    with anyio.fail_after(10):
        while not log.closed:
            await anyio.lowlevel.checkpoint()
    assert log.closed == ["sync iterator"]


async def test_a_coroutine_that_comes_too_late_is_closed_and_no_warning() -> None:
    entered, gate = threading.Event(), threading.Event()
    made = []

    def late() -> Any:
        entered.set()
        assert gate.wait(10)
        made.append(awaited())
        return made[0]

    async with Client(LLMStream(late)).stream("GET", "/") as response:
        await until(entered)
        response.disconnect()
        await response.returned()
    gate.set()
    with anyio.fail_after(10):
        while not made or made[0].cr_frame is not None:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("error", [ValueError, StopIteration, StopAsyncIteration])
async def test_what_a_plain_function_raises_is_an_error_and_no_end(error: Any) -> None:
    def answer() -> Any:
        raise error("secret")

    with pytest.raises(ValueError if error is ValueError else RuntimeError):
        await collect(answer)


# Whoever holds the event loop.


class Hands(ManualClock):
    """A clock that a producer moves by itself, as blocking does."""

    def block(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    monkeypatch.setattr(blocking, "_named", set())
    caplog.set_level(logging.WARNING, "asgi_llmstream")
    return lambda: [record.getMessage() for record in caplog.records]


async def test_a_producer_that_holds_the_event_loop_is_named_once(warned: Any) -> None:
    clock = Hands()

    async def slow(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hel"
        await anyio.lowlevel.checkpoint()
        clock.block(0.7)
        await anyio.lowlevel.checkpoint()
        yield "lo"

    client = Client(ChatApp(slow, options=StreamOptions(clock=clock)))
    for _ in range(2):
        await client.request("POST", "/chat/completions", json=CHAT)
    (message,) = warned()
    assert "test_a_producer_that_holds_the_event_loop_is_named_once.<locals>.slow" in message
    assert "for 0.7 s" in message
    assert "a plain `def`" in message


async def test_each_producer_is_named(warned: Any) -> None:
    clock = Hands()

    async def one() -> AsyncIterator[str]:
        clock.block(1)
        yield "Hello"

    async def two() -> str:
        clock.block(1)
        return "Hello"

    for producer in (one, two, lambda: clock.block(1) or "Hello"):
        await collect(producer, options=StreamOptions(clock=clock))
    assert len(warned()) == 3


async def test_waiting_is_not_blocking_nor_is_what_comes_in_short_turns(warned: Any) -> None:
    clock = Hands()
    options = StreamOptions(clock=clock)

    async def waits() -> AsyncIterator[str]:
        for word in ("Hel", "lo"):
            yield word
            await gate.wait()

    async def in_turns() -> AsyncIterator[str]:
        for word in ("Hel", "lo"):
            clock.block(0.4)
            await anyio.lowlevel.checkpoint()
            clock.block(0.4)
            await anyio.lowlevel.checkpoint()
            yield word

    gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(collect, waits, options=options))
        await settle()
        await clock.advance(5)
        gate.set()
    assert (await collect(in_turns, options=options)).text == "Hello"
    assert warned() == []


async def test_the_warning_can_be_later_or_off(warned: Any) -> None:
    clock = Hands()

    async def slow() -> AsyncIterator[str]:
        clock.block(2)
        yield "Hello"

    for limit in (3, None):
        await collect(slow, options=StreamOptions(clock=clock, block_warning=limit))
    assert warned() == []
