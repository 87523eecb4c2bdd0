"""Where the contestants run: in this process without a socket, or in a uvicorn beside it."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from .contestants import CONTESTANTS, WORKLOADS, check


class Measured(NamedTuple):
    """One stream: seconds of the server's CPU and by the clock, and the body's pieces."""

    cpu: float
    wall: float
    sends: int


Measure = Callable[[str, str, int], Measured]
"""Streams once: contestant, workload, number of tokens."""


@contextmanager
def in_process(loop: str) -> Iterator[Measure]:
    """`send` only keeps what it gets: the contestant's own costs, and nothing else."""
    new_loop: Any = asyncio.new_event_loop
    if loop == "uvloop":
        from uvloop import new_event_loop as new_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        yield lambda *which: runner.run(_stream(*which))


async def _stream(contestant: str, workload: str, count: int) -> Measured:
    bodies: list[bytes] = []
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not requests:
            await asyncio.get_running_loop().create_future()  # the client stays
        return requests.pop()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    asgi = {"version": "3.0", "spec_version": "2.3"}  # as uvicorn says
    scope = {"type": "http", "asgi": asgi, "method": "GET", "path": "/", "headers": []}
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await CONTESTANTS[contestant](WORKLOADS[workload](count))(scope, receive, send)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    check(b"".join(bodies), count)
    return Measured(cpu, wall, len(bodies))


@contextmanager
def over_socket(loop: str) -> Iterator[Measure]:
    """A uvicorn in a process of its own; one keep-alive connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "benchmarks.server", loop, str(listening.fileno())]
        server = subprocess.Popen(command, pass_fds=[listening.fileno()])
        client = socket.create_connection(listening.getsockname(), timeout=60)

    def measure(contestant: str, workload: str, count: int) -> Measured:
        path = quote(f"/{contestant}/{workload}/{count}")
        _, before = b"".join(_unchunk(_get(client, "/cpu"))).split()
        began = time.perf_counter()
        raw = _get(client, path)
        wall = time.perf_counter() - began
        after, _ = b"".join(_unchunk(_get(client, "/cpu"))).split()
        pieces = _unchunk(raw)
        check(b"".join(pieces), count)
        return Measured(float(after) - float(before), wall, len(pieces))

    try:
        with client:
            yield measure
    finally:
        server.terminate()
        server.wait()


def _get(client: socket.socket, path: str) -> bytes:
    client.sendall(b"GET %b HTTP/1.1\r\nHost: benchmark\r\n\r\n" % path.encode())
    raw = bytearray()
    while not raw.endswith(b"\r\n0\r\n\r\n"):
        received = client.recv(1 << 20)
        if not received:
            raise RuntimeError(f"the server hung up in the middle of {path}")
        raw += received
    return bytes(raw)


def _unchunk(raw: bytes) -> list[bytes]:
    """The pieces of a body in HTTP's chunked transfer coding."""
    assert raw.startswith(b"HTTP/1.1 200"), raw[:200]
    pieces: list[bytes] = []
    at = raw.index(b"\r\n\r\n") + 4
    while True:
        start = raw.index(b"\r\n", at) + 2
        size = int(raw[at:start], 16)
        if size == 0:
            return pieces
        pieces.append(raw[start : start + size])
        at = start + size + 2
