"""Anthropic messages: stream events.

Source: the Anthropic API reference, messages, streaming and errors; anthropic 2.12 (Python) and
1.12 (Node), whose accumulators are the judges.

Blocks follow each other on the wire, while tool calls may grow beside each other: see `Sequence`.

    what            becomes
    ------------    -----------------------------------------------------------------------
    reasoning       `thinking` blocks, with the signature if there is one; `redacted_thinking`
                    where it is not shown
    refusals        `text` blocks; one that ends the answer makes its stop reason "refusal"
    sources         citations (`web_search_result_location`) of the text that they stand in,
                    precede or follow; dropped if there is none
    calls           those that others than the client answer are left out, with their results and
                    the approvals that they wait for; one that broke off is not stopped, since
                    clients run it then, and calls that waited for it are not sent: the error
                    follows. Gemini's signature is dropped
    finish reasons  Anthropic's own word if the provider said one, else the nearest; with the
                    `stop_details` or `stop_sequence` that it gave
    usage           the input's tokens in `message_start` where they come before anything else,
                    as Anthropic's own do, and else zeros; all in `message_delta`
    arguments       in a whole message, what is no JSON object is `{"invalid_json": text}`
    tool results,   dropped
    documents,
    files, data,
    metadata, state,
    steps
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...chunks import Source, Usage
from ...errors import LLMStreamError
from ...events import (
    Event,
    ItemAdded,
    NativeAdded,
    Part,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepStarted,
    UsageReported,
)
from ...message import Message
from ...request import ChatRequest
from ..base import Encoder, Method
from ..shapes.citations import Citations
from ..shapes.failures import failed
from ..shapes.sequence import Sequence
from ..wire import dumps, named, quote
from .request import decode_request
from .whole import whole_body
from .words import Block, block_of, citation_of, error_object, message_of, stop_of, usage_object

__all__ = ["AnthropicMessages"]


class AnthropicMessages(Struct, frozen=True, kw_only=True):
    """The format of `POST /messages`.

    Args:
        offered: the names of the tools that the client runs: calls of others are the server's.
            If None all are the client's, unless a call says otherwise. Requests set it.
    """

    offered: frozenset[str] | None = None

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    route: ClassVar[str] = "/messages"
    methods: ClassVar[tuple[Method, ...]] = ("POST",)
    names_model: ClassVar[bool] = True

    def encoder(self) -> Encoder:
        return _Encoder().encode

    def error_body(self, error: LLMStreamError) -> bytes:
        return dumps({"type": "error", **error_object(error)})

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields)

    def for_request(self, request: ChatRequest) -> AnthropicMessages:
        return msgspec.structs.replace(self, offered=request.offered)

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        return whole_body(started, message)


# A delta's type, and its key.
_DELTAS: dict[PartKind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool_call": ("input_json_delta", "partial_json"),
}


class _Encoder:
    """Every part is a block, but for calls that are not the client's."""

    def __init__(self) -> None:
        self._started: RunStarted | None = None
        self._block = -1  # the index of the last that began
        self._prefix = b""
        self._sequence = Sequence(clients_only=True)
        self._last: PartKind | None = None
        self._citations = Citations()
        # What the upstream's `message_delta` had beside; the last model call's goes out.
        self._native: dict[str, Any] = {}

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta and event.part.index == self._sequence.current:
            return self._delta(event)  # the hot path
        start = b"" if self._started is None else self._start(self._started, event)
        turns = self._sequence.feed(event)
        ready = [e for turn in turns for e in self._citations.feed(turn)]
        return start + b"".join(map(self._encode, ready))

    def _start(self, started: RunStarted, event: Event) -> bytes:
        """The `message_start`, with the input's tokens if they are what comes first."""
        known: Usage | None = None
        match event:
            case StepStarted():
                return b""
            case NativeAdded(fields=fields) if "event" not in fields:
                return b""
            case UsageReported(usage=usage):
                known = replace(usage, output_tokens=0, reasoning_tokens=0)
        self._started = None
        return named("message_start", {"message": message_of(started, known)})

    def _encode(self, event: Event) -> bytes:
        match event:
            case PartDelta():
                return self._delta(event)
            case PartStarted(part=part):
                self._last = part.kind
                return self._open(part)
            case PartEnded():
                # Clients run a call at its end.
                broke_off = event.part.kind == "tool_call" and not event.whole
                return b"" if broke_off else self._close(event)
            case ItemAdded(item=Source() as source):
                return self._add({"type": "citations_delta", "citation": citation_of(source)})
            case RunStarted():
                self._started = event
                return b""
            case RunFinished():
                return self._finish(event)
            case NativeAdded(family="anthropic", fields=native):
                if "event" in native:  # one that we do not know
                    return named(str(native["event"].get("type")), native["event"])
                self._native = native
                return b""
            case RunFailed() | RunAborted():
                return named("error", error_object(failed(event)))
            case _:
                return b""

    def _open(self, part: Part) -> bytes:
        self._block += 1
        if part.redacted:
            return b""  # it begins with all that there is of it
        kind, key = _DELTAS[part.kind]
        self._prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":' % (self._block, kind.encode(), key.encode())
        )
        return self._begin(block_of(part))

    def _begin(self, block: Block) -> bytes:
        return named("content_block_start", {"index": self._block, "content_block": block})

    def _delta(self, event: PartDelta) -> bytes:
        return self._prefix + quote(event.text) + b"}}\n\n"

    def _add(self, delta: dict[str, Any]) -> bytes:
        return named("content_block_delta", {"index": self._block, "delta": delta})

    def _close(self, event: PartEnded) -> bytes:
        out = b""
        if event.part.redacted:
            out = self._begin(block_of(event.part, "", event.signature))
        elif event.signature is not None and event.part.kind == "reasoning":
            out = self._add({"type": "signature_delta", "signature": event.signature})
        return out + named("content_block_stop", {"index": self._block})

    def _finish(self, event: RunFinished) -> bytes:
        delta = stop_of(event.reason, event.native, event.details, self._last)
        own = {
            "delta": self._native.get("delta", {}) | delta,
            "usage": self._native.get("usage", {}) | usage_object(event.usage),
        }
        last = named("message_delta", self._native.get("message_delta", {}) | own)
        return last + named("message_stop", {})
