"""Mixed trouble over real sockets, and what is left of it: nothing may be.

    python tests/soak.py --seconds 600 --streams 300

Hundreds of clients at once ask a uvicorn server, in every protocol, for answers that are sync or
async, whole or broken, short or endless; and read them to the end, slowly, not at all, or leave
in one of several ways. It goes in rounds. After each, when all is quiet, what is left is counted
and compared with what was left after the first. Ends with `passed`, or with what went wrong and 1.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import itertools
import json
import logging
import os
import random
import resource
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    LLMStreamError,
    Reasoning,
    Source,
    StreamOptions,
    StreamResult,
    ToolCall,
    ToolCallDelta,
    Usage,
    from_callbacks,
)
from asgi_llmstream.formats import DEFAULT_FORMATS, RequestFormat
from asgi_llmstream.testing import check_stream
from servers import serve

# Seconds after which a request, or the quiet after a round, has hung.
PATIENCE = 60
# A reader that stalls gets this much before `send` blocks, and as much again.
FLOOD = "x" * 65536
OPTIONS = StreamOptions(heartbeat_interval=0.2, send_timeout=1, close_timeout=5)

# What producers are and do, and what clients do: how often each.
SHAPES = {"async": 3, "sync": 3, "callbacks": 2, "threads": 1, "stubborn": 1}
ENDINGS = {"returns": 6, "raises early": 1, "raises": 2, "raises openly": 1, "never": 2}
READERS = {"reads": 6, "slow": 1, "stalls": 1, "fin": 1, "rst": 1, "half": 1, "leaves at once": 1}
NONSENSE = 0.04  # of the requests are none
WHOLE = 0.15  # of those that may be are not streamed

number: ContextVar[int] = ContextVar("number")
"""Of the request that runs, on the server's side."""


class Soak:
    """One run: the application, its clients, and the books.

    Attributes:
        begun: how often each request's producer was begun.
        results: the outcomes that `on_finish` was told, by request.
        seen: what the clients saw, as words, and how often.
        problems: what must not be.
    """

    def __init__(self, streams: int, seed: int) -> None:
        self.begun: Counter[int] = Counter()
        self.open: Counter[str] = Counter()
        self.results: dict[int, list[str]] = {}
        self.seen: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self._streams = streams
        self._seed = seed
        self._numbers = itertools.count(1)
        self._chat = ChatApp(self.answer, options=OPTIONS, on_finish=self.on_finish)

    # The server's side.

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.loop = asyncio.get_running_loop()
        for name, value in scope.get("headers", ()):
            if name == b"x-number":
                number.set(int(value))
        await self._chat(scope, receive, send)

    async def on_finish(self, result: StreamResult) -> None:
        await asyncio.sleep(0)
        self.results.setdefault(number.get(), []).append(result.outcome)

    def answer(self, request: ChatRequest) -> Any:
        self.begun[number.get()] += 1
        script = json.loads(request.prompt)
        return getattr(self, f"_{script['shape']}")(script)

    async def _async(self, script: dict[str, Any]) -> AsyncIterator[Any]:
        with self._counted("async"):
            for pause, chunk in steps(script):
                await asyncio.sleep(pause)
                yield chunk

    def _sync(self, script: dict[str, Any]) -> Iterator[Any]:
        with self._counted("sync"):
            for pause, chunk in steps(script):
                time.sleep(pause)
                yield chunk

    async def _stubborn(self, script: dict[str, Any]) -> AsyncIterator[Any]:
        """Cleans up slowly, whatever is done to it meanwhile."""
        with self._counted("stubborn"):
            try:
                for pause, chunk in steps(script):
                    await asyncio.sleep(pause)
                    yield chunk
            finally:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.05)

    def _callbacks(self, script: dict[str, Any]) -> Any:
        async def produce(emit: Any) -> None:
            with self._counted("callbacks"):
                for pause, chunk in steps(script):
                    await asyncio.sleep(pause)
                    await emit(chunk)

        return from_callbacks(produce, buffer=4)

    def _threads(self, script: dict[str, Any]) -> Any:
        async def produce(emit: Any) -> None:
            over = asyncio.get_running_loop().create_future()

            def main() -> None:
                error = None
                with self._counted("threads"):
                    try:
                        for pause, chunk in steps(script):
                            time.sleep(pause)
                            emit.from_thread(chunk)
                    except Exception as caught:
                        error = caught
                with suppress(RuntimeError):
                    over.get_loop().call_soon_threadsafe(tell, error)

            def tell(error: Exception | None) -> None:
                if over.done():
                    return
                if error is None:
                    over.set_result(None)
                else:
                    over.set_exception(error)

            threading.Thread(target=main, daemon=True).start()
            await over

        return from_callbacks(produce, buffer=4)

    def _counted(self, shape: str) -> Any:
        return _Open(self.open, shape)

    # The clients' side.

    async def round(self, address: tuple[str, int], seconds: float, index: int) -> None:
        """Every client asks again and again, once at least, until the time is over."""
        until = time.monotonic() + seconds

        async def client(which: int) -> None:
            dice = random.Random(f"{self._seed} {index} {which}")
            await asyncio.sleep(dice.random() / 2)
            while True:
                await self._request(address, dice)
                if time.monotonic() >= until:
                    return

        await asyncio.gather(*map(client, range(self._streams)))
        await self._quiet()
        self._close_books()

    async def _request(self, address: tuple[str, int], dice: random.Random) -> None:
        format = dice.choice(DEFAULT_FORMATS)
        script = {
            "shape": choose(dice, SHAPES),
            "ending": choose(dice, ENDINGS),
            "seed": dice.random(),
            "flood": False,
        }
        reader = choose(dice, READERS)
        if script["ending"] == "never" and reader in ("reads", "slow"):
            script["ending"] = "returns"  # or they would never come back
        if reader == "stalls":
            script |= {"ending": "never", "flood": True}
        may_be_whole = hasattr(format, "whole_body") and reader in ("reads", "leaves at once")
        stream = not (may_be_whole and dice.random() < WHOLE)
        mine = next(self._numbers)
        client = _Client(self, mine, dice, format, script, reader, stream)
        try:
            async with asyncio.timeout(PATIENCE):
                client.bytes = asking(format, json.dumps(script), mine, stream)
                if dice.random() < NONSENSE:
                    await client.talk_nonsense(address)
                else:
                    await client.talk(address)
        except TimeoutError:
            self.problems.append(f"hung: {client}")
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}: {client}")

    # The books.

    async def _quiet(self) -> None:
        """Wait until the server has nothing more to do, so long as there is hope."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            waiting = [n for n, times in self.begun.items() if times and n not in self.results]
            if not waiting and not any(self.open.values()) and await self._nobody_runs():
                return
            await asyncio.sleep(0.1)
        untold = [n for n in self.begun if n not in self.results]
        self.problems.append(f"not quiet: untold {untold}, open producers {+self.open}")
        self.problems += map(repr, await self.tasks())

    async def _nobody_runs(self) -> bool:
        names = [thread.name for thread in threading.enumerate()]
        files = [task.get_coro().cr_code.co_filename for task in await self.tasks()]
        return "llmstream" not in names and not any("asgi_llmstream" in file for file in files)

    async def tasks(self) -> set[asyncio.Task[Any]]:
        """Of the server's event loop, asked there."""
        if self.loop is None:
            return set()
        found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        here, there = asyncio.get_running_loop(), self.loop

        def look() -> None:
            tasks = asyncio.all_tasks(there)
            here.call_soon_threadsafe(found.set_result, tasks)

        there.call_soon_threadsafe(look)
        async with asyncio.timeout(PATIENCE):
            return await found

    def _close_books(self) -> None:
        """Every stream that began was told of once; then forget them, or the books would grow."""
        for mine, times in self.begun.items():
            if times != 1 or len(self.results.get(mine, ())) != 1:
                told = self.results.get(mine)
                self.problems.append(f"request {mine}: begun {times} times, told {told}")
        for mine, outcomes in self.results.items():
            if len(outcomes) != 1:
                self.problems.append(f"request {mine}: told {outcomes}")
            self.outcomes.update(outcomes)
        self.begun.clear()
        self.results.clear()


class _Open:
    """Counts what is inside it, from any thread."""

    _lock = threading.Lock()

    def __init__(self, counter: Counter[str], key: str) -> None:
        self._counter, self._key = counter, key

    def __enter__(self) -> None:
        with self._lock:
            self._counter[self._key] += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._counter[self._key] -= 1


def choose(dice: random.Random, weights: dict[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def steps(script: dict[str, Any]) -> Iterator[tuple[float, Any]]:
    """Pauses and chunks, and the way that the script ends; the same for every shape."""
    dice = random.Random(script["seed"])
    if script["ending"] == "raises early":
        raise RuntimeError("secret")
    yield 0, "Hel"  # a script that breaks later has begun to answer
    endless = script["ending"] == "never"
    for index in itertools.count() if endless else range(dice.randrange(40)):
        pause = dice.choice([0, 0, 0.001, 0.02, 0.3 if endless else 0.05])
        if script["flood"]:
            yield 0, FLOOD
            continue
        kinds = ["lo \u2028 wörld 🎉", "\ud83d", Reasoning("hm"), Source("https://a"), Usage(1, 2)]
        call = ToolCall(f"c{index}", "f", {"x": index})
        kinds += ["x" * 3000, call, ToolCallDelta(index, f"d{index}", "f", '{"x":')]
        yield pause, dice.choice(kinds)
    if script["ending"] == "raises":
        raise RuntimeError("secret")
    if script["ending"] == "raises openly":
        raise LLMStreamError("The cat sat on the GPU.", code="cat")


def asking(format: RequestFormat, prompt: str, mine: int, stream: bool) -> bytes:
    """The request that says `prompt`, as bytes."""
    path, body = format.route, b""
    if format.method == "GET":
        path += f"?prompt={quote(prompt)}"
    else:
        user = {"id": "m", "role": "user", "content": prompt}
        question: dict[str, Any] = {"model": "m", "messages": [user], "stream": stream}
        match format.route:
            case "/responses":
                question = {"model": "m", "input": prompt, "stream": stream}
            case "/messages":
                user = {"role": "user", "content": prompt}
                question = {**question, "messages": [user], "max_tokens": 99}
            case "/ui":
                part = {"type": "text", "text": prompt}
                message = {"id": "m", "role": "user", "parts": [part]}
                question = {"id": "c", "trigger": "submit-message", "messages": [message]}
            case "/ag-ui":
                rest = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
                question = {"threadId": "t", "runId": "r", "messages": [user], **rest}
        body = json.dumps(question).encode()
    head = f"{format.method} {path} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n"
    head += f"x-number: {mine}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class _Client:
    """One request and its reader."""

    def __init__(
        self,
        soak: Soak,
        mine: int,
        dice: random.Random,
        format: RequestFormat,
        script: dict[str, Any],
        reader: str,
        stream: bool,
    ) -> None:
        self._soak, self._mine, self._dice = soak, mine, dice
        self._format, self._script, self._how = format, script, reader
        self._stream = stream
        self.bytes = b""

    def __repr__(self) -> str:
        kind = "stream" if self._stream else "whole"
        return f"{self._mine} {self._format.route} {kind} {self._how} {self._script}"

    async def talk_nonsense(self, address: tuple[str, int]) -> None:
        """What is no request gets an answer of less than 500, or breaks off itself."""
        sock = await self._connect(address)
        try:
            match self._dice.randrange(4):
                case 0:
                    await self._send(sock, self.bytes[: len(self.bytes) // 2])
                    self._soak.seen["nonsense: half a request"] += 1
                    return
                case 1:
                    await self._send(sock, b"\x16\x03\x01 no HTTP at all\r\n\r\n")
                case 2:
                    await self._send(sock, b"POST /nothing HTTP/1.1\r\nconnection: close\r\n\r\n")
                case 3:
                    head = f"POST {self._format.route} HTTP/1.1\r\nhost: soak\r\n"
                    head += "connection: close\r\ncontent-length: 5\r\n\r\n[[[[["
                    await self._send(sock, head.encode())
            status = int((await self._read(sock)).split()[1])
            self._soak.seen[f"nonsense: {status}"] += 1
            if not 400 <= status < 500:
                self._soak.problems.append(f"status {status} for nonsense: {self}")
        finally:
            sock.close()

    async def talk(self, address: tuple[str, int]) -> None:
        sock = await self._connect(address)
        try:
            await self._send(sock, self.bytes)
            match self._how:
                case "leaves at once":
                    await asyncio.sleep(self._dice.choice([0, 0.01]))
                case "stalls":
                    while self._mine not in self._soak.results:  # noqa: ASYNC110 (of another loop)
                        await asyncio.sleep(0.05)
                    self._soak.seen[f"stalled: {self._soak.results[self._mine][0]}"] += 1
                case "fin" | "rst" | "half":
                    await self._read(sock, at_least=self._dice.choice([1, 300, 5000]))
                    if self._how == "half":
                        sock.shutdown(socket.SHUT_WR)
                        await self._read(sock)
                case how:
                    self._judge(await self._read(sock, slowly=how == "slow"))
            if self._how in ("rst", "stalls") or self._dice.random() < 0.2:
                linger = struct.pack("ii", 1, 0)  # close() sends RST
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        finally:
            sock.close()

    async def _connect(self, address: tuple[str, int]) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, data)

    async def _read(
        self, sock: socket.socket, at_least: float = float("inf"), slowly: bool = False
    ) -> bytes:
        loop, got = asyncio.get_running_loop(), bytearray()
        while len(got) < at_least:
            try:
                piece = await loop.sock_recv(sock, 997 if slowly else 65536)
            except ConnectionError:
                break
            if not piece:
                break
            got += piece
            if slowly:
                await asyncio.sleep(0.02)
        return bytes(got)

    def _judge(self, response: bytes) -> None:
        """What was read to its end is whole, and says how it ended."""
        head, _, body = response.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if b"chunked" in head.lower():
            body, complete = unchunked(body)
            assert complete, "the response has no end"
        ending = self._script["ending"]
        assert b"secret" not in body, "a secret came out"
        if b"text/event-stream" in head:
            check_stream(body.replace(b": ping\n", b""))
            failed = b"The cat sat" in body or b"could not finish" in body
            assert failed == (ending != "returns"), f"failed: {failed}"
        else:
            json.loads(body)
            streams_may_fail = ending == "raises early" or not self._stream
            assert status == 200 or (ending != "returns" and streams_may_fail), status
            assert status != 200 or ending == "returns", status
        self._soak.seen[f"read to the end: {status}"] += 1


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """The body of a chunked response, and whether its end has come."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body, False


class Left:
    """What is left when all is quiet."""

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        gc.collect()
        self.threads = len(threading.enumerate())
        self.descriptors = len(os.listdir("/proc/self/fd"))
        objects = gc.get_objects()
        self.objects = len(objects)
        kinds = Counter(
            type(it).__name__
            for it in objects
            if str(type(it).__module__).startswith("asgi_llmstream.")
        )
        del objects
        self.streams = {k: n for k, n in kinds.items() if k in _PER_STREAM}
        with open("/proc/self/statm") as statm:
            self.memory = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, {self.threads} threads, {self.descriptors} descriptors, "
            f"{self.objects} objects, {self.memory / 2**20:.1f} MiB, of streams {self.streams}"
        )


# What a stream is made of, and takes with it.
_PER_STREAM = {
    "Generation",
    "StreamDelivery",
    "WholeDelivery",
    "Tail",
    "Lifecycle",
    "ThreadIterator",
    "Emitter",
    "_Emitted",
    "_Buffer",
    "Steps",
    "LLMStream",
    "_AsyncioTask",
    "_AsyncioWakeup",
}


def compare(first: Left, last: Left) -> Iterator[str]:
    """What there is more of than there was after the warm-up, beyond a tolerance."""
    for name, tolerance in (("tasks", 0), ("threads", 0), ("descriptors", 0), ("objects", 3000)):
        more = getattr(last, name) - getattr(first, name)
        if more > tolerance:
            yield f"leaked {more} {name}"
    if last.memory > first.memory + 48 * 2**20:
        yield f"memory grew from {first.memory} to {last.memory} bytes"
    if sum(last.streams.values()) > sum(first.streams.values()) + 2:
        yield f"streams stay in memory: {last.streams}, after the warm-up {first.streams}"


async def soak(url: str, run: Soak, seconds: float, rounds: int) -> None:
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    began = time.monotonic()
    measured: list[Left] = []
    for index in range(rounds):
        await run.round(address, seconds / rounds, index)
        measured.append(await _left(run, measured))
        say(f"round {index + 1} of {rounds}, {time.monotonic() - began:.0f} s: {measured[-1]}")
    run.problems += compare(measured[0], measured[-1])

    # And now in peace, everything must be as if nothing had happened.
    script = {"shape": "async", "ending": "returns", "seed": 1, "flood": False}
    for mine, format in enumerate(DEFAULT_FORMATS, 10**9):
        client = _Client(run, mine, random.Random(0), format, script, "reads", True)
        client.bytes = asking(format, json.dumps(script), mine, True)
        async with asyncio.timeout(PATIENCE):
            await client.talk(address)
    await run._quiet()
    if [outcomes for n, outcomes in run.results.items() if n >= 10**9] != [["finished"]] * 6:
        run.problems.append(f"afterwards: {run.results}")
    run._close_books()


async def _left(run: Soak, measured: list[Left]) -> Left:
    """What is left, when sockets that were closed have been noticed too."""
    give_up = time.monotonic() + PATIENCE / 4
    while True:
        left = Left(len(await run.tasks()))
        stays = measured and [*compare(measured[0], left)]
        if not measured:  # the first must be at rest, or it would hide what the others leave
            await asyncio.sleep(1)
            again = Left(len(await run.tasks()))
            stays = again.descriptors < left.descriptors or again.tasks < left.tasks
            left = again
        if not stays or time.monotonic() >= give_up:
            return left
        await asyncio.sleep(0.3)


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(description="Mixed trouble over real sockets.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--streams", type=int, default=300, help="at the same time")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * given.streams + 200
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    for logger in ("asgi_llmstream", "asyncio"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # the raises are ours

    run = Soak(given.streams, given.seed)
    rounds = max(3, min(20, int(given.seconds / 15)))
    with serve(run, log_level="critical") as url:
        asyncio.run(soak(url, run, given.seconds, rounds))

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"streams: {sum(run.outcomes.values())}, {given.streams} at the same time")
    say(f"outcomes: {dict(run.outcomes.most_common())}")
    say(f"clients: {dict(run.seen.most_common())}")
    say(f"peak memory: {peak:.0f} MiB, server and clients together")
    missing = {"finished", "error", "disconnected", "stalled"} - set(run.outcomes)
    if missing:
        run.problems.append(f"no stream was {', '.join(sorted(missing))}")
    for problem in run.problems[:30]:
        say(f"PROBLEM {problem}")
    say(f"{len(run.problems)} problems" if run.problems else "passed")
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
