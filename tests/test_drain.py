"""SIGTERM and Ctrl-C with many open silent streams, on every server: all end, and visibly."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

STREAMS = 50
BODY = b'{"stream": true, "messages": [{"role": "user", "content": "hi"}]}'
REQUEST = (
    b"POST /chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)

APP = "silent_app:app"
SERVERS = {
    "uvicorn": "uvicorn {app} --port {port}",
    "uvicorn, asyncio and h11": "uvicorn {app} --port {port} --loop asyncio --http h11",
    "uvicorn, 2 workers": "uvicorn {app} --port {port} --workers 2",
    "uvicorn, reloading": "uvicorn {app} --port {port} --reload --reload-dir {here}",
    "hypercorn": "hypercorn {app} -b 127.0.0.1:{port} -w 0",
    "hypercorn, uvloop": "hypercorn {app} -b 127.0.0.1:{port} -w 0 -k uvloop",
    "hypercorn, trio": "hypercorn {app} -b 127.0.0.1:{port} -w 0 -k trio",
    "hypercorn, a worker process": "hypercorn {app} -b 127.0.0.1:{port} -w 1",
    "granian": "granian --interface asgi {app} --port {port}",
    "granian, 2 workers": "granian --interface asgi {app} --port {port} --workers 2",
}


class Running:
    """A server in a process of its own.

    Attributes:
        process: the server's.
        port: where it listens.
        log: what the app wrote of each `on_finish`.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log


@contextmanager
def running(command: str, directory: Path, **environment: str) -> Iterator[Running]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    log = directory / "log"
    log.touch()
    arguments = [part.format(app=APP, port=port, here=here) for part in command.split()]
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=here,
            env={**os.environ, "LOG": str(log), "PYTHONPATH": str(here), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        workers = 2 if "--workers 2" in command else 1
        _wait_until_it_accepts(port, process, directory / "out", workers)
        yield Running(process, port, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# What each worker says when it is ready. A signal that comes before it has set its own handler
# is lost on granian, which then waits for that worker for ever.
_READY = ("Started worker-", "Application startup complete", "Running on")


def _wait_until_it_accepts(
    port: int, process: subprocess.Popen[bytes], out: Path, workers: int
) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up and process.poll() is None:
        said = out.read_text()
        if sum(map(said.count, _READY)) >= workers:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not start")


async def open_streams_then(port: int, told: asyncio.Event) -> list[bytes]:
    """What each client got; sets `told` when all have their first token."""
    speaking = 0

    async def read() -> bytes:
        nonlocal speaking
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        body = await reader.readuntil(b'"Hel"')
        speaking += 1
        if speaking == STREAMS:
            told.set()
        with suppress(ConnectionError):
            body += await reader.read(-1)
        writer.close()
        return body

    return await asyncio.gather(*(read() for _ in range(STREAMS)))


def stop_with_open_streams(server: Running, signum: int, *, group: bool = False) -> list[bytes]:
    async def main() -> list[bytes]:
        told = asyncio.Event()
        clients = asyncio.create_task(open_streams_then(server.port, told))
        await asyncio.wait_for(told.wait(), 30)
        if group:
            os.killpg(server.process.pid, signum)
        else:
            server.process.send_signal(signum)
        return await asyncio.wait_for(clients, 30)

    bodies = asyncio.run(main())
    server.process.wait(30)
    return bodies


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("server", SERVERS)
def test_every_open_stream_ends_visibly_and_the_process_exits(
    server: str, signum: int, tmp_path: Path
) -> None:
    with running(SERVERS[server], tmp_path) as process:
        # A terminal sends Ctrl-C to the whole group.
        bodies = stop_with_open_streams(process, signum, group=signum == signal.SIGINT)
    ended = [b'"error"' in body and b"[DONE]" in body for body in bodies]
    assert ended.count(True) == STREAMS, (tmp_path / "out").read_text()[-2000:]
    outcomes = process.log.read_text().split()
    assert len(outcomes) == STREAMS
    assert set(outcomes) <= {"shutdown", "cancelled"}
    # hypercorn's worker and trio's Ctrl-C leave tracebacks of their own.
    assert "asgi_llmstream" not in (tmp_path / "out").read_text()


# One process, looked at from inside.

PROGRAM = """
import signal, sys
from collections.abc import AsyncIterator
import anyio
from asgi_llmstream import LLMStream, StreamOptions, drain, draining
from asgi_llmstream.testing import Client

calls = []
def theirs(signum, frame):
    calls.append(signum)

async def silent():
    yield "Hel"
    await anyio.sleep_forever()

async def polite():
    yield "Hel"
    while not draining():
        await anyio.sleep(0.01)
    yield " and goodbye"

def stream(producer, **options):
    options = {"shutdown_grace": 0.1} | options
    return Client(LLMStream(producer, options=StreamOptions(**options)))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        timeout=30,
    )


def assert_passes(program: str) -> None:
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_handlers_that_stood_before_are_called_and_stand_again_after_the_last_stream() -> None:
    assert_passes("""
signal.signal(signal.SIGTERM, theirs)
async def main():
    async with stream(silent).stream("GET", "/") as first:
        await first.chunk()
        assert signal.getsignal(signal.SIGTERM) is not theirs
        async with stream(silent).stream("GET", "/") as second:
            await second.chunk()
        assert signal.getsignal(signal.SIGTERM) is not theirs
    assert signal.getsignal(signal.SIGTERM) is theirs
    async with stream(silent).stream("GET", "/") as third:
        await third.chunk()
        signal.raise_signal(signal.SIGTERM)
        await third.read_to_end()
        assert b'"error"' in third.body
    assert calls == [signal.SIGTERM]
anyio.run(main)
""")


def test_a_handler_that_is_set_later_and_chains_keeps_both() -> None:
    assert_passes(
        """
async def main():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        before = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *args: (theirs(*args), before(*args)))
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        async with stream(silent).stream("GET", "/") as second:   # chains in front of theirs
            await second.chunk()
            signal.raise_signal(signal.SIGTERM)
            await response.read_to_end()
            await second.read_to_end()
    assert calls == [signal.SIGTERM]
    assert b'"error"' in response.body
signal.signal(signal.SIGTERM, theirs)
anyio.run(main)
""".replace("assert calls == [signal.SIGTERM]", "assert calls == [signal.SIGTERM] * 2")
    )


def test_where_the_signal_would_end_the_process_the_streams_end_first() -> None:
    done = run("""
async def main():
    said = LLMStream(
        silent,
        options=StreamOptions(shutdown_grace=0.1),
        on_finish=lambda result: print(result.outcome, flush=True),
    )
    async with Client(said).stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        print("still here", flush=True)
        await response.read_to_end()
    await anyio.sleep(30)
anyio.run(main)
""")
    assert done.returncode == -signal.SIGTERM
    assert done.stdout.splitlines() == ["still here", "shutdown"]


def test_a_drain_gives_producers_time_to_end_by_themselves_and_refuses_new_requests() -> None:
    assert_passes("""
async def main():
    async with stream(polite, shutdown_grace=20).stream("GET", "/") as response:
        await response.chunk()
        drain()
        refused = await stream(polite).request("GET", "/")
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "shutting_down"
        await response.read_to_end()
    assert b"and goodbye" in response.body
    assert b'"error"' not in response.body
anyio.run(main)
""")


def test_a_drain_from_another_thread_reaches_streams_of_a_loop_in_no_main_thread() -> None:
    assert_passes("""
import threading
ready = threading.Event()
def other():
    async def main():
        async with stream(silent).stream("GET", "/") as response:
            await response.chunk()
            ready.set()
            await response.read_to_end()
        assert b'"error"' in response.body
    anyio.run(main)
thread = threading.Thread(target=other)
thread.start()
assert ready.wait(10)
drain()
thread.join(10)
assert not thread.is_alive()
""")


def test_a_server_that_is_started_anew_does_not_inherit_the_end_of_the_last() -> None:
    assert_passes("""
async def first():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        drain()
        await response.read_to_end()
async def second():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        assert not draining()
anyio.run(first)
anyio.run(second)
""")


def test_an_early_drain_is_a_503_for_whom_nothing_was_sent_yet() -> None:
    assert_passes("""
async def never():
    await anyio.sleep_forever()
    yield
async def main():
    async with stream(never).stream("GET", "/") as response:
        await anyio.lowlevel.checkpoint()
        drain()
        await response.read_to_end()
    assert response.status == 503
anyio.run(main)
""")


def test_nothing_happens_at_import() -> None:
    assert_passes("""
for sig in (signal.SIGTERM, signal.SIGINT):
    assert signal.getsignal(sig) in (signal.SIG_DFL, signal.default_int_handler)
""")


def test_a_stream_that_does_not_end_in_time_holds_up_the_process_no_longer() -> None:
    done = run("""
async def stubborn():
    yield "Hel"
    while True:
        try:
            await anyio.sleep_forever()
        except BaseException:
            pass

async def main():
    client = stream(stubborn, shutdown_grace=0.1, close_timeout=0.1)
    async with client.stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        await response.read_to_end()
        await anyio.sleep_forever()
anyio.run(main)
""")
    assert done.returncode == -signal.SIGTERM


def test_a_second_signal_does_not_wait_for_the_streams() -> None:
    done = run("""
async def main():
    async with stream(silent, shutdown_grace=1000).stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        print("waiting", flush=True)
        signal.raise_signal(signal.SIGTERM)
        print("never", flush=True)
anyio.run(main)
""")
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "waiting\n"
