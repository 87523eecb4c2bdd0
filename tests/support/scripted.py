"""Answers that do what the prompt says, for the official clients of several languages.

`serving()` is the address of a `ChatApp` with them, mounted at `/v1` and at the root.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread

from asgi_llmstream import (
    Answer,
    Approval,
    ChatApp,
    ChatRequest,
    Data,
    Document,
    File,
    Finish,
    LLMStreamError,
    Metadata,
    RateLimited,
    Reasoning,
    Refusal,
    Source,
    State,
    StateDelta,
    Step,
    StreamOptions,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.runtime import OnFinish
from tests.support.servers import serve

__all__ = ["SILENT", "TEXT", "Line", "killing", "scripted", "serving"]

TEXT = "Hello \u2028 wörld 🎉"
# For the prompt "silence".
SILENT = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
_HEARTBEATS = 5


async def scripted(request: ChatRequest) -> AsyncIterator[Any]:
    """Does what the prompt says; "kill" and "silence" only where `serving` serves it."""
    if request.approvals:
        for chunk in _decided(request):
            yield chunk
        return
    answer = _ANSWERS.get(request.prompt)
    if answer is not None:
        for chunk in answer:
            yield chunk
        return
    line: Line | None = request.scope.get("line")
    match request.prompt:
        case "hang":
            yield "Hel"
            await anyio.sleep_forever()
        case "break" | "break openly":
            yield "Hel"
            if line is not None and request.stream:
                await line.spoke.wait()
            if request.prompt == "break openly":
                raise LLMStreamError("The cat sat on the GPU.", code="cat")
            raise RuntimeError("secret: the database password is hunter2")
        case "limit":
            raise RateLimited(retry_after=7)
        case "echo":
            yield ToolResult("earlier", "late")
            yield f"{len(request.messages)} messages"
        case "kill":
            assert line is not None
            yield "Hel"
            await line.spoke.wait()
            line.cut = True
            yield "lo"
        case "silence":
            assert line is not None
            for word in ("Hel", "lo", "!"):
                await line.heartbeats(_HEARTBEATS)
                yield word


def _decided(request: ChatRequest) -> Iterator[Any]:
    """Do what was approved, and no more."""
    for decision in request.approvals:
        if decision.approved:
            yield ToolResult(decision.call_id, {"gone": decision.parse()["path"]})
        else:
            yield ToolResult(decision.call_id, decision.reason, denied=True)
    yield "Done." if all(decision.approved for decision in request.approvals) else "I did not."


_CALLS = (
    ToolCallDelta(0, "call_a", "weather", '{"city":'),
    ToolCallDelta(1, "call_b", "time"),
    ToolCallDelta(0, arguments='"Oslo"}'),
    ToolCallDelta(1, arguments='{"zone":1}'),
)
_ANSWERS: dict[str, tuple[Any, ...]] = {
    "everything": (
        Reasoning("Let me "),
        Reasoning("think."),
        Reasoning("", "sealed"),
        Text("Hel"),
        Source("https://example.org/a", "A"),
        Text(TEXT[3:]),
        ToolCallDelta(0, "call_a", "add", '{"x":', by="client"),  # unasked, for clients' helpers
        ToolCallDelta(1, "call_b", "sub", by="client"),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(1, arguments='{"y":2}'),
        ToolCall("call_c", "mul", {"z": 3}, by="client"),
        Finish("tool_calls"),
        Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3),
    ),
    "text": ("Hel", "lo ", "\u2028 wörld 🎉"),
    "reason": (Reasoning("Let me "), Reasoning("think."), "42"),
    "call": (
        "Looking.",
        *_CALLS,
        Finish("tool_calls"),
        Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3),
    ),
    "agent": (
        Step("look"),
        *_CALLS,
        Finish("tool_calls"),
        ToolResult("call_b", "noon"),
        ToolResult("call_a", {"degrees": 3}),
        "Cold.",
        Finish("stop"),
        Usage(1, 2),
    ),
    "own agent": (
        "I look. ",
        ToolCall("call_a", "weather", {"city": "Oslo"}, by="server"),
        ToolCallDelta(0, "call_b", "web_search", '{"q":1}', by="provider"),
        Finish("tool_calls"),
        ToolResult("call_b", "down", error=True),
        ToolResult("call_a", {"degrees": 3}),
        "Cold.",
        Finish("stop"),
    ),
    "loop": (
        ToolCall("call_a", "add", {"x": 1}),
        Finish("tool_calls"),
        Usage(10, 5),
        ToolResult("call_a", {"sum": 2}),
        Text("It is 2."),
        Finish("stop"),
        Usage(20, 6),
    ),
    "items": (
        "See",
        Source("https://a", "A"),
        File("data:image/png;base64,AA==", "image/png"),
        Data("mood", {"good": True}),
        ToolResult("nobody", "?"),
    ),
    "approve": (
        "May I? ",
        ToolCall("call_a", "delete", {"path": "/tmp/x"}, by="server"),
        Finish("tool_calls"),
        Approval("call_a", "It is final."),
    ),
    "page": (
        State({"count": 1}),
        StateDelta([{"op": "replace", "path": "/count", "value": 2}]),
        Data("progress", 10, id="p"),
        Data("progress", 90, id="p"),
        Data("toast", "Saved.", transient=True),
        Document("Rules", "application/pdf", "rules.pdf"),
        Metadata({"cost": {"in": 1}}),
        Metadata({"cost": {"out": 2}}),
        "Hello",
    ),
    "fail a tool": (ToolCall("call_a", "weather", "{}"), ToolResult("call_a", "broke", error=True)),
    "bad arguments": (ToolCall("call_a", "weather", '{"city":'), Finish("tool_calls")),
    "length": ("Hel", Finish("length")),
    "filter": ("Hel", Finish("content_filter")),
    "decline": (Refusal("I would "), Refusal("rather not.")),
    "refuse": (Refusal("I would "), Refusal("rather not."), Finish("content_filter")),
    "nothing": (),
}


@contextmanager
def serving(
    options: StreamOptions = StreamOptions(),  # noqa: B008 (frozen)
    answer: Answer = scripted,
    on_finish: OnFinish | None = None,
) -> Iterator[str]:
    """The address of a server that answers by the script that the prompt names."""
    chat = ChatApp(answer, options=options, on_finish=on_finish)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        line = Line(send)
        # Anthropic's clients say `/v1/messages`, wherever they are told that the server is.
        mount = "/v1" if scope.get("path", "").startswith("/v1/") else ""
        await chat({**scope, "root_path": mount, "line": line}, receive, line.send)

    with serve(app) as url:
        yield url


class Line:
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


def killing(app: Any, after: bytes) -> Any:
    """`app`, whose connection breaks as soon as `after` has gone out."""

    async def killed(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            await send(message)
            if after in message.get("body", b""):
                raise OSError("killed")  # a server that notices: the app leaves without an end

        await app(scope, receive, sending)

    return killed


class Silence:
    """An app around another that counts heartbeats, and says when there were enough."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._heartbeats = 0
        self._heard = threading.Condition()
        self.app = ChatApp(
            self.answer, options=StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
        )

    async def answer(self, request: ChatRequest) -> AsyncIterator[str]:
        for word in ("Hel", "lo", "!"):
            await anyio.to_thread.run_sync(self._wait)
            yield word

    def _wait(self) -> None:
        with self._heard:
            self._heartbeats = 0
            assert self._heard.wait_for(lambda: self._heartbeats >= self._enough, timeout=20)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            await send(message)
            if message.get("body") == b": ping\n":
                with self._heard:
                    self._heartbeats += 1
                    self._heard.notify()

        await self.app(scope, receive, counting)
