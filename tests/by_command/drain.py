"""SIGTERM and Ctrl-C with 50 open silent streams, on every server, again and again.

    python -m tests.by_command.drain --times 10

Every server is started in a process of its own, with the streams of `silent_app` and with those
of `silent_sse_app`, and told to end while they are silent. Each client must see an end, and the
process must exit within a second of what it promised. A line for each server, app and signal: how
long after that the process exited, in the median and at worst. Ends with `passed`, or with what
went wrong and 1.

`test_drain.py` does the same once, without the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.servers import free_port
from tests.support.signals import hear_ctrl_c

ROOT = Path(__file__).parents[2]
STREAMS = 50
# What the apps give their streams, in seconds; and how much more an exit may take.
GRACE = 0.5
MARGIN = 1.0
# Seconds after which a start, a client or an exit has hung.
PATIENCE = 30

SIGNALS = {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}


@dataclass(frozen=True)
class Server:
    """How one is started, and what it promises.

    Attributes:
        command: for `python -m`, with the places `{app}`, `{port}` and `{directory}`.
        workers: how many of them say that they are ready.
        promised: seconds after the signal when its streams end, at the latest.
    """

    command: str
    workers: int = 1
    promised: float = GRACE


_UVICORN = "uvicorn {app} --port {port}"
# Else it would end the streams by itself, and what we do could not be told from it.
_HYPERCORN = "hypercorn {app} -b 127.0.0.1:{port} --graceful-timeout 600 -k"
_GRANIAN = "granian --interface asgi {app} --port {port}"

SERVERS = {
    "uvicorn": Server(_UVICORN),
    "uvicorn, asyncio and h11": Server(f"{_UVICORN} --loop asyncio --http h11"),
    "uvicorn, 2 workers": Server(f"{_UVICORN} --workers 2", 2),
    "uvicorn, reloading": Server(f"{_UVICORN} --reload --reload-dir {{directory}}"),
    "hypercorn": Server(f"{_HYPERCORN} asyncio -w 0"),
    "hypercorn, uvloop": Server(f"{_HYPERCORN} uvloop -w 0"),
    "hypercorn, trio": Server(f"{_HYPERCORN} trio -w 0"),
    "hypercorn, 2 workers": Server(f"{_HYPERCORN} asyncio -w 2", 2),
    "hypercorn, uvloop, a worker": Server(f"{_HYPERCORN} uvloop -w 1"),
    "hypercorn, trio, a worker": Server(f"{_HYPERCORN} trio -w 1"),
    "granian": Server(_GRANIAN),
    "granian, 2 workers": Server(f"{_GRANIAN} --workers 2", 2),
}


@dataclass(frozen=True)
class App:
    """What is served, what is asked of it, and what its streams' end looks like.

    Attributes:
        name: as servers take it.
        requests: the clients take turns.
        has_ended: whether a client that got these bytes can tell that the answer is over, and
            that it is not whole.
        notes: what it may say of a stream in its log.
    """

    name: str
    requests: tuple[bytes, ...]
    has_ended: Callable[[bytes], bool]
    notes: frozenset[str]


def _says_so(response: bytes) -> bool:
    return b'"error"' in response and b"[DONE]" in response


def _breaks_off(response: bytes) -> bool:
    """Nobody knows the words of a foreign stream; but it must not look whole."""
    head, _, body = response.partition(b"\r\n\r\n")
    return b"chunked" in head.lower() and not body.endswith(b"0\r\n\r\n")


_BODY = b'{"stream": true, "messages": [{"role": "user", "content": "hi"}]}'
_POST = (
    b"POST /chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_GETS = (
    b"GET /hand-written HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /starlette HTTP/1.1\r\nhost: localhost\r\n\r\n",
)

CHAT = App("tests.support.silent_app:app", (_POST,), _says_so, frozenset({"shutdown"}))
MIDDLEWARE = App("tests.support.silent_sse_app:app", _GETS, _breaks_off, frozenset({"closed"}))
BARE = App("tests.support.silent_sse_app:bare", _GETS, _breaks_off, frozenset({"closed"}))
APPS = {"chat": CHAT, "middleware": MIDDLEWARE}


class Running:
    """A server in a process of its own.

    Attributes:
        process: the server's.
        port: where it listens.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
        self.process = process
        self.port = port
        self._directory = directory

    def output(self) -> str:
        """What the server said so far."""
        return (self._directory / "out").read_text()

    def notes(self) -> list[str]:
        """What the app said of its streams."""
        return (self._directory / "log").read_text().split()


@contextmanager
def running(server: Server, app: App, directory: Path) -> Iterator[Running]:
    with free_port() as port, _process(server, app, port, directory) as process:
        started = Running(process, port, directory)
        _wait_until_it_accepts(started, server.workers)
        yield started


@contextmanager
def _process(
    server: Server, app: App, port: int, directory: Path
) -> Iterator[subprocess.Popen[bytes]]:
    log = directory / "log"
    log.touch()
    command = [
        part.format(app=app.name, port=port, directory=directory) for part in server.command.split()
    ]
    environment = {"LOG": str(log), "PYTHONPATH": str(ROOT), "GRACE": str(GRACE)}
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# What each worker says when it is ready. A signal that comes before it has set its own handler
# is lost on granian, which then waits for that worker for ever.
_READY = ("Started worker-", "Application startup complete", "Running on")


def _wait_until_it_accepts(server: Running, workers: int) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up and server.process.poll() is None:
        said = server.output()
        if sum(map(said.count, _READY)) >= workers:
            with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {server.output()[-2000:]}")


class Stopped:
    """What became of the streams and of the server.

    Attributes:
        seconds: from the signal to the process's exit, `None` if it stayed.
        ended: how many clients saw an end.
        output: what the server said.
    """

    def __init__(
        self, app: App, responses: list[bytes], seconds: float | None, server: Running
    ) -> None:
        self.seconds = seconds
        self.ended = sum(map(app.has_ended, responses))
        self.output = server.output()
        self._open = STREAMS - len(responses)
        self._notes = server.notes()
        self._unknown = set(self._notes) - app.notes

    @property
    def problems(self) -> list[str]:
        """All that may not be, the clock aside."""
        return [*self._look()]

    def _look(self) -> Iterator[str]:
        if self._open:
            yield f"{self._open} clients saw nothing in {PATIENCE} s"
        if self.ended != STREAMS:
            yield f"{self.ended} of {STREAMS} clients saw an end"
        if self.seconds is None:
            yield f"the process did not exit in {PATIENCE} s"
        if len(self._notes) != STREAMS:
            yield f"{len(self._notes)} of {STREAMS} streams were ended, the others killed"
        if self._unknown:
            yield f"streams ended as {self._unknown}"
        # hypercorn's worker leaves tracebacks of its own; and so does trio's Ctrl-C, which rises
        # where the last stream ended, and that is with us.
        if "asgi_llmstream" in self.output and "KeyboardInterrupt" not in self.output:
            yield f"a traceback of ours: {self.output[-3000:]}"


def stop_with_open_streams(server: Server, app: App, signum: int, directory: Path) -> Stopped:
    """Start it, open the streams, send the signal, and wait, but not for ever."""
    with running(server, app, directory) as process:
        responses, told_at = asyncio.run(_responses(process, app, signum))
        seconds: float | None = None
        with suppress(subprocess.TimeoutExpired):
            process.process.wait(PATIENCE)
            seconds = time.monotonic() - told_at
        return Stopped(app, responses, seconds, process)


async def _responses(server: Running, app: App, signum: int) -> tuple[list[bytes], float]:
    """What the clients got that saw an end, and when the signal was sent."""
    requests = islice(cycle(app.requests), STREAMS)
    async with asyncio.timeout(PATIENCE):
        clients = await asyncio.gather(*(_Client.begin(server.port, it) for it in requests))
    told_at = time.monotonic()
    if signum == signal.SIGINT:  # a terminal sends it to the whole group
        os.killpg(server.process.pid, signum)
    else:
        server.process.send_signal(signum)
    reading = [asyncio.create_task(client.read_to_end()) for client in clients]
    done, _ = await asyncio.wait(reading, timeout=PATIENCE)
    return [task.result() for task in done], told_at


class _Client:
    """One connection whose stream has begun."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes
    ) -> None:
        self._reader, self._writer, self._response = reader, writer, begun

    @classmethod
    async def begin(cls, port: int, request: bytes) -> _Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        return cls(reader, writer, await reader.readuntil(b"Hel"))

    async def read_to_end(self) -> bytes:
        try:
            while piece := await self._reader.read(65536):
                self._response += piece
        except ConnectionError:
            pass  # an end, too
        finally:
            self._writer.close()
        return self._response


# The command.


class Row:
    """One server, app and signal, several times."""

    def __init__(self, server: str, app: str, signal_name: str) -> None:
        self.name = f"{server}: {app}, {signal_name}"
        self.problems: list[str] = []
        self._server = SERVERS[server]
        self._app = APPS[app]
        self._signum = SIGNALS[signal_name]
        self._late: list[float] = []
        self._ended = self._runs = 0

    def run(self) -> None:
        self._runs += 1
        try:
            with TemporaryDirectory() as directory:
                stopped = stop_with_open_streams(
                    self._server, self._app, self._signum, Path(directory)
                )
        except (RuntimeError, OSError, EOFError) as error:
            self.problems.append(f"run {self._runs}: {type(error).__name__}: {error}")
            return
        self._ended += stopped.ended
        self.problems += (f"run {self._runs}: {problem}" for problem in stopped.problems)
        if stopped.seconds is not None:
            self._judge(stopped.seconds - self._server.promised)

    def _judge(self, late: float) -> None:
        self._late.append(late)
        if late > MARGIN:
            self.problems.append(f"run {self._runs}: exited {late:.2f} s later than promised")

    def __str__(self) -> str:
        late = "no exit"
        if self._late:
            late = f"exit {statistics.median(self._late):+.2f} s, worst {max(self._late):+.2f} s"
        clients = f"{self._ended} of {self._runs * STREAMS} clients saw an end"
        return f"{self.name}: promised {self._server.promised} s, {late}; {clients}"


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(description="Signals to servers with open streams.")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", default="", help="rows whose names contain this")
    given = parser.parse_args()
    hear_ctrl_c()

    rows = [Row(server, app, sig) for server in SERVERS for app in APPS for sig in SIGNALS]
    rows = [row for row in rows if given.only in row.name]
    problems = 0
    for number, row in enumerate(rows, 1):
        for _ in range(given.times):
            row.run()
        say(f"{number} of {len(rows)}, {given.times} times, {row}")
        for problem in row.problems:
            say(f"PROBLEM {row.name}: {problem}")
        problems += len(row.problems)
    say(f"{problems} problems" if problems else "passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
