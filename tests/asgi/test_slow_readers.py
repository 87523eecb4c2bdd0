"""A reader that is slow but steady has not stalled, however large what waits for it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from asgi_llmstream import LLMStream, StreamOptions
from tests.support.servers import KINDS, serve

# As little as the kernel allows, or megabytes would be gone before anybody has read them.
BUFFER = 32_768
CHUNK = "~" * 1_000_000
RATE = 250_000  # bytes a second: the chunk takes twice the timeout, a piece of it a quarter
SEND_TIMEOUT = 2.0
# granian binds by itself, so that its buffers cannot be set.
SERVERS = [kind for kind in KINDS if kind != "granian"]


async def one_chunk() -> AsyncIterator[str]:
    yield CHUNK


def read_slowly(url: str) -> bytes:
    pace, body = threading.Event(), b""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        while piece := sock.recv(BUFFER):
            body += piece
            pace.wait(len(piece) / RATE)
    return body


def read_from(kind: str) -> bytes:
    app = LLMStream(one_chunk, options=StreamOptions(send_timeout=SEND_TIMEOUT))
    with serve(app, kind, send_buffer=BUFFER) as url:
        return read_slowly(url)


def test_a_slow_steady_reader_gets_a_large_chunk_whole() -> None:
    with ThreadPoolExecutor(len(SERVERS)) as threads:
        bodies = dict(zip(SERVERS, threads.map(read_from, SERVERS), strict=True))
    for kind, body in bodies.items():
        assert body.count(b"~") == len(CHUNK), kind
        assert b"[DONE]" in body, kind
