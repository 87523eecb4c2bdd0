"""The scenarios of the matrix: the server's answers, and how every client must tell them.

A scenario is a conversation: a prompt for each turn, and the turn's answer as the client must tell
it. A client tells what it has words for; what it tells must be right, and its text it must tell.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import anyio
import httpx2
import openai
from msgspec.structs import replace

from asgi_llmstream import (
    Approval,
    BadRequest,
    ChatMessage,
    ChatRequest,
    Data,
    File,
    Finish,
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

__all__ = ["CUT", "SCENARIOS", "SECRET", "Scenario", "Turn", "answer"]

TEXT = "Hello \u2028 w\u00f6rld \U0001f389"
SECRET = "hunter2"
# The protocols' own words for an answer that its length cut.
CUT = {"length", "max_tokens", "max_output_tokens", "incomplete"}


class Turn(NamedTuple):
    """An answer as the client must tell it; None where the scenario does not ask.

    Attributes:
        text: all of it.
        cut: whether its length ended it.
        usage: tokens in and out.
    """

    text: str
    reasoning: str | None = None
    cut: bool = False
    usage: tuple[int, int] | None = None


class Scenario(NamedTuple):
    """A conversation.

    Attributes:
        name: also the first turn's prompt; those that follow say "again".
        turns: what the client must tell.
        ran: which of the client's own tools run, with their arguments. They are offered then.
        status: of the error that the client must raise, if it must.
        late: the error comes when the stream has begun, and has no status there.
        whole: whether the answer is also asked for in one piece.
        leaves: the client goes away after the first words.
        offers: whether the client's tools are offered.
        says: words of the error by which some clients tell it.
    """

    name: str
    turns: tuple[Turn, ...] = ()
    ran: tuple[tuple[str, dict[str, int]], ...] = ()
    status: int | None = None
    late: bool = False
    whole: bool = True
    leaves: bool = False
    offers: bool = False
    says: str | None = None


_AGAIN = "You asked {} times and heard {!r}.".format


def _and_again(text: str) -> tuple[Turn, Turn]:
    """A turn, and one behind it that tells what the client sent of the first."""
    return Turn(text), Turn(_AGAIN(2, text))


_USAGE = Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3)
_ADD, _SUB, _NOW = ("add", {"x": 1, "y": 2}), ("sub", {"x": 1, "y": 2}), ("now", {})
_OWN = {"add", "sub", "now"}

SCENARIOS = (
    Scenario("text", (Turn("Hello"),)),
    Scenario("two turns", _and_again("Hello")),
    Scenario("unicode", (Turn(TEXT),)),
    Scenario("reasoning", (Turn("42", reasoning="Let me think."),)),
    Scenario("refusal", (Turn("I would rather not."),), says="I would rather not."),
    Scenario("usage", (Turn("Hello", usage=(5, 7)),)),
    Scenario("length", (Turn("Hel", cut=True),), says="incomplete"),
    Scenario("source", (Turn("See there."),)),
    Scenario("items", (Turn("Hello"),)),
    Scenario("silence", (Turn("Hello"),), whole=False),
    Scenario("call", _and_again("The tools say 3."), (_ADD,), offers=True),
    Scenario("parallel", _and_again("The tools say -1, 3."), (_ADD, _SUB), offers=True),
    Scenario("no arguments", (Turn("The tools say 12."),), (_NOW,), offers=True),
    # The server's own tools, which it has answered: with none of the client's, with these beside
    # them, and with a call of one of these at the end.
    Scenario("agent", _and_again("Cold.")),
    Scenario("agent beside tools", _and_again("Cold."), offers=True),
    Scenario("agent calls", _and_again("The tools say 3."), (_ADD,), offers=True),
    # One that has to be approved first: nobody may run it.
    Scenario("approval", (Turn("May I?"),)),
    Scenario("limit", status=429),
    Scenario("denied", status=502),
    Scenario("late error", status=500, late=True),
    Scenario("broken", status=500, late=True),
    Scenario("truncated", status=502, late=True),
    Scenario("truncated call", status=502, late=True, offers=True),
    Scenario("leaving", (Turn("Hel"),), whole=False, leaves=True),
)


async def answer(request: ChatRequest) -> AsyncIterator[Any]:
    """Does what the conversation's last prompt says."""
    _check_pairs(request)
    if results := _results(request):
        yield f"The tools say {', '.join(sorted(results))}."
        yield Finish("stop")
        return
    match request.prompt:
        case "again":
            yield _again(request)
        case prompt if prompt in _LIVE:
            async for chunk in _LIVE[prompt](request):
                yield chunk
        case prompt:
            for chunk in _ANSWERS[prompt]:
                yield _by_its_own_word(chunk) if request.chat_id else chunk


def _by_its_own_word(chunk: Any) -> Any:
    """Say whose call it is, where a request cannot: the page of the AI SDK names no tools."""
    if isinstance(chunk, ToolCall | ToolCallDelta) and chunk.name:
        return replace(chunk, by="client" if chunk.name in _OWN else "server")
    return chunk


def _check_pairs(request: ChatRequest) -> None:
    """Refuse what OpenAI and Anthropic refuse: a call without its result, or the other way."""
    calls = [call["id"] for message in request.messages for call in message.tool_calls]
    results = [m.tool_call_id for m in request.messages if m.role == "tool"]
    if sorted(calls) != sorted(map(str, results)):
        raise BadRequest(f"calls {calls} and results {results} do not belong together")


def _results(request: ChatRequest) -> list[str]:
    """The numbers in what the client's tools gave back since its last prompt."""
    calls = [call for message in request.messages for call in message.tool_calls]
    own = {call["id"] for call in calls if call["function"]["name"] in _OWN}
    results: list[str] = []
    for message in reversed(request.messages):
        if message.role != "tool" and not _is_observation(message):
            break
        if message.role == "user" or message.tool_call_id in own:
            results += re.findall(r"-?\d+", message.text)
    return results


def _is_observation(message: ChatMessage) -> bool:
    """Tell a tool's result in the words of smolagents, which has no others."""
    return message.role == "user" and message.text.startswith("Observation:")


def _again(request: ChatRequest) -> str:
    asked = [m.text for m in request.messages if m.role == "user" and not _is_observation(m)]
    heard = [m.text for m in request.messages if m.role == "assistant" and m.text]
    return _AGAIN(len(asked), heard[-1] if heard else "")


async def _silence(request: ChatRequest) -> AsyncIterator[Any]:
    for word in ("Hel", "lo"):
        await request.scope["line"].heartbeats(3)
        yield word


async def _limit(request: ChatRequest) -> AsyncIterator[Any]:
    raise RateLimited(retry_after=7)
    yield


async def _denied(request: ChatRequest) -> AsyncIterator[Any]:
    asked = httpx2.Request("POST", "http://upstream.invalid/v1/chat/completions")
    refused = httpx2.Response(401, request=asked)
    raise openai.AuthenticationError(f"bad key {SECRET}", response=refused, body=None)
    yield


async def _late_error(request: ChatRequest) -> AsyncIterator[Any]:
    if request.stream:
        await request.scope["line"].heartbeats(1)
    raise RuntimeError(SECRET)
    yield


async def _broken(request: ChatRequest) -> AsyncIterator[Any]:
    yield "Hel"
    if request.stream:
        await request.scope["line"].spoke.wait()
    raise RuntimeError(SECRET)


async def _leaving(request: ChatRequest) -> AsyncIterator[Any]:
    yield "Hel"
    await anyio.sleep_forever()


_LIVE: dict[str, Callable[[ChatRequest], AsyncIterator[Any]]] = {
    "silence": _silence,
    "limit": _limit,
    "denied": _denied,
    "late error": _late_error,
    "broken": _broken,
    "leaving": _leaving,
}


def _upstream(delta: dict[str, Any]) -> dict[str, Any]:
    """A chunk of an OpenAI-compatible provider, after which it says no more."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


_HALF_CALL = {
    "index": 0,
    "id": "call_a",
    "type": "function",
    "function": {"name": "add", "arguments": '{"x"'},
}
_AGENT = (
    Step("look"),
    ToolCall("call_s1", "lookup", {"city": "Oslo"}),
    Finish("tool_calls"),
    ToolResult("call_s1", {"id": 7}),
    ToolCallDelta(0, "call_s2", "weather", '{"id":'),
    ToolCallDelta(0, arguments="7}"),
    Finish("tool_calls"),
    ToolResult("call_s2", "3 degrees"),
)
_CALL = (
    ToolCallDelta(0, "call_a", "add", '{"x":1,'),
    ToolCallDelta(0, arguments='"y":2}'),
    Finish("tool_calls"),
)
_ANSWERS: dict[str, tuple[Any, ...]] = {
    "text": ("Hel", "lo"),
    "two turns": ("Hel", "lo"),
    "unicode": (TEXT[:3], TEXT[3:]),
    "reasoning": (Reasoning("Let me "), Reasoning("think.", "sealed"), "42", Finish("stop")),
    "refusal": (Refusal("I would "), Refusal("rather not."), Finish("stop")),
    "usage": ("Hel", "lo", Finish("stop"), _USAGE),
    "length": ("Hel", Finish("length")),
    "source": ("See ", Source("https://example.org/a"), "there."),
    "items": (
        "Hel",
        Data("mood", {"good": True}),
        File("data:image/png;base64,AA==", "image/png"),
        "lo",
    ),
    "call": _CALL,
    "parallel": (
        ToolCallDelta(0, "call_a", "add", '{"x":1,'),
        ToolCallDelta(1, "call_b", "sub", '{"x":1,'),
        ToolCallDelta(0, arguments='"y":2}'),
        ToolCallDelta(1, arguments='"y":2}'),
        Finish("tool_calls"),
    ),
    "no arguments": (ToolCallDelta(0, "call_a", "now"), Finish("tool_calls")),
    "agent": (*_AGENT, "Cold.", Finish("stop")),
    "agent beside tools": (*_AGENT, "Cold.", Finish("stop")),
    "agent calls": (*_AGENT, *_CALL),
    "approval": (
        "May ",
        "I?",
        ToolCall("call_s1", "delete", {"id": 7}),
        Finish("tool_calls"),
        Approval("call_s1", "It is final."),
    ),
    "truncated": (_upstream({"role": "assistant", "content": "Hel"}),),
    "truncated call": (_upstream({"tool_calls": [_HALF_CALL]}),),
}
