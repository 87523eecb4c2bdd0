"""Every way to leave, at every moment, on every server: the producer is closed, and nobody logs."""

from __future__ import annotations

import itertools
import json
import logging
import queue
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest
import sniffio

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions, StreamResult
from tests.support.servers import KINDS, serve

PATIENCE = 20
CROWD = "x" * 65536


def fin(sock: socket.socket) -> None:
    """As most clients do: nothing is unread, and the connection is closed."""
    sock.close()


def reset(sock: socket.socket) -> None:
    """As a killed process, or one with unread data."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    """It says that it will not ask again, and on these servers that means that it has gone."""
    sock.shutdown(socket.SHUT_WR)


async def before_headers() -> AsyncIterator[str]:
    await anyio.sleep_forever()
    yield ""


async def silent() -> AsyncIterator[str]:
    yield "Hel"
    await anyio.sleep_forever()


async def flat_out() -> AsyncIterator[str]:
    yield "Hel"
    while True:
        yield "lo"
        await anyio.lowlevel.checkpoint()


async def crowding() -> AsyncIterator[str]:
    """Until `send` blocks, because nobody reads."""
    yield "Hel"
    while True:
        yield CROWD


class Moment(NamedTuple):
    """When the client leaves: what is streamed until then, and what of it is read."""

    words: Callable[[], AsyncIterator[str]]
    reads_until: bytes = b'"Hel'


MOMENTS = {
    "before the headers": Moment(before_headers, b""),
    "while it is silent": Moment(silent),
    "while it streams flat out": Moment(flat_out),
    "while a send is blocked": Moment(crowding),
}
CASES = [
    (leave, moment)
    for leave in (fin, reset, half_close)
    for moment in MOMENTS
    # Behind data that nobody reads, no server sees that nothing more will be asked: that reader
    # has stalled, and `send_timeout` is for him.
    if (leave, moment) != (half_close, "while a send is blocked")
]


class Served:
    """A server and what its producers told.

    Attributes:
        url: its address.
        began: the number of each request, when its producer runs.
        closed: the same, when the last line of its `finally` has run.
        results: what `on_finish` was told.
        stuck: set, by the number of the request, when it waits for its reader.
    """

    def __init__(self) -> None:
        self.url = ""
        self.began: queue.Queue[str] = queue.Queue()
        self.closed: queue.Queue[str] = queue.Queue()
        self.results: queue.Queue[tuple[str, str]] = queue.Queue()
        self.stuck: queue.Queue[str] = queue.Queue()

    async def answer(self, request: ChatRequest) -> AsyncIterator[str]:
        number, moment = request.prompt.split(" ", 1)
        self.began.put(number)
        words = MOMENTS[moment].words()
        try:
            async for word in words:
                if word is CROWD:
                    self.stuck.put(number)
                yield word
        finally:
            # As everywhere, trio wants it said.
            with anyio.CancelScope(shield=sniffio.current_async_library() == "trio"):
                await words.aclose()  # type: ignore[attr-defined]
                await anyio.lowlevel.checkpoint()
            self.closed.put(number)

    def on_finish(self, result: StreamResult) -> None:
        assert result.request is not None
        number = result.request.prompt.split(" ", 1)[0]
        self.results.put((number, result.outcome))


LOGGERS = ("", "uvicorn.error", "hypercorn.error", "_granian", "asyncio", "asgi_llmstream")


@pytest.fixture(scope="module")
def log() -> Iterator[list[logging.LogRecord]]:
    """What any server, loop or part of ours has to say."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = records.append  # type: ignore[method-assign]
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    yield records
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(handler)


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    served = Served()
    app = ChatApp(
        served.answer,
        # Nothing but the client's leaving ends a stream here.
        options=StreamOptions(send_timeout=None, commit_after=None, close_timeout=PATIENCE),
        on_finish=served.on_finish,
    )
    with serve(app, request.param) as served.url:
        yield served


def ask(url: str, prompt: str) -> socket.socket:
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    head = "POST /chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    sock = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), PATIENCE)
    sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return sock


def read_until(sock: socket.socket, wanted: bytes) -> None:
    read = b""
    while wanted not in read:
        piece = sock.recv(65536)
        assert piece, read
        read += piece


def wait_until_stuck(served: Served) -> None:
    """Until the producer has said nothing new for as long as it takes to read its queue empty.

    That it is blocked cannot be seen from here, only that it was let no further for a while.
    """
    with pytest.raises(queue.Empty):
        while True:
            served.stuck.get(timeout=0.5)


numbers = map(str, itertools.count(1))


@pytest.mark.parametrize(("leave", "moment"), CASES)
def test_the_producer_is_closed_and_told_of_once_and_nobody_logs_anything(
    served: Served, leave: Any, moment: str, log: list[logging.LogRecord]
) -> None:
    log.clear()
    number = next(numbers)
    sock = ask(served.url, f"{number} {moment}")
    assert served.began.get(timeout=PATIENCE) == number
    read_until(sock, MOMENTS[moment].reads_until)
    if moment == "while a send is blocked":
        wait_until_stuck(served)
    leave(sock)
    assert served.closed.get(timeout=PATIENCE) == number
    assert served.results.get(timeout=PATIENCE) == (number, "disconnected")
    sock.close()
    assert served.results.empty()
    assert [record.getMessage() for record in log] == []
