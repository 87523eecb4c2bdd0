"""Nothing is shared between event loops, apps and processes but one weak map of tickers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    LLMStream,
    LLMStreamError,
    StreamOptions,
    StreamResult,
)
from asgi_llmstream.testing import Client

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def make(name: str, results: list[Any]) -> ChatApp:
    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        for _ in range(20):
            yield name
            await anyio.lowlevel.checkpoint()

    return ChatApp(
        answer,
        models=[name],
        on_finish=results.append,
        options=StreamOptions(heartbeat_interval=0.01, idle_timeout=5),
    )


async def ask(app: ChatApp) -> str:
    response = await Client(app).request("POST", "/chat/completions", json=HELLO)
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio")])
def test_one_app_serves_two_event_loops_in_two_threads_at_once(backends: tuple[str, str]) -> None:
    results: list[Any] = []
    app = make("x", results)
    together = threading.Barrier(2)
    answers: list[list[str]] = []

    async def main() -> None:
        await anyio.to_thread.run_sync(together.wait, 10)
        answers.append([await ask(app) for _ in range(50)])

    threads = [
        threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": b}) for b in backends
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [["x" * 20] * 50] * 2
    assert len(results) == 100


@pytest.mark.anyio
async def test_twenty_apps_in_one_process_do_not_mix() -> None:
    results: list[list[Any]] = [[] for _ in range(20)]
    apps = [make(f"app{n} ", results[n]) for n in range(20)]
    answers: dict[int, str] = {}

    async def one(n: int) -> None:
        answers[n] = await ask(apps[n])

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(one, n)
    assert answers == {n: f"app{n} " * 20 for n in range(20)}
    assert [len(finished) for finished in results] == [1] * 20


@pytest.mark.skipif(sys.platform == "win32", reason="fork is POSIX's")
def test_a_process_that_was_forked_after_the_import_streams_and_drains_by_itself() -> None:
    program = """
import os, signal, sys
import anyio
from asgi_llmstream import LLMStream, StreamOptions, collect, drain, draining
from asgi_llmstream.testing import Client

async def silent():
    yield "Hel"
    await anyio.sleep_forever()

async def stream():
    options = StreamOptions(shutdown_grace=0.05)
    async with Client(LLMStream(silent, options=options)).stream("GET", "/") as response:
        await response.chunk()
        drain()
        await response.read_to_end()
        assert b'"error"' in response.body

async def short():
    assert (await collect(["a"])).text == "a"
    assert not draining()

anyio.run(short)
child = os.fork()
if child == 0:
    anyio.run(stream)
    os._exit(0)
anyio.run(short)
_, status = os.waitpid(child, 0)
anyio.run(short)
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_streams_work_where_tasks_begin_to_run_when_they_are_made() -> None:
    results: list[StreamResult] = []

    async def words() -> AsyncIterator[str]:
        yield "Hel"
        yield "lo"

    async def silent() -> AsyncIterator[str]:
        yield "Hel"
        await asyncio.sleep(60)

    async def broken() -> AsyncIterator[str]:
        raise LLMStreamError("broken")
        yield

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        for producer in (words, broken, lambda: iter(["Hel", "lo"])):
            stream = LLMStream(producer, on_finish=results.append)
            await Client(stream).request("GET", "/")
        stream = LLMStream(silent, on_finish=results.append)
        async with Client(stream).stream("GET", "/") as response:
            await response.chunk()
            response.disconnect()

    asyncio.run(main())
    outcomes = [result.outcome for result in results]
    assert outcomes == ["finished", "error", "finished", "disconnected"]
    assert results[0].message.text == results[2].message.text == "Hello"
