"""An application whose answers follow a script, for the official clients of several languages.

`serving()` is the address of a `ChatApp` that is mounted at `/v1` and at the root.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    LLMStreamError,
    RateLimited,
    Reasoning,
    Refusal,
    Source,
    StreamOptions,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from servers import serve

__all__ = ["SILENT", "TEXT", "serving"]

TEXT = "Hello \u2028 wörld 🎉"
# For the prompt "silence".
SILENT = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
_HEARTBEATS = 5

EVERYTHING = [
    Reasoning("Let me "),
    Reasoning("think."),
    Reasoning("", "sealed"),
    Text("Hel"),
    Source("https://example.org/a", "A"),
    Text(TEXT[3:]),
    ToolCallDelta(0, "call_a", "add", '{"x":'),
    ToolCallDelta(1, "call_b", "sub"),
    ToolCallDelta(0, arguments="1}"),
    ToolCallDelta(1, arguments='{"y":2}'),
    ToolCall("call_c", "mul", {"z": 3}),
    Finish("tool_calls"),
    Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3),
]
AGENT = [
    ToolCall("call_a", "add", {"x": 1}),
    Finish("tool_calls"),
    Usage(10, 5),
    ToolResult("call_a", {"sum": 2}),
    Text("It is 2."),
    Finish("stop"),
    Usage(20, 6),
]
SCRIPTS: dict[str, list[Any]] = {
    "everything": EVERYTHING,
    "agent": AGENT,
    "refuse": [Refusal("I would "), Refusal("rather not.")],
    "length": [Text("Hel"), Finish("length")],
    "filter": [Text("Hel"), Finish("content_filter")],
}


@contextmanager
def serving(options: StreamOptions = StreamOptions()) -> Iterator[str]:  # noqa: B008 (frozen)
    """The address of a server that answers by the script that the prompt names."""
    chat = ChatApp(_answer, options=options)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        line = _Line(send)
        # Anthropic's clients say `/v1/messages`, wherever they are told that the server is.
        mount = "/v1" if scope.get("path", "").startswith("/v1/") else ""
        await chat({**scope, "root_path": mount, "line": line}, receive, line.send)

    with serve(app) as url:
        yield url


async def _answer(request: ChatRequest) -> AsyncIterator[Any]:
    line: _Line = request.scope["line"]
    match request.prompt:
        case "limit":
            raise RateLimited(retry_after=7)
        case "break" | "break openly":
            yield "Hel"
            if request.stream:
                await line.spoke.wait()
            if request.prompt == "break openly":
                raise LLMStreamError("The cat sat on the GPU.", code="cat")
            raise RuntimeError("secret: the database password is hunter2")
        case "kill":
            yield "Hel"
            await line.spoke.wait()
            line.cut = True
            yield "lo"
        case "silence":
            for word in ("Hel", "lo", "!"):
                await line.heartbeats(_HEARTBEATS)
                yield word
        case prompt:
            for chunk in SCRIPTS[prompt]:
                yield chunk


class _Line:
    """A `send` that counts heartbeats, and breaks when it is told to."""

    def __init__(self, send: Any) -> None:
        self.cut = False
        self.spoke = anyio.Event()
        self._send = send
        self._count = 0
        self._beat = anyio.Event()

    async def send(self, message: Any) -> None:
        if self.cut:
            raise OSError("the line is cut")
        await self._send(message)
        if message.get("body") == b": ping\n":
            self._count += 1
            self._beat.set()
        elif message.get("body"):
            self.spoke.set()

    async def heartbeats(self, enough: int) -> None:
        self._count = 0
        while self._count < enough:
            self._beat = anyio.Event()
            await self._beat.wait()
