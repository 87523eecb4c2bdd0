"""OpenAI chat completions: `chat.completion.chunk` events.

Source: the OpenAI API reference, chat completions and chat completion chunks.

Calls go out one after the other, since clients' accumulators take those that grow beside each other
for one. A call's signature is where Gemini's own endpoint of this protocol has it, `extra_content`.

Not carried, because the protocol has no word for it: reasoning that is not shown and the signature
of any, calls that others than the client answer, approvals of these, tool results, sources,
documents, files, data, metadata, state, steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from ...errors import LLMStreamError
from ...events import (
    Event,
    NativeAdded,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
)
from ...message import Message
from ...request import ChatRequest, google
from ..base import Encoder, Method, Operation, StoredOperation
from ..shapes import chat
from ..shapes.failures import error_object, failed
from ..shapes.sequence import Sequence
from ..wire import DONE, data, dumps, quote
from .openapi import operation, stored_operations
from .request import decode_request
from .whole import whole_body
from .words import completion_id, finish_reason, usage_object

__all__ = ["OpenAIChat"]


class OpenAIChat(Struct, frozen=True, kw_only=True):
    """The format of `POST /chat/completions`.

    Args:
        include_usage: end with a chunk that holds the usage, when it is known. Requests set it
            with `stream_options`.
        reasoning_field: the delta's key for reasoning: "reasoning_content" (DeepSeek, vLLM,
            llama.cpp) or "reasoning" (OpenRouter).
        done_after_error: whether `[DONE]` follows an error event. Official clients raise at the
            error and never see it; some others wait for it.
        offered: the names of the tools that the client runs: calls of others are the server's.
            If None all are the client's, unless a call says otherwise. Requests set it.
        counts_bytes: whether the client comes back with how many bytes it has, as llama.cpp's
            page does: then tokens go out one by one, without heartbeats. Requests set it.
    """

    include_usage: bool = False
    reasoning_field: str = "reasoning_content"
    done_after_error: bool = True
    offered: frozenset[str] | None = None
    counts_bytes: bool = False

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    route: ClassVar[str] = "/chat/completions"
    methods: ClassVar[tuple[Method, ...]] = ("POST",)
    names_model: ClassVar[bool] = True

    def encoder(self) -> Encoder:
        return _Encoder(self).encode

    def error_body(self, error: LLMStreamError) -> bytes:
        return dumps(error_object(error))

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields)

    def for_request(self, request: ChatRequest) -> OpenAIChat:
        return msgspec.structs.replace(
            self, include_usage=request.include_usage, offered=request.offered
        )

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        return whole_body(self.reasoning_field, started, message)

    def operation(self, method: Method, /) -> Operation:
        return operation()

    def stored_operations(self) -> Iterable[StoredOperation]:
        return stored_operations()


class _Encoder:
    """The envelope is encoded once; a token adds its own text between prefix and suffix."""

    def __init__(self, format: OpenAIChat) -> None:
        self._format = format
        self._envelope = b""
        self._prefix = b""
        self._suffix = b""
        self._native: dict[str, Any] | None = None
        self._sequence = Sequence(clients_only=True)
        self._calls = -1  # the index of the last that began
        self._keys = {
            "text": b'"content":',
            "reasoning": dumps(format.reasoning_field) + b":",
            "refusal": b'"refusal":',
        }

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta and event.part.index == self._sequence.current:
            return self._delta(event)  # the hot path
        return b"".join(map(self._encode, self._sequence.feed(event)))

    def _encode(self, event: Event) -> bytes:
        match event:
            case PartDelta():
                return self._delta(event)
            case RunStarted():
                return self._start(event)
            case PartStarted(part=Part(kind="tool_call")):
                return self._with_native(self._call(event.part))
            case PartEnded(part=Part(kind="tool_call"), signature=str(signature)):
                return self._seal(signature)
            case RunFinished():
                return self._with_native(self._finish(event))
            case NativeAdded(family="openai", fields=fields):
                self._native = _merged(self._native or {}, fields)
                return b""
            case RunFailed() | RunAborted():
                done = DONE if self._format.done_after_error else b""
                return data(dumps(error_object(failed(event)))) + done
            case _:
                return b""

    def _with_native(self, events: bytes) -> bytes:
        """Put what the upstream's chunk had beside into the chunk that its words go out with."""
        if self._native is None:
            return events
        first, rest = events.split(b"\n\n", 1)
        chunk = msgspec.json.decode(first.removeprefix(b"data: "))
        native, self._native = self._native, None
        choice = chunk["choices"][0]
        # The envelope and the words are ours, whatever the upstream calls its fields.
        chunk = native.get("chunk", {}) | chunk
        chunk["choices"] = [native.get("choice", {}) | choice]
        chunk["choices"][0]["delta"] = native.get("delta", {}) | choice["delta"]
        return data(dumps(chunk)) + rest

    def _start(self, event: RunStarted) -> bytes:
        constant = {
            "id": completion_id(event),
            "object": "chat.completion.chunk",
            "created": event.created,
            "model": event.model,
        }
        usage = b',"usage":null' if self._format.include_usage else b""
        self._envelope = b"data: " + dumps(constant)[:-1]
        self._prefix = self._envelope + b',"choices":[{"index":0,"delta":{'
        self._suffix = b'},"finish_reason":null}]' + usage + b"}\n\n"
        return self._prefix + b'"role":"assistant","content":""' + self._suffix

    def _delta(self, event: PartDelta) -> bytes:
        part, quoted = event.part, quote(event.text)
        if part.kind == "tool_call":
            call = b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]'
            delta = call % (self._calls, quoted)
        else:
            delta = self._keys[part.kind] + quoted
        chunk = self._prefix + delta + self._suffix
        return chunk if self._native is None else self._with_native(chunk)

    def _call(self, part: Part) -> bytes:
        self._calls += 1
        call = {"index": self._calls, **chat.call(part.id, part.name, "")}
        return self._prefix + b'"tool_calls":' + dumps([call]) + self._suffix

    def _seal(self, signature: str) -> bytes:
        # With empty arguments: some clients want a function in every piece of a call.
        call = {"index": self._calls, "function": {"arguments": ""}, **google.sealed(signature)}
        return self._prefix + b'"tool_calls":' + dumps([call]) + self._suffix

    def _finish(self, event: RunFinished) -> bytes:
        reason = dumps(finish_reason(event.reason))
        last = self._suffix.replace(b"null", reason, 1)
        out = self._prefix + last
        if self._format.include_usage and event.usage is not None:
            usage = dumps(usage_object(event.usage))
            out += self._envelope + b',"choices":[],"usage":' + usage + b"}\n\n"
        return out + DONE


def _merged(before: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {k: before.get(k, {}) | fields.get(k, {}) for k in before.keys() | fields.keys()}
