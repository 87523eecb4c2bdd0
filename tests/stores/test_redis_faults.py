"""What a store in a server does when the server, or the way to it, does not what it should."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from asgi_llmstream.stores import LeaseHeld, NewRun, RedisStore, Stale, StoreUnavailable, UnknownRun
from asgi_llmstream.testing import settle
from asgi_llmstream.testing.store_contract.stage import ADA, begin, event, events, history
from tests.support.valkey import Proxy, keys_of, new_server, shared_server, stores

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture
def server() -> Iterator[Any]:
    """A server of the test's own, to be maltreated."""
    server = new_server()
    yield server
    server.terminate()


@asynccontextmanager
async def store_behind_a_proxy(**settings: Any) -> AsyncIterator[tuple[RedisStore, Proxy]]:
    async with Proxy(shared_server().port).running() as proxy:
        async with stores(url=f"redis://127.0.0.1:{proxy.port}", **settings) as ((store,), _):
            yield store, proxy


async def tries(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the store is there again, as the writer does."""
    with anyio.fail_after(20):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await anyio.sleep(0.02)


class TestLostAnswers:
    """The server has done it, and the client library has repeated it, and nobody heard."""

    @asynccontextmanager
    async def lost(self, proxy: Proxy) -> AsyncIterator[None]:
        proxy.loses_answers = True
        with pytest.raises(StoreUnavailable):
            yield
        proxy.loses_answers = False

    async def test_of_a_beginning(self) -> None:
        async with store_behind_a_proxy() as (store, proxy):
            old = await begin(store, "old", key="chat", request="a")
            new = NewRun(owner=ADA, id="run", key="chat", request="b")
            async with self.lost(proxy):
                await store.begin(new)
            again = await store.begin(new)
            assert (again.state.run.id, again.epoch, again.replaced) == ("run", 1, "old")
            assert [state.run.id for state in await store.list_runs(ADA)] == ["run", "old"]
            assert (await old.state()).stopping

    async def test_of_events(self) -> None:
        async with store_behind_a_proxy() as (store, proxy):
            run = await begin(store)
            await run.append(0, events(1, 2))
            async with self.lost(proxy):
                await run.append(2, events(3, 5))
            assert (await run.append(2, events(3, 5))).last == 5
            assert (await run.append(5, events(6, 6))).last == 6
            assert (await run.read()).events == events(1, 6)

    async def test_of_the_end(self) -> None:
        async with store_behind_a_proxy() as (store, proxy):
            run = await begin(store)
            async with self.lost(proxy):
                await run.append(0, [event(1), b"end"], "finished")
            state = await run.append(0, [event(1), b"end"], "finished")
            assert (state.last, state.outcome) == (2, "finished")
            assert await run.read() == (state, history(2))

    async def test_of_a_seal(self) -> None:
        async with store_behind_a_proxy(lease=0.01) as (store, proxy):
            run = await begin(store)
            with anyio.fail_after(10):
                while True:  # until its lease is over, which nobody says who is cut off
                    with contextlib.suppress(LeaseHeld):
                        async with self.lost(proxy):
                            await run.seal(0)
                        proxy.loses_answers = False
                        state = await run.seal(0)
                        break
            assert await run.read() == (state, [b"lost"])
            with pytest.raises(Stale):
                await run.end(0)

    async def test_of_a_stop_and_an_erasure(self) -> None:
        async with store_behind_a_proxy() as (store, proxy):
            run = await begin(store)
            async with self.lost(proxy):
                await run.stop()
            assert (await run.stop()).stopping
            async with self.lost(proxy):
                await run.forget()
            await run.forget()
            with pytest.raises(UnknownRun):
                await run.read()

    async def test_the_log_says_why(self, caplog: pytest.LogCaptureFixture) -> None:
        async with store_behind_a_proxy() as (store, proxy):
            with caplog.at_level(logging.WARNING, "asgi_llmstream"):
                async with self.lost(proxy):
                    await begin(store)
            assert "ConnectionError" in caplog.text


class TestServer:
    async def test_one_that_comes_back_empty_has_no_runs_and_takes_new_ones(
        self, server: Any
    ) -> None:
        async with stores(url=server.connection_url) as ((store,), _):
            run = await begin(store, key="chat")
            await run.append(0, events(1, 3))
            port = server.port
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, 3)
                    tasks.start_soon(run.wait, None)
                    await settle()
                    server.terminate()
                    with pytest.raises(StoreUnavailable):
                        await run.read()
            again = await anyio.to_thread.run_sync(new_server, port)
            try:
                with pytest.raises(UnknownRun):
                    await tries(lambda: run.append(3, events(4, 4)))
                with anyio.fail_after(5):
                    await run.wait(3)
                new = await begin(store, "new", key="chat")
                await new.append(0, events(1, 1))
                assert (await new.read()).events == events(1, 1)
            finally:
                await store.aclose()
                again.terminate()

    async def test_waiting_for_one_that_is_away_ends_soon_and_raises_nothing(
        self, server: Any
    ) -> None:
        async with stores(url=server.connection_url) as ((store,), _):
            run = await begin(store)
            server.terminate()
            with anyio.fail_after(10):
                for after in (0, None):
                    await run.wait(after)

    async def test_one_that_forgot_the_scripts_is_told_them_again(self, server: Any) -> None:
        async with stores(url=server.connection_url) as ((store,), client):
            run = await begin(store)
            await run.append(0, events(1, 1))
            await client.script_flush()
            async with anyio.create_task_group() as tasks:  # several in one round trip
                for _ in range(5):
                    tasks.start_soon(run.append, 1, events(2, 2))
            assert (await run.read()).events == events(1, 2)

    async def test_one_without_memory_is_away_and_changes_nothing(
        self, server: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with stores(url=server.connection_url) as ((store,), client):
            run = await begin(store, key="chat", request="a")
            await run.append(0, events(1, 2))
            keys = await keys_of(client, store)
            await client.config_set("maxmemory", "1mb")
            for ask in (
                partial(run.append, 2, events(3, 3)),
                partial(run.end, 2),
                partial(begin, store, "next", key="chat", request="b"),
            ):
                with pytest.raises(StoreUnavailable):
                    await ask()
            assert "OOM" in caplog.text or "OutOfMemory" in caplog.text
            assert sorted(await keys_of(client, store)) == sorted(keys)
            assert await run.read() == (await run.state(), events(1, 2))
            assert (await run.stop()).stopping
            await client.config_set("maxmemory", "0")
            assert (await run.append(2, events(3, 3))).last == 3
            await client.config_set("maxmemory", "1mb")
            await run.forget()
            assert await keys_of(client, store) == []

    async def test_one_that_became_a_replica_is_away(self, server: Any) -> None:
        async with stores(url=server.connection_url) as ((store,), client):
            run = await begin(store)
            await client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable):
                await run.append(0, events(1, 1))
            await client.replicaof("NO", "ONE")
            assert (await run.append(0, events(1, 1))).last == 1
