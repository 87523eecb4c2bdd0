"""SIGTERM and Ctrl-C with many open silent streams, on every server: all end, and visibly.

Again and again, and with the clock: `python -m tests.by_command.drain --times 10`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.by_command.drain import (
    BARE,
    CHAT,
    MIDDLEWARE,
    SERVERS,
    SIGNALS,
    App,
    Server,
    Stopped,
    stop_with_open_streams,
)

# The servers' tests share a pool, and so a process.
pytestmark = pytest.mark.xdist_group("drain")

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


class Case(NamedTuple):
    """What a test has stopped while streams are open."""

    server: Server
    app: App
    signum: int


Pool = dict[Case, Future[Stopped]]


@pytest.fixture(scope="module")
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """Every case that is asked for in this run. Each mostly waits, so a few run at once."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [call.params["stopped"] for call in asked if call and "stopped" in call.params]
    with ThreadPoolExecutor(3) as executor:
        yield {
            case: executor.submit(stop_with_open_streams, *case, tmp_path_factory.mktemp("server"))
            for case in cases
        }
        executor.shutdown(cancel_futures=True)


@pytest.fixture
def stopped(request: pytest.FixtureRequest, pool: Pool) -> Stopped:
    """What became of the server and its streams."""
    return pool[request.param].result()


@on_posix
@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(Case(server, CHAT, signum), id=f"{name}-{signal_name}")
        for name, server in SERVERS.items()
        for signal_name, signum in SIGNALS.items()
    ],
    indirect=True,
)
def test_every_open_stream_ends_visibly_and_the_process_exits(stopped: Stopped) -> None:
    assert stopped.problems == [], stopped.output


@on_posix
@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(Case(SERVERS[name], MIDDLEWARE, signal.SIGTERM), id=name)
        for name in ("uvicorn", "hypercorn", "hypercorn, trio", "granian")
    ],
    indirect=True,
)
def test_the_middleware_ends_streams_of_others_visibly_and_the_process_exits(
    stopped: Stopped,
) -> None:
    assert stopped.problems == [], stopped.output


IMPATIENT = Server(f"{SERVERS['uvicorn'].command} --timeout-graceful-shutdown 1")


@on_posix
@pytest.mark.parametrize(
    "stopped", [Case(IMPATIENT, BARE, signal.SIGTERM)], indirect=True, ids=["uvicorn"]
)
def test_without_the_middleware_only_the_servers_own_timeout_ends_them(stopped: Stopped) -> None:
    assert "timeout graceful shutdown exceeded" in stopped.output


# One process, looked at from inside.

PROGRAM = """
import signal, sys
from collections.abc import AsyncIterator
import anyio
from asgi_llmstream import LLMStream, StreamOptions, drain, draining
from asgi_llmstream.testing import Client, settle

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


def test_a_handler_that_is_set_later_and_does_not_chain_forfeits_the_drain_and_nothing_else() -> (
    None
):
    assert_passes("""
async def main():
    more = anyio.Event()
    async def two_words():
        yield "Hel"
        await more.wait()
        yield "lo"
        await anyio.sleep_forever()

    async with stream(two_words).stream("GET", "/") as response:
        await response.chunk()
        signal.signal(signal.SIGTERM, theirs)
        signal.raise_signal(signal.SIGTERM)
        assert calls == [signal.SIGTERM]
        assert not draining()
        more.set()
        assert b"lo" in await response.chunk()
        drain()
        await response.read_to_end()
    assert b'"error"' in response.body
    assert signal.getsignal(signal.SIGTERM) is theirs
anyio.run(main)
""")


def test_a_handler_that_is_set_later_stands_after_streams_that_ended_by_themselves() -> None:
    assert_passes("""
async def main():
    over = anyio.Event()
    async def one_word():
        yield "Hel"
        await over.wait()

    async with stream(one_word).stream("GET", "/") as response:
        await response.chunk()
        signal.signal(signal.SIGTERM, theirs)
        over.set()
        await response.read_to_end()
    assert b'"error"' not in response.body
    assert signal.getsignal(signal.SIGTERM) is theirs
    async with stream(silent).stream("GET", "/") as response:   # chains in front of theirs
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        await response.read_to_end()
    assert b'"error"' in response.body
    assert calls == [signal.SIGTERM]
anyio.run(main)
""")


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


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("comes_first", ['{"type": "http.request", "more_body": True}', ""])
def test_a_body_that_does_not_come_holds_up_no_process(backend: str, comes_first: str) -> None:
    """As uvicorn and granian wait for open requests, who uploads slowly could."""
    assert_passes(f"""
messages = [{comes_first}]
async def receive():
    if messages:
        return messages.pop()
    waits.set()
    await anyio.sleep_forever()
async def send(message):
    sent.append(message)
async def main():
    app = ChatApp(lambda request: "Hello", options=StreamOptions(shutdown_grace=0.05))
    scope = {{"type": "http", "method": "POST", "path": "/chat/completions",
             "query_string": b"", "headers": [(b"content-type", b"application/json")]}}
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, scope, receive, send)
            await waits.wait()
            drain()
    assert sent[0]["status"] == 503
from asgi_llmstream import ChatApp
waits, sent = anyio.Event(), []
anyio.run(main, backend={backend!r})
""")


def test_nothing_happens_at_import() -> None:
    assert_passes("""
for sig in (signal.SIGTERM, signal.SIGINT):
    assert signal.getsignal(sig) in (signal.SIG_DFL, signal.default_int_handler)
""")


IN_THE_BACKGROUND = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import pytest
test = "{Path(__file__).as_posix()}::test_nothing_happens_at_import"
sys.exit(pytest.main([test, "-q", "-n0", "-p", "no:cacheprovider"]))
"""


def test_it_does_not_matter_that_the_tests_run_in_the_background_of_a_shell() -> None:
    session = subprocess.run(
        [sys.executable, "-c", IN_THE_BACKGROUND],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert session.returncode == 0, session.stdout


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


def test_a_second_ctrl_c_does_not_wait_for_the_streams() -> None:
    done = run("""
async def main():
    async with stream(silent, shutdown_grace=1000).stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGINT)
        print("waiting", flush=True)
        signal.raise_signal(signal.SIGINT)
        print("never", flush=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)
anyio.run(main)
""")
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "waiting\n"


# hypercorn's parent sends its workers two at once: when it stops, and when it exits.
def test_a_second_sigterm_is_the_first_once_more() -> None:
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
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
anyio.run(main)
""")
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "shutdown\n"


def test_a_signal_that_comes_before_the_stream_of_a_request_begins_is_not_missed() -> None:
    assert_passes("""
from asgi_llmstream import ChatApp, LLMStreamMiddleware
from asgi_llmstream.starlette import LLMStreamResponse
from starlette.applications import Starlette
from starlette.routing import Route

signal.signal(signal.SIGTERM, theirs)

async def main():
    retrieved = anyio.Event()
    async def endpoint(request):
        await retrieved.wait()
        return LLMStreamResponse(silent())
    app = LLMStreamMiddleware(Starlette(routes=[Route("/", endpoint)]))
    async with Client(app).stream("GET", "/") as response:
        await settle()
        signal.raise_signal(signal.SIGTERM)
        retrieved.set()
        await response.read_to_end()
    assert response.status == 503
    assert calls == [signal.SIGTERM]

async def other():
    # ChatApp guards its own requests, from the first byte of their body on.
    sent = anyio.Event()
    async def slowly(scope, receive, send):
        async def receive_slowly():
            await sent.wait()
            return await receive()
        await ChatApp(lambda request: silent())(scope, receive_slowly, send)
    question = {"stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with Client(slowly).stream("POST", "/chat/completions", json=question) as response:
        await settle()
        signal.raise_signal(signal.SIGTERM)
        sent.set()
        await response.read_to_end()
    assert response.status == 503

anyio.run(main)
anyio.run(other)
assert calls == [signal.SIGTERM] * 2
""")


def test_a_middleware_leaves_the_handlers_as_they_were() -> None:
    assert_passes("""
from asgi_llmstream import LLMStreamMiddleware

async def app(scope, receive, send):
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    assert signal.getsignal(signal.SIGTERM) is not theirs
    await send({"type": "http.response.body", "body": b"data: a"})

async def main():
    await Client(LLMStreamMiddleware(app)).request("GET", "/")
    assert signal.getsignal(signal.SIGTERM) is theirs

signal.signal(signal.SIGTERM, theirs)
anyio.run(main)
""")


def test_a_handler_that_replaced_ours_is_chained_by_the_next_stream() -> None:
    assert_passes("""
async def main():
    async with stream(silent).stream("GET", "/") as first:
        await first.chunk()
        signal.signal(signal.SIGTERM, theirs)
        async with stream(silent).stream("GET", "/") as second:
            await second.chunk()
            signal.raise_signal(signal.SIGTERM)
            await first.read_to_end()
            await second.read_to_end()
    assert calls == [signal.SIGTERM]
anyio.run(main)
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_is_forked_in_mid_stream_dies_of_sigterm_as_before() -> None:
    done = run("""
import os

async def main():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            os.write(tell, b"x")  # what comes earlier Python itself forgets
            signal.pause()
            os._exit(0)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        print(os.WIFSIGNALED(status), flush=True)
anyio.run(main)
""")
    assert done.stdout == "True\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_is_forked_in_mid_stream_drains_streams_of_its_own() -> None:
    done = run("""
import asyncio, os

signal.signal(signal.SIGTERM, theirs)

async def of_the_child():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        await response.read_to_end()
    return b'"error"' in response.body

async def main():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        child = os.fork()
        if not child:
            try:
                signal.alarm(20)
                os._exit(0 if asyncio.run(of_the_child()) and calls == [signal.SIGTERM] else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)
anyio.run(main)
""")
    assert done.stdout == "0\n", done.stderr


def test_a_signal_that_waits_is_raised_also_if_the_last_stream_ends_elsewhere() -> None:
    done = run("""
import threading
began, told = threading.Event(), threading.Event()

def other():
    async def main():
        async with stream(silent, shutdown_grace=0.5).stream("GET", "/") as response:
            await response.chunk()
            began.set()
            await response.read_to_end()
            print(b'"error"' in response.body, flush=True)
    anyio.run(main)

async def main():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        await response.read_to_end()
    await anyio.sleep_forever()

threading.Thread(target=other, daemon=True).start()
assert began.wait(10)
anyio.run(main)
""")
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "True\n"


def test_the_last_bytes_leave_before_the_signal_ends_the_process() -> None:
    done = run("""
async def main():
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        await response.read_to_end()
        print(b'"error"' in response.body, flush=True)
        await anyio.sleep_forever()
anyio.run(main)
""")
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "True\n"


def test_whom_a_handler_belongs_to_can_be_seen_through_ours() -> None:
    # sse-starlette finds uvicorn's server so, where it was imported too late to patch it.
    assert_passes("""
class Server:
    def handle_exit(self, signum, frame):
        calls.append(signum)

async def main():
    server = Server()
    signal.signal(signal.SIGTERM, server.handle_exit)
    async with stream(silent).stream("GET", "/") as response:
        await response.chunk()
        assert signal.getsignal(signal.SIGTERM).__self__ is server
anyio.run(main)
""")
