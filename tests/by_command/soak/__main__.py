"""Mixed trouble over real sockets, and what is left of it: nothing may be.

    python -m tests.by_command.soak --seconds 600 --streams 300

Hundreds of clients at once ask a uvicorn server, in every protocol and for foreign streams below
the middleware, for answers that are sync or async, whole or broken, short or endless, in small
chunks or of 1 MB, with requests of up to 7 MiB; and read them to the end, slowly, not at all, or
leave in one of several ways. Foreign streams listen to their client in every way, or not at all.
It goes in rounds. After each, when all is quiet, what is left is counted and compared with what
was left after the first. Then everything must work as ever, and at last the process is told to end
while streams are open. Ends with `passed`, or with what went wrong and 1. With `--sabotage` it must
go wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import random
import resource
import sys
import threading
import time
from typing import Any

from tests.support.servers import serve

from .books import PATIENCE, Books, Left, compare, creeping
from .clients import ROUTES, Address, Question, ask, draw
from .sabotage import SABOTAGES
from .server import FOREIGN, Server
from .shutdown import shutdown

# Asked in peace, and while the process is told to end.
PEACE, END = 10**9, 2 * 10**9


class Soak:
    """One run: the application, its clients, and the books."""

    def __init__(self, books: Books, server: Server, streams: int, seed: int) -> None:
        self._books = books
        self._server = server
        self._streams = streams
        self._seed = seed
        self._numbers = itertools.count(1)
        self._measured: list[Left] = []

    async def run(self, address: Address, seconds: float, rounds: int) -> None:
        pulse = asyncio.create_task(self._feel_the_pulse())
        try:
            await self._run(address, seconds, rounds)
        finally:
            pulse.cancel()

    async def _feel_the_pulse(self) -> None:
        """How late the clients' own loop is: a machine that stands still is no fault of ours."""
        while True:
            due = time.monotonic() + 0.5
            await asyncio.sleep(0.5)
            self._books.held_up = max(self._books.held_up, time.monotonic() - due)

    async def _run(self, address: Address, seconds: float, rounds: int) -> None:
        """Everything, until something is wrong: what follows would only hide it."""
        began = time.monotonic()
        for index in range(rounds):
            await self._round(address, seconds / rounds, index)
            if self._books.problems:
                return
            left = await self._left()
            say(f"round {index + 1} of {rounds}, {time.monotonic() - began:.0f} s: {left}")
            if self._books.problems:
                return
        self._books.problems += creeping(self._measured)
        await self._peace(address)
        if self._books.problems:
            return
        await shutdown(self._books, address, END)
        await self._quiet()
        self._check_outcomes()
        say(f"after the shutdown, {time.monotonic() - began:.0f} s: {await self._left()}")

    async def _round(self, address: Address, seconds: float, index: int) -> None:
        """Every client asks again and again, once at least, until the time is over."""
        until = time.monotonic() + seconds

        async def client(which: int) -> None:
            dice = random.Random(f"{self._seed} {index} {which}")
            await asyncio.sleep(dice.random() / 2)
            while True:
                await ask(self._books, draw(next(self._numbers), dice), dice, address)
                if time.monotonic() >= until:
                    return

        await asyncio.gather(*map(client, range(self._streams)))
        await self._quiet()

    async def _peace(self, address: Address) -> None:
        """Everything must be as if nothing had happened."""
        for number, format in enumerate(ROUTES, PEACE):
            shape = "async" if format else [*FOREIGN][number % len(FOREIGN)]
            script = {"shape": shape, "ending": "returns", "seed": 1}
            script |= {"flood": False, "large": False}
            await ask(self._books, Question(number, format, script), _Sober(), address)
        await self._quiet()

    async def _quiet(self) -> None:
        """Wait until the server has nothing more to do, so long as there is hope."""
        give_up = time.monotonic() + self._books.patience
        while await self._noise() and time.monotonic() < give_up:  # noqa: ASYNC110 (of threads)
            await asyncio.sleep(0.1)
        self._books.problems += [f"not quiet: {noise}" for noise in await self._noise()]
        self._books.close()

    def _check_outcomes(self) -> None:
        """The mix had everything in it."""
        for kind, outcomes in self._books.outcomes.items():
            missing = {"finished", "error", "disconnected", "stalled", "shutdown"} - {*outcomes}
            if missing:
                self._books.problems.append(f"no {kind} stream was {', '.join(sorted(missing))}")

    async def _noise(self) -> list[str]:
        """What of the package still runs."""
        noise = [f"runs: {what}" for what in self._books.running]
        noise += [f"open producers: {n} {shape}" for shape, n in (+self._books.open).items()]
        names = [thread.name for thread in threading.enumerate()]
        noise += [f"thread: {name}" for name in names if name == "llmstream"]
        coroutines: list[Any] = [task.get_coro() for task in await self._tasks()]
        files = {it.__qualname__: it.cr_code.co_filename for it in coroutines if it is not None}
        return noise + [f"task: {name}" for name in files if "asgi_llmstream" in files[name]]

    async def _tasks(self) -> set[asyncio.Task[Any]]:
        """Of the server's event loop, asked there."""
        here, there = asyncio.get_running_loop(), self._server.loop
        if there is None:
            return set()
        found: asyncio.Future[set[asyncio.Task[Any]]] = here.create_future()

        def look() -> None:
            here.call_soon_threadsafe(found.set_result, asyncio.all_tasks(there))

        there.call_soon_threadsafe(look)
        async with asyncio.timeout(PATIENCE):
            return await found

    async def _left(self) -> Left:
        """What is left, when sockets that were closed have been noticed too."""
        give_up = time.monotonic() + self._books.patience / 4
        while True:
            left = Left(len(await self._tasks()))
            if not self._measured:
                # The first must be at rest, or it would hide what the others leave.
                await asyncio.sleep(1)
                again = Left(len(await self._tasks()))
                if again.descriptors < left.descriptors or again.tasks < left.tasks:
                    continue
                self._measured.append(again)
                return again
            leaks = [*compare(self._measured[0], left)]
            if not leaks or time.monotonic() >= give_up:
                self._measured.append(left)
                self._books.problems += leaks
                return left
            await asyncio.sleep(0.3)


class _Sober(random.Random):
    """Talks no nonsense."""

    def random(self) -> float:
        return 0.99


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def report(books: Books, streams: int) -> None:
    own, foreign = books.outcomes["own"], books.outcomes["foreign"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"streams: {own.total()} and {foreign.total()} foreign, {streams} at the same time")
    say(f"outcomes: {dict(own.most_common())}")
    say(f"outcomes of foreign ones: {dict(foreign.most_common())}")
    say(f"clients: {dict(books.seen.most_common())}")
    say(f"peak memory: {peak:.0f} MiB, server and clients together")
    say(f"the clients were held up for {books.held_up:.1f} s at most")
    for problem in books.problems[:30]:
        say(f"PROBLEM {problem}")
    say(f"{len(books.problems)} problems" if books.problems else "passed")


def prepare(streams: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * streams + 200
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    for logger in ("asgi_llmstream", "asyncio"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # the raises are ours


def main() -> int:
    parser = argparse.ArgumentParser(description="Mixed trouble over real sockets.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--streams", type=int, default=300, help="at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sabotage", choices=SABOTAGES, help="break the package, to be noticed")
    given = parser.parse_args()

    prepare(given.streams)
    books = Books()
    if given.sabotage:
        SABOTAGES[given.sabotage].act()
        books.patience = 6  # what is broken does not come to rest
    server = Server(books)
    soak = Soak(books, server, given.streams, given.seed)
    rounds = max(3, min(20, int(given.seconds / 15)))
    # A kernel that takes megabytes at once would hide that a steady reader goes on.
    with serve(server, send_buffer=65536, log_level="critical") as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        asyncio.run(soak.run(address, given.seconds, rounds))
        report(books, given.streams)
        if given.sabotage:
            os._exit(bool(books.problems))  # what is broken may not stop either
    return 1 if books.problems else 0


if __name__ == "__main__":
    sys.exit(main())
