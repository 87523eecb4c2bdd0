"""Answers that do what the prompt says, for the tests of the clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio

from asgi_llmstream import (
    ChatRequest,
    Data,
    File,
    Finish,
    LLMStreamError,
    RateLimited,
    Reasoning,
    Refusal,
    Source,
    Step,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)

__all__ = ["TEXT", "killing", "scripted"]

TEXT = "Hello \u2028 wörld 🎉"


async def scripted(request: ChatRequest) -> AsyncIterator[Any]:
    """Does what the prompt says."""
    answer = _ANSWERS.get(request.prompt)
    if answer is not None:
        for chunk in answer:
            yield chunk
        return
    match request.prompt:
        case "hang":
            yield "Hel"
            await anyio.sleep_forever()
        case "break":
            yield "Hel"
            raise RuntimeError("secret: the database password is hunter2")
        case "break openly":
            yield "Hel"
            raise LLMStreamError("The cat sat on the GPU.", code="cat")
        case "limit":
            raise RateLimited(retry_after=7)
        case "echo":
            yield ToolResult("earlier", "late")
            yield f"{len(request.messages)} messages"


_CALLS = (
    ToolCallDelta(0, "call_a", "weather", '{"city":'),
    ToolCallDelta(1, "call_b", "time"),
    ToolCallDelta(0, arguments='"Oslo"}'),
    ToolCallDelta(1, arguments='{"zone":1}'),
)
_ANSWERS: dict[str, tuple[Any, ...]] = {
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
    "items": (
        "See",
        Source("https://a", "A"),
        File("data:image/png;base64,AA==", "image/png"),
        Data("mood", {"good": True}),
        ToolResult("nobody", "?"),
    ),
    "fail a tool": (ToolCall("call_a", "weather", "{}"), ToolResult("call_a", "broke", error=True)),
    "bad arguments": (ToolCall("call_a", "weather", '{"city":'), Finish("tool_calls")),
    "length": ("Hel", Finish("length")),
    "refuse": (Refusal("I would "), Refusal("rather not."), Finish("content_filter")),
    "nothing": (),
}


def killing(app: Any, after: bytes) -> Any:
    """`app`, whose connection breaks as soon as `after` has gone out."""

    async def killed(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            await send(message)
            if after in message.get("body", b""):
                raise OSError("killed")  # a server that notices: the app leaves without an end

        await app(scope, receive, sending)

    return killed
