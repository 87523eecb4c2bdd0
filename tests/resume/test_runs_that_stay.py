"""Runs that a store keeps: they outlive who asked, and whoever may reads them from anywhere."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from msgspec.structs import replace

from asgi_llmstream import StreamOptions, StreamResult
from asgi_llmstream.chunks import Reasoning, Text, ToolCallDelta
from asgi_llmstream.errors import BadRequest, ShuttingDown
from asgi_llmstream.events import (
    CaughtUp,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
)
from asgi_llmstream.resume import Host, NotRunning
from asgi_llmstream.resume.host import TooManyReaders
from asgi_llmstream.stores import Busy, MemoryStore, NewRun, StoreUnavailable, UnknownRun
from asgi_llmstream.testing import settle
from tests.support.kept_runs import (
    ADA,
    OPTIONS,
    Between,
    Switch,
    begin,
    host_of,
    of_store,
    read_to_end,
    said,
    the_same,
)

pytestmark = pytest.mark.anyio

WORDS = [f"{number} " for number in range(20)]


class Producer:
    """Says a word at a time, each when it is told to; ends after the last.

    Attributes:
        begun: how many were.
        said: how many words were asked for.
    """

    def __init__(self, *chunks: Any) -> None:
        self.chunks = chunks or tuple(map(Text, WORDS))
        self.begun = self.said = 0
        self._may_say: float = 0
        self._news = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[Any]:
        self.begun += 1
        for chunk in self.chunks:
            while self.said >= self._may_say:
                await self._news.wait()
            self.said += 1
            yield chunk
        while self._may_say < float("inf"):
            await self._news.wait()

    def say(self, words: float = float("inf")) -> None:
        self._may_say += words
        self._news.set()
        self._news = anyio.Event()


async def test_a_run_goes_on_when_nobody_reads_and_is_whole_for_who_comes_later() -> None:
    store, results = MemoryStore(), list[StreamResult]()
    async with host_of(store) as host:
        producer = Producer()
        await begin(host, producer, on_finish=results.append)
        reader = host.follow(ADA, "run")
        producer.say(3)
        assert said(await read_to_end_of(reader, 3)) == "".join(WORDS[:3])
        reader.leave()
        producer.say()
        events = await read_to_end(host.follow(ADA, "run"))
    assert said(events) == "".join(WORDS)
    (result,) = results
    assert (result.outcome, result.message.text) == ("finished", "".join(WORDS))
    assert not result.disconnected


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_late_joiner_gets_the_past_with_one_event_a_part_then_a_sign_then_what_is_new(
    elsewhere: bool,
) -> None:
    store = MemoryStore()
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer(*map(Reasoning, WORDS[:5]), *map(Text, WORDS))
        await begin(host, producer)
        producer.say(15)
        await settle()
        reader = (other if elsewhere else host).follow(ADA, "run", announces=True)
        await reader.wait()
        past = reader.take()
        assert [e.text for e in past if isinstance(e, PartDelta)] == [
            "".join(WORDS[:5]),
            "".join(WORDS[:10]),
        ]
        assert [type(e) for e in past].count(CaughtUp) == 1
        assert isinstance(past[-1], CaughtUp)
        assert past[-1].seq == past[-2].seq
        producer.say(1)
        rest = await read_to_end(reader, 1)
        assert [e.text for e in rest if isinstance(e, PartDelta)] == [WORDS[10]]
        producer.say()


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("live", [False, True])
async def test_who_comes_back_with_any_cursor_has_all_in_order_and_nothing_twice(
    live: bool, elsewhere: bool
) -> None:
    store = MemoryStore()
    chunks = [Reasoning("a"), Text("b"), Text("c"), ToolCallDelta(0, "1", "f", "{"), Text("d")]
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer(*chunks)
        await begin(host, producer)
        producer.say(4 if live else float("inf"))
        await settle()
        last = len(await of_store(store))
        readers, passed = [], list[list[Any]]()
        for number in range(last if not live else last + 1):
            reader = (other if elsewhere else host).follow(ADA, "run")
            passed.append([])
            await reader.begin_behind(number, passed[-1].append)
            readers.append(reader)
        producer.say()
        for number, reader in enumerate(readers):
            events = await read_to_end(reader)
            whole = await of_store(store)
            assert passed[number] == whole[:number]
            assert the_same(events, whole[number:])


async def test_a_cursor_beyond_the_end_is_refused_and_its_reader_has_left() -> None:
    store = MemoryStore()
    async with host_of(store) as host:
        producer = Producer()
        await begin(host, producer)
        producer.say(2)
        await settle()
        for _ in range(3):
            reader = host.follow(ADA, "run", at_most=1)
            with pytest.raises(BadRequest, match="beyond the end"):
                await reader.begin_behind(99, lambda event: None)
        producer.say()


async def test_as_many_read_in_one_process_as_may() -> None:
    async with host_of(MemoryStore()) as host:
        producer = Producer()
        await begin(host, producer)
        one, two = (host.follow(ADA, "run", at_most=2) for _ in range(2))
        with pytest.raises(TooManyReaders):
            host.follow(ADA, "run", at_most=2)
        one.leave()
        one.leave()
        host.follow(ADA, "run", at_most=2).leave()
        two.leave()
        producer.say()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_who_stalls_slows_nobody_and_reads_the_rest_from_the_store(elsewhere: bool) -> None:
    store = MemoryStore()
    options = replace(OPTIONS, buffer_events=4)
    words = [f"{number} " for number in range(1500)]
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer(*(words[i : i + 1][0] for i in range(len(words))))
        await begin(host, producer, options=options)
        stalled = (other if elsewhere else host).follow(ADA, "run")
        producer.say(1)
        begun = await read_to_end_of(stalled, 1)
        fast = host.follow(ADA, "run", merges=False)
        producer.say()
        assert said(await read_to_end(fast)) == "".join(words)
        assert producer.said == len(words)
        assert said(begun + await read_to_end(stalled)) == "".join(words)


async def read_to_end_of(following: Any, deltas: int) -> list[Any]:
    """So many deltas, and stay."""
    found: list[Any] = []
    with anyio.fail_after(5):
        while sum(isinstance(event, PartDelta) for event in found) < deltas:
            taken = following.take()
            found += taken
            if not taken:
                await following.wait()
    return found


async def test_who_falls_behind_a_run_whose_beginning_is_trimmed_reads_on_with_its_parts() -> None:
    store = MemoryStore(max_events=300)
    words = [f"{number} " for number in range(400)]
    async with host_of(store) as host:
        producer = Producer(*map(Text, words))
        await begin(host, producer, options=replace(OPTIONS, buffer_events=4))
        reader = host.follow(ADA, "run", merges=False)
        producer.say(200)
        begun = await read_to_end_of(reader, 200)
        producer.say(150)
        await settle()
        assert (await store.list_runs(ADA))[0].first > 1
        producer.say()
        rest = await read_to_end(reader)
    assert said(begun + rest) == "".join(words)
    part = next(event.part for event in begun if isinstance(event, PartStarted))
    assert {event.part for event in rest if isinstance(event, PartDelta)} == {part}


async def test_a_trimmed_run_is_followed_elsewhere_from_a_cursor_that_is_kept() -> None:
    store = MemoryStore(max_events=20)
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer(*map(Text, WORDS * 3))
        await begin(host, producer)
        producer.say(50)
        await settle()
        reader = other.follow(ADA, "run")
        reader.begin_at((await store.list_runs(ADA))[0].last)
        events = await read_to_end_after(reader, producer)
        assert [e.text for e in events if isinstance(e, PartDelta)] == (WORDS * 3)[50:]
        assert isinstance(events[-1], RunFinished)
        lost = other.follow(ADA, "run")
        lost.begin_at(1)
        (end,) = await read_to_end(lost)
        assert isinstance(end, RunFailed)
        assert end.status == 410


async def read_to_end_after(reader: Any, producer: Producer) -> list[Any]:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            found: list[Any] = []

            async def read() -> None:
                found.extend(await read_to_end(reader))

            tasks.start_soon(read)
            await settle()
            while producer.said < len(producer.chunks):
                producer.say(1)
                await settle()
            producer.say()
    return found


# Stop and erase.


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("words", [0, 3])
async def test_a_stop_from_anywhere_ends_the_run_for_everybody(words: int, elsewhere: bool) -> None:
    store, results = MemoryStore(), list[StreamResult]()
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer()
        await begin(host, producer, on_finish=results.append)
        readers = [host.follow(ADA, "run"), other.follow(ADA, "run")]
        producer.say(words)
        await settle()
        state = await (other if elsewhere else host).stop(ADA, "run")
        assert state.outcome == "stopped"
        for reader in readers:
            events = await read_to_end(reader)
            assert isinstance(events[-1], RunAborted)
            assert events[-1].is_stop
            assert said(events) == "".join(WORDS[:words])
        again = await other.stop(ADA, "run")
        assert again == state
    assert [result.outcome for result in results] == ["stopped"]
    assert results[0].message.text == "".join(WORDS[:words])


async def test_a_stop_is_heard_in_its_own_process_also_while_the_store_is_away() -> None:
    store, switch, results = MemoryStore(), Switch(), list[StreamResult]()
    async with host_of(Between(store, switch)) as host:
        await begin(host, Producer(), on_finish=results.append)
        switch.away = ("stop",)
        with pytest.raises(StoreUnavailable):
            await host.stop(ADA, "run")
        end = (await read_to_end(host.follow(ADA, "run")))[-1]
        assert isinstance(end, RunAborted)
    assert [result.outcome for result in results] == ["stopped"]


async def test_a_stop_after_the_end_changes_nothing() -> None:
    async with host_of(MemoryStore()) as host:
        producer = Producer()
        await begin(host, producer)
        producer.say()
        events = await read_to_end(host.follow(ADA, "run"))
        assert (await host.stop(ADA, "run")).outcome == "finished"
        assert the_same(await read_to_end(host.follow(ADA, "run")), events)


async def test_a_stop_of_no_run_or_of_another_owners_is_one_of_an_unknown_run() -> None:
    async with host_of(MemoryStore()) as host:
        producer = Producer()
        await begin(host, producer)
        for owner, id in ((ADA, "other"), ("bob", "run")):
            with pytest.raises(UnknownRun):
                await host.stop(owner, id)
            await host.erase(owner, id)
        producer.say()
        assert isinstance((await read_to_end(host.follow(ADA, "run")))[-1], RunFinished)


async def test_erasing_ends_those_who_read_with_an_answer_and_leaves_nothing() -> None:
    store, results = MemoryStore(), list[StreamResult]()
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer()
        await begin(host, producer, on_finish=results.append)
        producer.say(2)
        here, there = host.follow(ADA, "run"), other.follow(ADA, "run")
        await read_to_end_of(here, 1)
        await read_to_end_of(there, 1)
        async with anyio.create_task_group() as tasks:
            ends: list[Any] = []

            async def read(reader: Any) -> None:
                ends.append((await read_to_end(reader))[-1])

            tasks.start_soon(read, here)
            tasks.start_soon(read, there)
            await settle()
            await host.erase(ADA, "run")
            await host.erase(ADA, "run")
        assert {type(end) for end in ends} <= {RunAborted, RunFailed}
        assert all(end.code == "unknown_stream" for end in ends if isinstance(end, RunFailed))
        (end,) = await read_to_end(other.follow(ADA, "run"))
        assert isinstance(end, RunFailed)
        assert end.status == 404
        assert store.size == 0
    assert [result.outcome for result in results] == ["stopped"]


# Starting.


async def test_two_simultaneous_starts_of_the_same_make_one_answer_for_both() -> None:
    store = MemoryStore()
    async with host_of(store) as host, host_of(store) as other:
        producers = [Producer(), Producer()]
        begun: list[Any] = []

        async def start(host: Host, number: int) -> None:
            answer = await begin(
                host, producers[number], id=f"run{number}", key="chat", request="same"
            )
            begun.append(answer)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start, host, 0)
            tasks.start_soon(start, other, 1)
        (id,) = {answer.state.run.id for answer in begun}
        assert sorted(answer.epoch for answer in begun) == [0, 1]
        for producer in producers:
            producer.say()
        both = [await read_to_end(reader.follow(ADA, id)) for reader in (host, other)]
        assert the_same(*both)
        assert sum(producer.begun for producer in producers) == 1


async def test_another_question_in_a_conversation_replaces_the_answer_or_is_refused() -> None:
    store = MemoryStore()
    async with host_of(store) as host, host_of(store) as other:
        old, new = Producer(), Producer()
        await begin(host, old, key="chat", request="one")
        with pytest.raises(Busy) as caught:
            await begin(other, Producer(), id="no", key="chat", request="two", on_busy="refuse")
        assert caught.value.state.run.id == "run"
        begun = await begin(other, new, id="run2", key="chat", request="two")
        assert begun.replaced == "run"
        end = (await read_to_end(other.follow(ADA, "run")))[-1]
        assert isinstance(end, RunAborted)
        assert end.is_stop
        new.say()
        assert said(await read_to_end(host.follow(ADA, "run2"))) == "".join(WORDS)


async def test_the_same_idempotency_key_is_the_same_run_also_after_its_end() -> None:
    async with host_of(MemoryStore()) as host:
        producer, again = Producer(), Producer()
        named = {"idempotency_key": "k", "request": "r"}
        await begin(host, producer, **named)
        producer.say()
        await read_to_end(host.follow(ADA, "run"))
        begun = await begin(host, again, id="run2", **named)
        assert (begun.state.run.id, begun.epoch, again.begun) == ("run", 0, 0)


async def test_a_begin_whose_answer_was_lost_is_asked_again_with_the_same_id() -> None:
    store = MemoryStore()
    lost: list[str] = []

    async def lose_one(name: str, ask: Callable[[], Any]) -> Any:
        answer = await ask()
        if name == "begin" and not lost:
            lost.append(name)
            raise StoreUnavailable()
        return answer

    async with host_of(Between(store, lose_one)) as host:
        producer = Producer()
        begun = await begin(host, producer)
        assert (lost, begun.epoch) == (["begin"], 1)
        producer.say()
        assert said(await read_to_end(host.follow(ADA, "run"))) == "".join(WORDS)


async def test_a_begin_whose_answers_stay_lost_leaves_nothing_and_its_key_is_free() -> None:
    store = MemoryStore()

    async def lose(name: str, ask: Callable[[], Any]) -> Any:
        answer = await ask()
        if name == "begin":
            raise StoreUnavailable()
        return answer

    over: list[str] = []
    async with host_of(Between(store, lose)) as host:
        with pytest.raises(StoreUnavailable):
            await begin(host, Producer(), key="chat", over=lambda: over.append("over"))
    assert (store.size, over) == (0, ["over"])


async def test_a_request_that_is_cancelled_while_its_run_begins_leaves_nothing() -> None:
    store = MemoryStore()
    asked = anyio.Event()

    async def hang(name: str, ask: Callable[[], Any]) -> Any:
        answer = await ask()
        if name == "begin":
            asked.set()
            await anyio.sleep_forever()
        return answer

    async with host_of(Between(store, hang)) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(begin, host, Producer())
        await asked.wait()
        assert store.size > 0
        tasks.cancel_scope.cancel()
    assert store.size == 0


async def test_a_run_that_cannot_be_made_leaves_nothing() -> None:
    store = MemoryStore()
    over: list[str] = []

    def make(log: Any) -> Any:
        raise TypeError("no producer")

    async with host_of(store) as host:
        with pytest.raises(TypeError, match="no producer"):
            await host.begin(new_run(), OPTIONS, make, lambda: over.append("over"))
    assert (store.size, over) == (0, ["over"])


def new_run() -> NewRun:
    return NewRun(owner=ADA, id="run")


# The process.


async def test_without_a_lifespan_the_first_request_says_which_line_is_missing() -> None:
    over: list[str] = []
    with pytest.raises(NotRunning, match=r"FastAPI\(lifespan=chat.lifespan\)"):
        await begin(Host(MemoryStore()), Producer(), over=lambda: over.append("over"))
    assert over == ["over"]


async def test_at_the_end_of_the_lifespan_runs_get_their_grace_and_end_as_shut_down() -> None:
    store, results = MemoryStore(), list[StreamResult]()
    over: list[str] = []
    async with host_of(store) as host:
        producer = Producer()
        await begin(host, producer, on_finish=results.append, over=lambda: over.append("over"))
        reader = host.follow(ADA, "run")
        producer.say(2)
        await settle()
    assert [result.outcome for result in results] == ["shutdown"]
    assert over == ["over"]
    events = await read_to_end(reader)
    assert isinstance(events[-1], RunAborted)
    assert (await store.list_runs(ADA))[0].outcome == "shutdown"


async def test_a_run_whose_lifespan_ends_while_the_store_is_asked_does_not_begin() -> None:
    store, asked, go_on = MemoryStore(), anyio.Event(), anyio.Event()

    async def slow(name: str, ask: Callable[[], Any]) -> Any:
        if name == "begin":
            asked.set()
            await go_on.wait()
        return await ask()

    refused: list[str] = []

    async def start() -> None:
        with pytest.raises(ShuttingDown):
            await begin(host, Producer())
        refused.append("refused")

    async with anyio.create_task_group() as tasks:
        async with host_of(Between(store, slow)) as host:
            tasks.start_soon(start)
            await asked.wait()
        go_on.set()
    assert (refused, store.size) == (["refused"], 0)


async def test_a_run_does_not_end_with_the_request_that_asked_for_it() -> None:
    store, of_request = MemoryStore(), ContextVar[str]("of_request")
    heard: list[str] = []

    async def answer() -> AsyncIterator[str]:
        yield of_request.get()
        await left.wait()
        await anyio.lowlevel.checkpoint()
        yield of_request.get()

    async with host_of(store) as host:
        left = anyio.Event()
        async with anyio.create_task_group() as request:
            of_request.set("ada ")
            await begin(host, answer(), on_finish=lambda result: heard.append(of_request.get()))
            request.cancel_scope.cancel()
        left.set()
        assert said(await read_to_end(host.follow(ADA, "run"))) == "ada ada "
    assert heard == ["ada "]


async def test_a_stop_from_another_event_loop_is_heard() -> None:
    store = MemoryStore()

    async def stop() -> str:
        async with host_of(store) as elsewhere:
            return (await elsewhere.stop(ADA, "run")).outcome

    async with host_of(store) as host:
        await begin(host, Producer())
        assert await anyio.to_thread.run_sync(anyio.run, stop) == "stopped"
        end = (await read_to_end(host.follow(ADA, "run")))[-1]
        assert isinstance(end, RunAborted)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_hosts_keep_no_event_loop_in_memory(anyio_backend: str) -> None:
    store = MemoryStore()

    async def main() -> weakref.ref[Any]:
        host = Host.current(store)
        assert Host.current(store) is host
        async with host.running():
            await begin(host, Producer())
            await settle()
        return weakref.ref(asyncio.get_running_loop())

    loop = await anyio.to_thread.run_sync(anyio.run, main)
    gc.collect()
    assert loop() is None


async def test_nothing_of_a_run_stays_behind_but_what_the_store_keeps() -> None:
    store = MemoryStore()
    async with host_of(store) as host, host_of(store) as other:
        producer = Producer()
        alive = weakref.ref(producer)
        scope = type("Scope", (dict,), {})()
        dead = weakref.ref(scope)
        results: list[str] = []
        await begin(
            host, producer, on_finish=lambda result, scope=scope: results.append(result.outcome)
        )
        readers = [host.follow(ADA, "run"), other.follow(ADA, "run")]
        producer.say()
        for reader in readers:
            await read_to_end(reader)
        await settle()
        assert results == ["finished"]
        for one in (host, other):
            assert [*one._runs, *one._tails, *one._readers, *one._owned] == []
        del producer, scope, reader, readers
        gc.collect()
        assert alive() is None
        assert dead() is None
        assert next(iter(store._owners[ADA].runs.values())).waiting == {}


# A store that is away.


async def test_a_store_that_is_away_for_a_while_is_waited_for() -> None:
    store, switch = MemoryStore(), Switch()
    options = replace(OPTIONS, buffer_events=4)
    async with host_of(Between(store, switch)) as host:
        producer = Producer()
        await begin(host, producer, options=options)
        reader = host.follow(ADA, "run")
        producer.say(1)
        begun = await read_to_end_of(reader, 1)
        switch.away = ("append",)
        producer.say()
        with anyio.fail_after(5):
            while switch.refused < 2:
                await anyio.lowlevel.checkpoint()
        assert producer.said < len(WORDS)  # it fills its bounded memory, and waits
        assert reader.take() == []  # what the store has not does nobody see
        switch.away = ()
        assert said(begun + await read_to_end(reader)) == "".join(WORDS)


async def test_a_store_that_stays_away_ends_the_run_for_those_who_hear_it() -> None:
    store, switch, results = MemoryStore(), Switch(), list[StreamResult]()
    async with host_of(Between(store, switch)) as host:
        producer = Producer()
        options = StreamOptions(store_timeout=0.01)
        await begin(host, producer, options=options, on_finish=results.append)
        reader = host.follow(ADA, "run")
        producer.say(1)
        begun = await read_to_end_of(reader, 1)
        switch.away = ("append", "read")
        producer.say()
        rest = await read_to_end(reader)
    assert said(begun + rest) == WORDS[0]
    end = rest[-1]
    assert isinstance(end, RunFailed)
    assert end.code == "store_unavailable"
    # He may come back with the number that he has, and will miss nothing.
    assert {event.seq for event in rest} == {begun[-1].seq}
    assert [result.outcome for result in results] == ["error"]
    assert isinstance(results[0].error, StoreUnavailable)


async def test_a_store_that_never_answers_is_one_that_is_away() -> None:
    store = MemoryStore()

    async def hang(name: str, ask: Callable[[], Any]) -> Any:
        if name == "append":
            await anyio.sleep_forever()
        return await ask()

    results: list[StreamResult] = []
    async with host_of(Between(store, hang)) as host:
        options = StreamOptions(store_timeout=0.01)
        await begin(host, Producer(), options=options, on_finish=results.append)
        reader = host.follow(ADA, "run")
        (end,) = await read_to_end(reader)
        assert isinstance(end, RunFailed)
        assert end.status == 503
    assert [result.outcome for result in results] == ["error"]


async def test_who_follows_elsewhere_is_told_too_when_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asgi_llmstream.resume.tail._PAUSE", 0.001)
    store, switch = MemoryStore(), Switch()
    async with host_of(store) as host, host_of(Between(store, switch)) as other:
        producer = Producer()
        await begin(host, producer)
        producer.say(1)
        reader = other.follow(ADA, "run")
        begun = await read_to_end_of(reader, 1)
        await settle()
        switch.away = ("read",)
        producer.say(1)
        rest = await read_to_end(reader)
        assert isinstance(rest[-1], RunFailed)
        assert rest[-1].code == "store_unavailable"
        switch.away = ()
        again = other.follow(ADA, "run")
        await again.begin_behind(begun[-1].seq, lambda event: None)
        producer.say()
        assert said(begun + await read_to_end(again)) == "".join(WORDS)


async def test_a_store_with_a_fault_of_its_own_ends_the_run_and_no_event_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with host_of(Between(MemoryStore(), faulty("append"))) as host:
        await begin(host, Producer())
        (end,) = await read_to_end(host.follow(ADA, "run"))
    assert isinstance(end, RunFailed)
    assert "a fault" in caplog.text


async def test_a_store_whose_wait_fails_is_logged_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with host_of(Between(MemoryStore(), faulty("wait"))) as host:
        producer = Producer()
        await begin(host, producer)
        await settle()
        assert "a fault" in caplog.text
        producer.say()
        assert said(await read_to_end(host.follow(ADA, "run"))) == "".join(WORDS)


def faulty(method: str) -> Any:
    async def ask(name: str, ask: Callable[[], Any]) -> Any:
        if name == method:
            raise RuntimeError("a fault")
        return await ask()

    return ask


# A producer that is lost.


async def lost_run(store: MemoryStore) -> None:
    """A run whose process is gone in mid-answer."""
    host = Host(store)
    async with host.running():
        producer = Producer()
        await begin(host, producer, id="model")
        producer.say(2)
        await settle()
        events = (await store.read(ADA, "model", 0, 100)).events
        begun = await store.begin(new_run())
        await store.append(ADA, "run", begun.epoch, 0, events, "")


async def test_a_run_whose_producer_is_lost_is_ended_by_whoever_follows_it() -> None:
    store = MemoryStore(lease=0.01)
    await lost_run(store)
    async with host_of(store) as one, host_of(store) as other:
        first = await read_to_end(one.follow(ADA, "run"))
        second = await read_to_end(other.follow(ADA, "run"))
    assert the_same(first, second)
    assert the_same(first, await of_store(store))
    assert said(first) == "".join(WORDS[:2])
    end = first[-1]
    assert isinstance(end, RunFailed)
    assert end.code == "producer_lost"
    broken = [event for event in first if isinstance(event, PartEnded)]
    assert [(event.text, event.whole) for event in broken] == [("".join(WORDS[:2]), False)]
    assert (await store.list_runs(ADA, ""))[0].outcome == "producer_lost"


async def test_a_producer_that_comes_back_after_its_run_was_ended_gives_way() -> None:
    store, switch, results = MemoryStore(lease=0.02), Switch(), list[StreamResult]()
    async with host_of(Between(store, switch)) as host, host_of(store) as other:
        producer = Producer()
        await begin(host, producer, on_finish=results.append)
        here, there = host.follow(ADA, "run"), other.follow(ADA, "run")
        producer.say(2)
        begun = await read_to_end_of(here, 2)
        switch.away = ("append",)
        producer.say(2)
        ended = await read_to_end(there)
        switch.away = ()
        producer.say()
        rest = await read_to_end(here)
        await settle()
    assert isinstance(ended[-1], RunFailed)
    assert the_same(begun + rest, ended)
    assert the_same(ended, await of_store(store))
    assert [result.outcome for result in results] == ["producer_lost"]
