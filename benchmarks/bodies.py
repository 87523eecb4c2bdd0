"""`python -m benchmarks.bodies [N]`: how late a neighbour's heartbeats are while N large requests,
1 unless told, come at the same time, and the memory that one costs. Exits 1 if it is too much."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from typing import Any

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions

OPTIONS = StreamOptions(heartbeat_interval=0.2)
MOST = 0.3
"""Seconds that a heartbeat may be late."""
MOST_TIMES = 20
"""How many times its own size a body of over `LARGE` bytes may cost."""
LARGE = 1024 * 1024

Shape = tuple[bytes, bytes, bytes]
"""What a body begins with, what it repeats, and what it ends with."""

HI = b'{"id":"u","role":"user","content":"hi","parts":[]}'
STREAMS = b'{"stream":true,"max_tokens":9,"threadId":"t","runId":"r",'
MESSAGES, ONE = STREAMS + b'"messages":[', STREAMS + b'"input":"hi","messages":[' + HI + b"]"


def inside(message: bytes) -> tuple[bytes, bytes]:
    """What stands around the repeated items of the one message's list."""
    head, _, tail = message.partition(b"@")
    return MESSAGES + head, tail + b"]}"


def around(message: bytes, item: bytes) -> Shape:
    head, tail = inside(message)
    return head, item, tail


SHAPES: dict[tuple[str, str], Shape] = {
    ("/chat/completions", "numbers"): (ONE + b',"x":[', b"1", b"]}"),
    ("/chat/completions", "empty lists"): (ONE + b',"x":[', b"[]", b"]}"),
    ("/chat/completions", "objects"): (ONE + b',"x":[', b'{"a":1}', b"]}"),
    ("/chat/completions", "nested lists"): (ONE + b',"x":[', b"[" * 90 + b"]" * 90, b"]}"),
    ("/chat/completions", "messages"): (MESSAGES, b'{"role":"user","content":"h"}', b"]}"),
    ("/chat/completions", "functions"): (ONE + b',"functions":[', b"{}", b"]}"),
    ("/chat/completions", "function calls"): (
        MESSAGES,
        b'{"role":"assistant","function_call":{"name":"a"}}',
        b"]}",
    ),
    ("/chat/completions", "parts"): around(b'{"role":"user","content":[@]}', b"{}"),
    ("/responses", "items"): (
        STREAMS + b'"input":[',
        b'{"role":"user","content":""}',
        b"]}",
    ),
    ("/responses", "MCP calls"): (
        STREAMS + b'"input":[',
        b'{"type":"mcp_call","id":"x","name":"","arguments":"","output":""}',
        b"]}",
    ),
    ("/responses", "tools"): (ONE + b',"tools":[', b'{"type":"function"}', b"]}"),
    ("/messages", "uses of tools"): around(
        b'{"role":"assistant","content":[@]}', b'{"type":"tool_use","id":"","name":""}'
    ),
    ("/messages", "tools"): (ONE + b',"tools":[', b'{"input_schema":1}', b"]}"),
    ("/ui", "messages"): (MESSAGES, b'{"role":"user","parts":[]}', b"]}"),
    ("/ui", "tool parts"): around(
        b'{"id":"a","role":"assistant","parts":[@]}',
        b'{"type":"tool-f","toolCallId":"x","state":"output-available"}',
    ),
    ("/ag-ui", "calls"): around(
        b'{"id":"","role":"assistant","toolCalls":[@]}',
        b'{"id":"","type":"function","function":{"name":"","arguments":""}}',
    ),
}

# Strings that fill a body of the largest size.
TEXTS = {
    "commas": b",",
    "escapes": b"\\u00e9",
    "quotes": b'\\"',
    "emoji": "\N{GRINNING FACE}".encode(),
    "words": b"lorem ipsum dolor sit amet, ",
}


def values(body: bytes) -> int:
    return sum(map(body.count, (b",", b"[", b"{")))


def bodies() -> Iterator[tuple[str, str, bytes]]:
    assert OPTIONS.max_body_items is not None
    assert OPTIONS.max_body_size is not None
    for (path, name), (head, item, tail) in SHAPES.items():
        fixed = values(head + tail)
        most = (OPTIONS.max_body_items - fixed) // (values(item) + 1)
        yield path, f"{name}, as many as may be", head + b",".join([item] * most) + tail
        most = (OPTIONS.max_body_size - len(head + tail)) // (len(item) + 1)
        yield path, f"{name}, too many", head + b",".join([item] * most) + tail
    for name, piece in TEXTS.items():
        head, tail = inside(b'{"role":"user","content":"@"}')
        most = (OPTIONS.max_body_size - len(head + tail)) // len(piece)
        yield "/chat/completions", f"text of {name}", head + piece * most + tail


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    request.to_openai()
    yield "Hello"


async def silence(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello"
    await asyncio.sleep(3600)


async def ask(app: ChatApp, path: str, body: bytes, sent: Callable[[dict[str, Any]], None]) -> None:
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.get_running_loop().create_future()  # the client stays
        await asyncio.sleep(0)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent(message)

    headers = [(b"content-type", b"application/json")]
    asgi = {"version": "3.0", "spec_version": "2.3"}
    scope = {"type": "http", "asgi": asgi, "method": "POST", "path": path, "headers": headers}
    await app(scope, receive, send)


async def lateness(path: str, body: bytes, together: int) -> tuple[float, int]:
    """How late the neighbour's heartbeats were, in seconds, and the status of the answers."""
    beats: list[float] = []
    statuses: list[int] = []
    neighbour = asyncio.create_task(
        ask(
            ChatApp(silence, options=OPTIONS),
            "/chat/completions",
            MESSAGES + HI + b"]}",
            lambda message: beats.append(time.perf_counter()),
        )
    )
    await asyncio.sleep(0.5)

    def sent(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    app = ChatApp(answer, options=OPTIONS)
    await asyncio.gather(*(ask(app, path, body, sent) for _ in range(together)))
    await asyncio.sleep(0.5)
    neighbour.cancel()
    await asyncio.wait([neighbour])
    gaps = [after - before for before, after in pairwise(beats)]
    return max(gaps) - 0.2, statuses[0]


def memory(path: str, body: bytes) -> int:
    """The most bytes that one request costs."""
    gc.collect()
    tracemalloc.start()
    asyncio.run(ask(ChatApp(answer, options=OPTIONS), path, body, lambda message: None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> int:
    together = int(sys.argv[1]) if sys.argv[1:] else 1
    worst, missed = 0.0, False
    print(f"{together} at a time{'':45} {'status':>6} {'MiB':>6} {'late':>9} {'memory':>10} times")
    for path, name, body in bodies():
        late, status = asyncio.run(lateness(path, body, together))
        peak, size = memory(path, body), len(body)
        times = peak / size
        over = late > MOST or (size > LARGE and times > MOST_TIMES)
        missed, worst = missed or over, max(worst, late)
        print(
            f"{path:18} {name:38} {status:4} {size / 2**20:6.2f} {late * 1000:6.0f} ms "
            f"{peak / 2**20:6.1f} MiB {times:5.1f}{'  MISSED' if over else ''}"
        )
    print(f"the latest heartbeat: {worst * 1000:.0f} ms")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
