"""What a store has in the server, and how much it asks of it, alone and beside other workers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis, RedisCluster
from redis.crc import key_slot

from asgi_llmstream import ChatApp, ChatRequest
from asgi_llmstream.stores import LeaseHeld, RedisStore, TooManyRuns, Trimmed, UnknownRun
from asgi_llmstream.testing import Client, settle
from asgi_llmstream.testing.store_contract.stage import ADA, BOB, Run, begin, events, history
from tests.support.servers import free_port
from tests.support.valkey import keys_of, new_server, shared_server, stores

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


class TestKeys:
    async def test_its_clock_says_when_a_writer_is_lost_and_a_run_forgotten(self) -> None:
        async with stores(lease=0.05, retention=0.2) as ((store,), client):
            run = await begin(store, key="chat", idempotency_key="once")
            await run.append(0, events(1, 2))
            with anyio.fail_after(10):
                while True:
                    try:
                        assert (await run.seal(2)).outcome == "producer_lost"
                        break
                    except LeaseHeld:
                        pass
                while await keys_of(client, store):
                    pass
            with pytest.raises(UnknownRun):
                await run.read()

    async def test_nothing_is_kept_for_ever(self) -> None:
        async with stores(max_live=5) as ((store,), client):
            names = {"key": "chat", "request": "a", "idempotency_key": "once"}
            live, ended = await begin(store, "live", **names), await begin(store, "ended", BOB)
            await live.append(0, events(1, 2))
            await live.stop()
            await ended.end(0)
            keys = await keys_of(client, store)
            assert len(keys) == 9
            assert [key for key in keys if await client.ttl(key) < 0] == []
            await live.end(2)
            assert [key for key in await keys_of(client, store) if b"}:live:" in key] == []

    async def test_what_expired_leaves_the_lists_of_its_owner(self) -> None:
        async with stores() as ((store,), client):
            for number in range(5):
                run = await begin(store, f"run {number}", key="chat")
                await run.stop()
            for key in await keys_of(client, store):
                if b"}:run:" in key or b"}:events:" in key:
                    await client.delete(key)
            await begin(store, "new", key="chat")
            lists = [key for key in await keys_of(client, store) if b"}:runs:" in key]
            lists += [key for key in await keys_of(client, store) if b"}:key:" in key]
            assert [await client.zcard(key) for key in lists] == [1, 1]

    async def test_a_run_whose_events_were_evicted_is_an_unknown_one(self) -> None:
        async with stores() as ((store,), client):
            run = await begin(store)
            await run.append(0, events(1, 2))
            (key,) = [key for key in await keys_of(client, store) if b"}:events:" in key]
            await client.delete(key)
            for ask in (run.read, run.stop, partial(run.append, 2, events(3, 3))):
                with pytest.raises(UnknownRun):
                    await ask()

    async def test_all_keys_of_an_owner_are_in_one_slot_of_a_cluster(self) -> None:
        async with stores(buckets=64) as ((store,), client):
            slots = set()
            for number in range(20):
                before = {*await keys_of(client, store)}
                names = {"key": "chat", "idempotency_key": "once"}
                await (await begin(store, owner=f"{{owner}} {number}", **names)).append(0, [b"x"])
                new = {key_slot(key) for key in {*await keys_of(client, store)} - before}
                assert len(new) == 1
                slots |= new
            assert len(slots) > 10


class TestWorkers:
    async def test_a_stop_from_one_is_heard_by_another(self) -> None:
        async with stores(2) as ((here, there), _):
            run = await begin(here)
            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, None)
                    await settle()
                    await there.stop(ADA, "run")
            assert (await run.append(0, [])).stopping

    async def test_one_reads_what_another_writes(self) -> None:
        async with stores(2) as ((here, there), _):
            run, found = await begin(here), []

            async def follow() -> None:
                found.extend(await Run(there, ADA, "run", 0).follow())

            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(follow)
                    for after in range(200):
                        await run.append(after, events(after + 1, after + 1))
                    await run.end(200)
            assert found == history(201) * 3

    async def test_an_owners_live_runs_are_counted_in_all_of_them(self) -> None:
        async with stores(2, max_live=2) as ((here, there), _):
            first = await begin(here, "first", key="chat", request="a")
            await begin(there, "second")
            with pytest.raises(TooManyRuns):
                await begin(there, "third")
            assert (await begin(there, "of another", BOB)).epoch > 0
            assert (await begin(there, "joins", key="chat", request="a")).id == "first"
            assert (await begin(there, "replaces", key="chat", request="b")).epoch > 0
            await first.end(0)
            with pytest.raises(TooManyRuns):
                await begin(here, "third")
            await there.forget(ADA, "second")
            assert (await begin(here, "third")).epoch > 0

    async def test_of_a_run_so_many_bytes_are_kept(self) -> None:
        async with stores(max_run_size=10_000) as ((store,), _):
            run = await begin(store)
            for after in range(50):
                await run.append(after, [bytes(1000)])
            state = (
                await run.state_at(50) if hasattr(run, "state_at") else (await run.read(50)).state
            )
            assert 7 <= state.last - state.first + 1 <= 10
            with pytest.raises(Trimmed):
                await run.read(0)
            state = await run.append(50, [bytes(50_000)], "finished")
            assert state.first == state.last == 51
            assert (await run.read(50)).events == [bytes(50_000)]


class TestApps:
    async def test_a_stream_is_followed_and_stopped_at_another_worker(self) -> None:
        async def answer(request: ChatRequest) -> AsyncIterator[str]:
            yield "hello"
            await anyio.sleep_forever()

        asked = {"messages": [{"role": "user", "content": "hi"}]}
        async with stores(2) as (both, _):
            one, other = (ChatApp(answer, store=store) for store in both)
            async with one.lifespan(None), other.lifespan(None):
                with anyio.fail_after(10):
                    async with Client(one).stream("POST", "/text", json=asked) as first:
                        await first.started()
                        path = f"/streams/{first.headers['x-run-id']}"
                        async with Client(other).stream("GET", path) as second:
                            await second.started()
                            for response in (first, second):
                                while b"hello" not in response.body:
                                    await anyio.lowlevel.checkpoint()
                            stopped = await Client(other).request("POST", f"{path}/stop")
                            assert (stopped.status, stopped.json()["outcome"]) == (200, "stopped")
                            await first.read_to_end()
                            await second.read_to_end()


class TestCluster:
    """One of a single node: what is in the wrong slot is refused by it, too."""

    @pytest.fixture
    def server(self) -> Iterator[Any]:
        with free_port() as port:
            server = new_server(**{"cluster-enabled": "yes", "cluster-port": port})
        with SyncRedis.from_url(server.connection_url) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                pass
        yield server
        server.terminate()

    async def test_workers_with_a_cluster_client_write_follow_and_stop(self, server: Any) -> None:
        async with RedisCluster.from_url(server.connection_url) as client:
            here, there = (RedisStore(client, prefix="app", buckets=16) for _ in range(2))
            runs = [
                await begin(here, "run", f"owner {number}", key="chat", idempotency_key="once")
                for number in range(10)
            ]
            found: list[list[bytes]] = []

            async def follow(run: Run) -> None:
                found.append(await run._replace(store=there).follow())

            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    for run in runs:
                        tasks.start_soon(follow, run)
                        tasks.start_soon(run.wait, None)
                    for after in range(5):
                        async with anyio.create_task_group() as writing:
                            for run in runs:
                                more = events(after + 1, after + 1)
                                writing.start_soon(run.append, after, more)
                    for run in runs:
                        await there.stop(run.owner, run.id)
                        await run.end(5)
            assert found == [history(6)] * 10
            assert [len(await there.list_runs(run.owner, "chat")) for run in runs] == [1] * 10
            for store in (here, there):
                await store.aclose()


class TestBells:
    async def test_a_message_that_was_lost_costs_a_third_of_the_lease_at_most(self) -> None:
        async with stores(lease=0.3) as ((store,), client):
            run = await begin(store)
            await run.append(0, events(1, 1))
            (state,) = [key for key in await keys_of(client, store) if b"}:run:" in key]
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, 1)
                    tasks.start_soon(run.wait, None)
                    await settle()
                    await client.hset(state, "outcome", "finished")  # and nobody is told

    async def test_who_waits_while_the_connection_is_cut_hears_of_what_came_in_between(
        self, server: Any
    ) -> None:
        async with stores(url=server.connection_url) as ((store,), client):
            run = await begin(store)
            for after in range(5):
                with anyio.fail_after(5):  # sooner than it would look without being told
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(run.wait, after)
                        await settle()
                        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                        await run.append(after, events(after + 1, after + 1))
            assert (await run.read()).events == events(1, 5)

    async def test_news_that_cannot_be_heard_are_looked_for(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails() -> None:
            raise ConnectionError("no channels here")

        monkeypatch.setattr("asgi_llmstream.stores.redis.store._PAUSE", 0.01)
        async with stores() as ((store,), _):
            run = await begin(store)
            monkeypatch.setattr(store._link.client, "pubsub", fails)
            with anyio.move_on_after(0.1) as waiting:
                await run.wait(0)
            assert waiting.cancelled_caught, "there were none"
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, 0)
                    tasks.start_soon(run.wait, None)
                    await settle()
                    await run.append(0, events(1, 1))
                    await run.stop()
            assert "no channels here" in caplog.text

    async def test_a_subscription_that_got_lost_is_made_again(self) -> None:
        async with stores(lease=0.3) as ((store,), _):
            run, link, lost = await begin(store), store._link, []
            pubsub = link.client.pubsub()
            subscribe = pubsub.subscribe

            async def loses_the_first(*channels: bytes) -> None:
                if lost:
                    await subscribe(*channels)
                else:
                    await pubsub.connect()
                    lost.extend(channels)

            pubsub.subscribe = loses_the_first
            link.client.pubsub = lambda: pubsub
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, 0)
                    while not any(bell.subscriptions for bell in link.bells._bells.values()):
                        await anyio.lowlevel.checkpoint()
                    await run.append(0, events(1, 1))
            assert len(lost) == 1

    async def test_there_are_two_connections_however_many_wait_and_ask(self) -> None:
        name = secrets.token_hex(4)
        url = f"{shared_server().connection_url}?client_name={name}"
        async with stores(url=url) as ((store,), _):
            runs = [await begin(store, f"run {number}") for number in range(100)]
            most = 0
            with anyio.fail_after(20):
                async with Redis.from_url(shared_server().connection_url) as client:
                    async with anyio.create_task_group() as tasks:
                        for run in runs:
                            for after in (0, 0, None):
                                tasks.start_soon(run.wait, after)
                            tasks.start_soon(run.append, 0, [])
                        while most < 2:
                            listed = await client.client_list()
                            most = max(most, sum(it["name"] == name for it in listed))
                        for run in runs:
                            tasks.start_soon(run.end, 0)
                    listed = await client.client_list()
            assert [it["name"] for it in listed].count(name) == most == 2

    async def test_whoever_stops_waiting_is_soon_forgotten_and_so_is_the_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("asgi_llmstream.stores.redis.bells._LINGER", 0.05)
        async with stores() as ((store,), _):
            run = await begin(store)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.wait, 0)
                tasks.start_soon(run.wait, None)
                await settle()
                tasks.cancel_scope.cancel()
            bells = store._link.bells
            assert bells._task is not None
            await asyncio.wait([bells._task], timeout=10)
            assert (bells._task, bells._bells) == (None, {})

    async def test_closing_the_store_wakes_who_waits(self) -> None:
        async with stores() as ((store,), _):
            run = await begin(store)
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.wait, 0)
                    await settle()
                    await store.aclose()


OURS = {"evalsha", "eval", "subscribe", "unsubscribe", "ping", "script|load"}


class TestCommands:
    """Those that clients send; a script's own are none."""

    @staticmethod
    async def sent(client: Redis) -> int:
        stats = await client.info("commandstats")
        names = {name.removeprefix("cmdstat_"): at["calls"] for name, at in stats.items()}
        return sum(many for name, many in names.items() if name in OURS)

    async def test_a_token_is_one_and_a_burst_is_one(self, server: Any) -> None:
        async with stores(url=server.connection_url) as ((store,), client):
            run = await begin(store)
            await run.append(0, events(1, 1))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.wait, None)  # as its writer does
                await settle()
                while not (await client.info("commandstats")).get("cmdstat_subscribe"):
                    pass
                before = await self.sent(client)
                for after in range(1, 101):
                    await run.append(after, events(after + 1, after + 1))
                assert await self.sent(client) - before <= 105  # the writer looks once, too
                before = await self.sent(client)
                for after in range(101, 1101, 20):
                    await run.append(after, events(after + 1, after + 20))
                assert await self.sent(client) - before <= 55
                await run.end(1101)

    async def test_what_is_asked_at_the_same_time_goes_together(self, server: Any) -> None:
        async with stores(url=server.connection_url) as ((store,), client):
            runs = [await begin(store, f"run {number}") for number in range(100)]
            before = (await client.info("stats"))["total_reads_processed"]
            async with anyio.create_task_group() as tasks:
                for run in runs:
                    tasks.start_soon(run.append, 0, events(1, 1))
            assert (await client.info("stats"))["total_reads_processed"] - before < 50
            assert [state.last for state in await store.list_runs(ADA)] == [1] * 100

    async def test_an_answer_in_bursts_takes_one_for_many_tokens(self, server: Any) -> None:
        async def answer(request: ChatRequest) -> AsyncIterator[str]:
            for word in range(1000):
                yield f"{word} "

        asked = {"messages": [{"role": "user", "content": "hi"}]}
        async with stores(url=server.connection_url) as ((store,), client):
            chat = ChatApp(answer, store=store)
            async with chat.lifespan(None):
                await Client(chat).request("POST", "/text", json=asked)
                before = await self.sent(client)
                found = await Client(chat).request("POST", "/text", json=asked)
            assert found.body.startswith(b"0 1 2 ")
            assert 1 < await self.sent(client) - before < 200

    async def test_a_reader_asks_once_for_each_piece_of_news(self, server: Any) -> None:
        async with stores(2, url=server.connection_url) as ((here, there), client):
            run = await begin(here)
            reader = Run(there, ADA, "run", 0)
            await run.append(0, events(1, 1))
            await reader.read()
            with anyio.move_on_after(0.05):
                await reader.wait(1)
            before = await self.sent(client)
            for after in range(1, 51):
                await run.append(after, events(after + 1, after + 1))
                await reader.wait(after)
                assert (await reader.read(after)).events == events(after + 1, after + 1)
            assert await self.sent(client) - before <= 105
