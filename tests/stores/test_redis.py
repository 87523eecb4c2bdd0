"""The store in a server holds the contract, on a real one."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from asgi_llmstream import ChatApp, ChatRequest, LLMStream, store_lifespan, store_routes
from asgi_llmstream.stores import NewRun, RedisStore, RunState, StreamStore, store_of
from asgi_llmstream.testing import Client, ManualClock
from asgi_llmstream.testing.store_contract import StoreContract
from asgi_llmstream.testing.store_contract.stage import ADA, begin, events, passes
from tests.support.valkey import keys_of, shared_server, stores

BACKENDS = [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")]
if sys.platform != "win32":
    BACKENDS.append(pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """redis-py has no client for trio."""
    return request.param


async def let_pass(server: Redis, prefix: str, seconds: float) -> None:
    """Move all times that the server has for this prefix into the past."""
    by = int(seconds * 1000)
    async for key in server.scan_iter(match=f"{{{prefix}:*", count=10_000):
        if (at := await server.pexpiretime(key)) > 0:
            await server.pexpireat(key, at - by)
        if b"}:run:" in key:
            for field in ("over", "gone", "expiry"):
                if await server.hexists(key, field):
                    await server.hincrby(key, field, -by)
        if b"}:live:" in key:
            for id in await server.zrange(key, 0, -1):
                await server.zincrby(key, -by, id)


class InTime(RedisStore):
    """One that says when a run expires by the test's clock, which is ahead of the server's."""

    passed = 0.0

    def _state(self, head: bytes, run: NewRun) -> RunState:
        state = super()._state(head, run)
        return replace(state, expires=state.expires and round(state.expires + self.passed, 3))


class TestRedisStore(StoreContract):
    """`pass_time` moves what the server has into the past: so no test depends on how busy this
    machine is. That the server's own clock counts has tests of its own."""

    max_events = 100
    store_in_time: InTime

    @asynccontextmanager
    async def open(self, clock: ManualClock) -> AsyncIterator[StreamStore]:
        self.prefix = secrets.token_hex(4)
        self.url = shared_server().connection_url
        times = {"lease": self.lease, "retention": self.retention}
        store = InTime(self.url, prefix=self.prefix, **times, max_events=self.max_events)
        self.store_in_time = store
        try:
            yield store
        finally:
            await store.aclose()

    async def pass_time(self, seconds: float) -> None:
        async with Redis.from_url(self.url) as server:
            await let_pass(server, self.prefix, seconds)
        self.store_in_time.passed += seconds

    async def test_a_run_that_is_renewed_for_long_is_kept(self, store: StreamStore) -> None:
        run = await begin(store, key="chat", request="a", idempotency_key="once")
        for _ in range(20):
            await self.pass_time(self.lease * 0.9)
            await run.append(0, [])
        assert (await begin(store, "again", request="a", idempotency_key="once")).id == "run"
        assert (await begin(store, "again", key="chat", request="a")).id == "run"
        assert [state.run.id for state in await store.list_runs(ADA)] == ["run"]

    async def test_a_terminal_is_an_event_that_the_store_has_not(self, store: StreamStore) -> None:
        run = await begin(store)
        await run.append(0, events(1, 2))
        for after, more in ((2, []), (0, events(1, 2)), (1, events(2, 2))):
            with pytest.raises(ValueError, match="terminal"):
                await run.append(after, more, "finished")
        assert (await run.state()).is_live


@pytest.mark.anyio
class TestClients:
    async def test_a_client_that_is_passed_in_is_used_and_not_closed(self) -> None:
        name = secrets.token_hex(4)
        async with stores(url=f"{shared_server().connection_url}?client_name={name}") as (
            _,
            client,
        ):
            store = RedisStore(client, prefix=secrets.token_hex(4))
            run = await begin(store)
            with anyio.move_on_after(0.05):
                await run.wait(0)
            await store.aclose()
            async with Redis.from_url(shared_server().connection_url) as server:
                names = [it["name"] for it in await server.client_list()]
            assert names.count(name) == 1, "that of the channels is closed, the client's own is not"
            assert (await run.state()).is_live
            await store.aclose()

    async def test_nothing_is_connected_before_the_first_call(self) -> None:
        await RedisStore("redis://nowhere.invalid:1").aclose()

    @pytest.mark.parametrize("scheme", ["redis", "valkey"])
    async def test_an_address_has_one_of_several_schemes(self, scheme: str) -> None:
        url = f"{scheme}://127.0.0.1:{shared_server().port}/1"
        async with stores(url=url.replace("valkey", "redis")) as (_, client):
            store = RedisStore(url, prefix=secrets.token_hex(4))
            await begin(store)
            assert len(await keys_of(client, store)) == 3
            await store.forget(ADA, "run")
            await store.aclose()

    async def test_what_is_no_server_is_refused(self) -> None:
        url = shared_server().connection_url
        for address in ("localhost:6379", "http://localhost", "", "redis://"):
            with pytest.raises(ValueError, match="no address of a Redis server"):
                RedisStore(address)
        with pytest.raises(TypeError, match=r"not redis\.client\.Redis"):
            RedisStore(SyncRedis.from_url(url))
        with pytest.raises(ValueError, match="without decode_responses"):
            RedisStore(Redis.from_url(url, decode_responses=True))
        with pytest.raises(ValueError, match="without braces"):
            RedisStore(url, prefix="{a}")
        for name in ("retention", "lease", "max_events", "max_run_size", "max_live", "buckets"):
            with pytest.raises(ValueError, match=f"{name} must be positive"):
                RedisStore(url, **{name: 0})

    def test_it_runs_on_asyncio_only_and_says_so(self) -> None:
        store = RedisStore("redis://localhost")
        with pytest.raises(RuntimeError, match="on asyncio only"):
            anyio.run(store.list_runs, ADA, backend="trio")

    def test_it_is_used_in_several_event_loops(self) -> None:
        store = RedisStore(shared_server().connection_url, prefix=secrets.token_hex(4))

        async def in_one(id: str) -> list[str]:
            await begin(store, id)
            found = [state.run.id for state in await store.list_runs(ADA)]
            await store.aclose()
            return found

        assert anyio.run(in_one, "first") == ["first"]
        assert anyio.run(in_one, "second") == ["second", "first"]

    async def test_half_an_emoji_is_kept_in_all_that_a_run_begins_with(self) -> None:
        async with stores() as ((store,), _):
            half = "\ud83d"
            new = NewRun(owner=half, id="run", key=half, request=half, idempotency_key=half)
            assert (await store.begin(new)).state.run == new
            assert [state.run for state in await store.list_runs(half, half)] == [new]
            again = NewRun(owner=half, id="again", request=half, idempotency_key=half)
            assert (await store.begin(again)).state.run == new

    async def test_a_call_that_is_cancelled_takes_no_other_with_it(self) -> None:
        async with stores() as ((store,), _):
            run = await begin(store)
            for late in range(8):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run.append, late, events(late + 1, late + 1))
                    async with anyio.create_task_group() as leaving:
                        leaving.start_soon(run.read)
                        await passes(late)
                        leaving.cancel_scope.cancel()
            assert (await run.read()).events == events(1, 8)

    def test_importing_the_package_imports_no_client(self) -> None:
        code = "import sys, asgi_llmstream, asgi_llmstream.stores; sys.exit('redis' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.anyio
class TestAddresses:
    async def test_an_address_does_wherever_a_store_is_given(self) -> None:
        name = secrets.token_hex(4)
        url = f"{shared_server().connection_url}?client_name={name}"

        async def answer(request: ChatRequest) -> AsyncIterator[str]:
            yield "hello"

        chat = ChatApp(answer, store=url)
        async with chat.lifespan(None), store_lifespan(url)(None):
            client = Client(chat)
            asked = {"messages": [{"role": "user", "content": "hi"}]}
            first = await client.request("POST", "/text", json=asked)
            id = first.headers["x-run-id"]
            stream, routes = LLMStream.following(id, store=url), store_routes(url)
            for app, path in ((stream, "/"), (routes, f"/streams/{id}")):
                again = await Client(app).request("GET", path)
                assert (again.status, again.body) == (200, b"hello")
        async with Redis.from_url(url) as server:
            left = [it for it in await server.client_list() if it["name"] == name]
            assert len(left) == 1, "the end of the lifespans closes what the store has open"

    def test_the_same_address_is_the_same_store(self) -> None:
        assert store_of("redis://a") is store_of("redis://a") is not store_of("redis://b")

    @pytest.mark.parametrize("give", [lambda store: ChatApp(str, store=store), store_lifespan])
    def test_an_address_of_nothing_is_refused(self, give: Any) -> None:
        with pytest.raises(ValueError, match="no address of a Redis server"):
            give("sqlite:///streams.db")
