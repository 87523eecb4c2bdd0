"""`python -m benchmarks.growth`: size against time, for whatever walks through a history.

Each case is timed at a size and at eight times as much. The exponent says how the time grows:
1 is in proportion, 2 is with the square.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio

from asgi_llmstream import ChatMessage, ChatRequest, Message
from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Data,
    Finish,
    Metadata,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from asgi_llmstream.events import Event, merge
from asgi_llmstream.formats import DEFAULT_FORMATS, Format, OpenAIResponses, RequestFormat
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.sse import Decoder, ServerSentEvent, parse_sse
from asgi_llmstream.stores import MemoryStore, NewRun

__all__ = ["CASES", "exponent"]

Case = Callable[[int], Callable[[], object]]
"""Prepares something of this size, and returns what is to be timed."""

FACTOR = 8
_ROUNDS = 2

CASES: dict[str, Case] = {}


def exponent(case: Case, size: int) -> float:
    """How the time of a case grows with its size. CPU time of this thread, the best of three."""
    small, large = (_seconds(case(n)) for n in (size, size * FACTOR))
    return math.log(large / small, FACTOR)


def _seconds(timed: Callable[[], object]) -> float:
    def once() -> float:
        gc.disable()  # whose time depends on what else is in memory
        try:
            began = time.thread_time()
            timed()
            return time.thread_time() - began
        finally:
            gc.enable()

    return max(min(once() for _ in range(_ROUNDS)), 1e-6)


def case(name: str) -> Callable[[Case], Case]:
    def add(prepare: Case) -> Case:
        CASES[name] = prepare
        return prepare

    return add


# Answers.


def parts(n: int) -> Iterator[Chunk]:
    for i in range(n):
        yield Reasoning("r") if i % 2 else Text("t")


def one_turn(n: int) -> Iterator[Chunk]:
    """Many calls of one model call, and their results."""
    for i in range(n):
        yield ToolCall(f"call_{i}", "f", "{}")
    yield Finish("tool_calls")
    for i in range(n):
        yield ToolResult(f"call_{i}", "r")


def strangers(n: int) -> Iterator[Chunk]:
    """Results that answer no call."""
    for i in range(n):
        yield from (ToolCall(f"call_{i}", "f", "{}"), Finish("tool_calls"))
        yield ToolResult(f"nobody_{i}", "r")


def one_id(n: int) -> Iterator[Chunk]:
    """Calls that all have one id, as of a provider that counts anew, and their results."""
    for _ in range(n):
        yield ToolCall("call_0", "f", "{}")
    for _ in range(2 * n):
        yield ToolResult("call_0", "r")


def interleaved(n: int) -> Iterator[Chunk]:
    for i in range(n):
        yield ToolCallDelta(i, f"call_{i}", "f")
    for i in range(2 * n):
        yield ToolCallDelta(i % n, f"call_{i % n}", None, "1")
    for i in range(n):  # others at the same places
        yield ToolCallDelta(i, f"other_{i}", "f")


def values(n: int) -> Iterator[Chunk]:
    """Data that a later one of its name and id replaces, fields of metadata, and questions."""
    for i in range(n):
        yield Data("d", i, id=f"{i}")
        yield Metadata({f"{i}": i})
        yield from (ToolCall(f"call_{i}", "f", "{}", by="server"), Approval(f"call_{i}"))


ANSWERS = (parts, one_turn, strangers, one_id, interleaved, values)


def message_of(chunks: Iterator[Chunk]) -> Message:
    message = Message()
    for chunk in chunks:
        message += chunk
    return message


def events_of(chunks: Iterator[Chunk]) -> list[Event]:
    lifecycle = Lifecycle(id="run", created=0, model="m")
    events = lifecycle.start()
    for chunk in chunks:
        events += lifecycle.feed(chunk)
    return [*events, *lifecycle.finish()]


def _add_answer(answer: Callable[[int], Iterator[Chunk]]) -> None:
    name = answer.__name__

    def add(n: int) -> Callable[[], object]:
        chunks = list(answer(n))
        return lambda: message_of(iter(chunks))

    CASES[f"Message +=, {name}"] = add
    for function in (Message.to_openai, Message.to_anthropic):

        def read(n: int, function: Any = function) -> Callable[[], object]:
            message = message_of(answer(n))
            return lambda: function(message)

        CASES[f"Message.{function.__name__}, {name}"] = read


for answer in ANSWERS:
    _add_answer(answer)


@case("Message.to_dict")
def message_to_dict(n: int) -> Callable[[], object]:
    return message_of(parts(n)).to_dict


@case("Message.from_dict")
def message_from_dict(n: int) -> Callable[[], object]:
    stored = message_of(parts(n)).to_dict()
    return lambda: Message.from_dict(stored)


@case("Message.text")
def message_text(n: int) -> Callable[[], object]:
    message = message_of(parts(n))
    return lambda: message.text


@case("Message.metadata")
def message_metadata(n: int) -> Callable[[], object]:
    message = message_of(values(n))
    return lambda: message.metadata


@case("merge")
def merged(n: int) -> Callable[[], object]:
    events = events_of(interleaved(n))
    return lambda: merge(events)


def _add_format(format: Format, answer: Callable[[int], Iterator[Chunk]]) -> None:
    def write(n: int) -> Callable[[], object]:
        events = events_of(answer(n))

        def encode_all() -> None:
            encode = format.encoder()
            for event in events:
                encode(event)

        return encode_all

    CASES[f"{type(format).__name__} out, {answer.__name__}"] = write


for format in DEFAULT_FORMATS:
    _add_format(format, interleaved)
    _add_format(format, values)


# Stores.


@case("MemoryStore, many runs of one owner")
def many_runs(n: int) -> Callable[[], object]:
    async def begin_all() -> None:
        store = MemoryStore()
        for i in range(n):
            key = f"chat {i}"
            await store.begin(NewRun(owner="", id=f"{i}", key=key, idempotency_key=f"{i}"))
            await store.list_runs("", key)

    return lambda: anyio.run(begin_all)


# Requests.


def body(format: RequestFormat, n: int) -> dict[str, Any]:
    """A conversation of `n` turns, each with a call of a tool."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    user = {"role": "user", "content": [{"type": "text", "text": "hi"}], "id": "u"}
    match format.route:
        case "/chat/completions" | "/ag-ui":
            camel = format.route == "/ag-ui"
            calls, call_id = (
                ("toolCalls", "toolCallId") if camel else ("tool_calls", "tool_call_id")
            )
            said = {"role": "assistant", "content": "a", calls: [call], "id": "a"}
            result = {"role": "tool", call_id: "c", "content": "r", "id": "t"}
            return {"messages": [user, said, result] * n, "threadId": "t", "runId": "r"}
        case "/responses":
            called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
            output = {"type": "function_call_output", "call_id": "c", "output": "r"}
            return {"input": [{"role": "user", "content": "hi"}, called, output] * n}
        case "/messages":
            use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
            told = {"type": "tool_result", "tool_use_id": "c", "content": "r"}
            turn = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [told]}]
            return {"messages": turn * n, "max_tokens": 9}
        case _:
            tool = {"type": "tool-f", "toolCallId": "c", "state": "output-available"}
            parts = [{"type": "step-start"}, {"type": "text", "text": "a"}]
            parts += [{**tool, "input": {}, "output": "r"}]
            return {"messages": [{"id": "a", "role": "assistant", "parts": parts * n}]}


def _add_requests() -> None:
    for format in DEFAULT_FORMATS:
        if "POST" in format.methods:

            def decode(n: int, format: Any = format) -> Callable[[], object]:
                fields = body(format, n)
                return lambda: format.for_request(format.decode(fields))

            CASES[f"{type(format).__name__} in"] = decode


_add_requests()


@case("OpenAIResponses in, approvals")
def approvals(n: int) -> Callable[[], object]:
    call = {"name": "f", "arguments": "{}"}
    ids = [f"call_{i}" for i in range(n)]
    asked = [{"type": "mcp_approval_request", "id": id, **call} for id in ids]
    answers = [
        {"type": "mcp_approval_response", "approval_request_id": id, "approve": True} for id in ids
    ]
    results = [
        {"type": "mcp_call", "id": "m", "approval_request_id": id, "output": "r", **call}
        for id in ids
    ]
    return lambda: OpenAIResponses().decode({"input": [*asked, *answers, *results], "model": "m"})


def request(n: int) -> ChatRequest:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = ChatMessage(role="assistant", content="a", tool_calls=[call])
    result = ChatMessage(role="tool", content="r", tool_call_id="c")
    return ChatRequest(messages=[said, result] * n)


@case("ChatRequest.to_openai")
def request_to_openai(n: int) -> Callable[[], object]:
    return request(n).to_openai


@case("ChatRequest.to_anthropic")
def request_to_anthropic(n: int) -> Callable[[], object]:
    return request(n).to_anthropic


@case("ChatRequest.prompt")
def request_prompt(n: int) -> Callable[[], object]:
    asked = request(n)
    return lambda: asked.prompt


# Server-sent events.


@case("parse_sse: events")
def many_events(n: int) -> Callable[[], object]:
    data = ServerSentEvent("x").encode() * n
    return lambda: parse_sse(data)


@case("parse_sse: lines of one event")
def many_lines(n: int) -> Callable[[], object]:
    data = ServerSentEvent("x\n" * n).encode()
    return lambda: parse_sse(data)


@case("Decoder.feed: a line in pieces")
def line_in_pieces(n: int) -> Callable[[], object]:
    piece = b"x" * 512

    def feed() -> None:
        decoder = Decoder()
        decoder.feed(b"data: ")
        for _ in range(n):
            decoder.feed(piece)
        decoder.feed(b"\n\n")

    return feed


@case("json: what parsing costs anyway")
def floor(n: int) -> Callable[[], object]:
    text = json.dumps(list(range(n * 10)))
    return lambda: json.loads(text)


def main() -> None:
    print(f"{'':56} {'time at 1,000':>14} {'exponent':>9}")
    for name, prepare in CASES.items():
        seconds = _seconds(prepare(1000))
        print(f"{name:56} {seconds * 1000:11.2f} ms {exponent(prepare, 1000):9.2f}")


if __name__ == "__main__":
    main()
