"""Anthropic messages: stream events and whole messages.

Source: the Anthropic API reference, messages, streaming and errors; anthropic 2.12 (Python) and
1.12 (Node), whose accumulators are the judges.

Blocks follow each other on the wire, while tool calls may grow beside each other. So the first
open call is streamed as it grows, and what comes for the others waits until it is closed.

    what            becomes
    ------------    -----------------------------------------------------------------------
    reasoning       `thinking` blocks, with the signature if there is one
    refusals        `text` blocks; one that ends the answer makes its stop reason "refusal"
    sources         citations (`web_search_result_location`) of the text that they stand in,
                    precede or follow; dropped if there is none
    calls           one that broke off is not stopped, since clients run it then, and calls that
                    waited for it are not sent: the error follows
    finish reasons  Anthropic's own word if the provider said one, else the nearest
    usage           zeros in `message_start`, since the tokens are counted later; the counts, or
                    zeros where there are none, in `message_delta`
    arguments       in a whole message, what is no JSON object is `{"invalid_json": text}`
    tool results,   dropped
    files, data,
    steps
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from msgspec import Struct

from ...chunks import FinishReason, Source, Usage
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
)
from ...message import Message, MessageToolCall
from ...request import ChatRequest
from ..base import Encoder, dumps, named, quote, replay
from ..shapes.citations import Citations
from .request import decode_request

__all__ = ["AnthropicMessages"]

_Block = dict[str, Any]


class AnthropicMessages(Struct, frozen=True, kw_only=True):
    """The format of `POST /messages`."""

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    route: ClassVar[str] = "/messages"
    method: ClassVar[Literal["GET", "POST"]] = "POST"

    def encoder(self) -> Encoder:
        return _Encoder().encode

    def error_body(self, error: LLMStreamError) -> bytes:
        return dumps({"type": "error", **_error(error.status, error.message)})

    def decode(self, body: bytes) -> ChatRequest:
        return decode_request(body)

    def for_request(self, request: ChatRequest) -> AnthropicMessages:
        return self

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        citations, blocks = Citations(), list[_Block]()
        body, stop = _message(started), dict[str, Any]()
        last: PartKind | None = None
        for event in replay(started, message):
            for ready in citations.feed(event):
                match ready:
                    case PartStarted(part=part):
                        last = part.kind
                        blocks.append(_empty(part))
                    case ItemAdded(item=Source() as source):
                        blocks[-1].setdefault("citations", []).append(_citation(source))
                    case PartEnded():
                        blocks[-1] |= _filled(ready)
                    case RunFinished(reason=reason, native=native):
                        stop = {"stop_reason": _stop_reason(reason, native, last)}
        return dumps({**body, "content": blocks, **stop, "usage": _usage(message.usage)})


class _Waiting:
    """A part that has begun, and waits for its turn on the wire."""

    __slots__ = ("end", "part", "pieces")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.pieces: list[str] = []
        self.end: PartEnded | None = None


# A delta's type, and its key.
_DELTAS: dict[PartKind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool_call": ("input_json_delta", "partial_json"),
}


class _Encoder:
    """Every part is a block, and parts begin in the order of their indexes: they are the
    blocks'."""

    def __init__(self) -> None:
        self._current: int | None = None
        self._prefix = b""
        self._waiting: dict[int, _Waiting] = {}
        self._last: PartKind | None = None
        self._citations = Citations()
        # What the upstream's `message_delta` had beside; the last model call's goes out.
        self._native: dict[str, Any] = {}

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta:  # the hot path
            index = event.part.index
            if index == self._current:
                return self._prefix + quote(event.text) + b"}}\n\n"
            self._waiting[index].pieces.append(event.text)
            return b""
        return b"".join(map(self._encode, self._citations.feed(event)))

    def _encode(self, event: Event) -> bytes:
        match event:
            case PartStarted(part=part):
                self._last = part.kind
                if self._current is None:
                    return self._open(part)
                self._waiting[part.index] = _Waiting(part)
                return b""
            case PartEnded(part=part):
                if part.index != self._current:
                    self._waiting[part.index].end = event
                    return b""
                if part.kind == "tool_call" and not event.whole:
                    return b""
                return self._close(event) + self._catch_up()
            case ItemAdded(item=Source() as source):
                return self._delta({"type": "citations_delta", "citation": _citation(source)})
            case RunStarted():
                return named("message_start", {"message": _message(event)})
            case RunFinished():
                return self._finish(event)
            case NativeAdded(family="anthropic", fields=native):
                if "event" in native:  # one that we do not know
                    return named(str(native["event"].get("type")), native["event"])
                self._native = native
                return b""
            case RunFailed(status=status, message=message):
                return named("error", _error(status, message))
            case RunAborted(reason=reason):
                return named("error", _error(500, f"The answer was aborted: {reason}."))
            case _:
                return b""

    def _open(self, part: Part) -> bytes:
        self._current = part.index
        kind, key = _DELTAS[part.kind]
        self._prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":' % (part.index, kind.encode(), key.encode())
        )
        return named("content_block_start", {"index": part.index, "content_block": _empty(part)})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return named("content_block_delta", {"index": self._current, "delta": delta})

    def _close(self, event: PartEnded) -> bytes:
        out = b""
        if event.signature is not None:
            out = self._delta({"type": "signature_delta", "signature": event.signature})
        self._current = None
        return out + named("content_block_stop", {"index": event.part.index})

    def _catch_up(self) -> bytes:
        """Write what waited, up to the first part that still grows."""
        out = b""
        while self._waiting and self._current is None:
            waiting = self._waiting.pop(next(iter(self._waiting)))
            out += self._open(waiting.part)
            if waiting.pieces:
                out += self._prefix + quote("".join(waiting.pieces)) + b"}}\n\n"
            if waiting.end is not None:
                out += self._close(waiting.end)
        return out

    def _finish(self, event: RunFinished) -> bytes:
        reason = _stop_reason(event.reason, event.native, self._last)
        delta = {"stop_reason": reason, "stop_sequence": None}
        own = {
            "delta": self._native.get("delta", {}) | delta,
            "usage": self._native.get("usage", {}) | _usage(event.usage),
        }
        last = named("message_delta", self._native.get("message_delta", {}) | own)
        return last + named("message_stop", {})


def _message(started: RunStarted) -> dict[str, Any]:
    return {
        "id": f"msg_{started.id}",
        "type": "message",
        "role": "assistant",
        "model": started.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(None),
    }


def _empty(part: Part) -> _Block:
    match part.kind:
        case "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_call":
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        case _:
            return {"type": "text", "text": ""}


def _filled(event: PartEnded) -> _Block:
    """What a whole block has beyond an empty one."""
    match event.part.kind:
        case "reasoning":
            return {"thinking": event.text, "signature": event.signature or ""}
        case "tool_call":
            call = MessageToolCall(event.part.id, event.part.name, event.text)
            try:
                given = call.parse()
            except ValueError:
                given = None
            return {"input": given if isinstance(given, dict) else {"invalid_json": event.text}}
        case _:
            return {"text": event.text}


def _citation(source: Source) -> dict[str, Any]:
    return {
        "type": "web_search_result_location",
        "url": source.url,
        "title": source.title,
        "cited_text": "",
        "encrypted_index": "",
    }


_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "other": "end_turn",
}
_OWN_STOP_REASONS = {
    *_STOP_REASONS.values(),
    "stop_sequence",
    "pause_turn",
    "model_context_window_exceeded",
}


def _stop_reason(reason: FinishReason, native: str | None, last: PartKind | None) -> str:
    word = native if native in _OWN_STOP_REASONS else _STOP_REASONS[reason]
    return "refusal" if word == "end_turn" and last == "refusal" else word


def _usage(usage: Usage | None) -> dict[str, Any]:
    # What was read from a cache is not among Anthropic's `input_tokens`.
    usage = usage or Usage()
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def _error(status: int, message: str) -> dict[str, Any]:
    default = "api_error" if status >= 500 else "invalid_request_error"
    return {"error": {"type": _ERROR_TYPES.get(status, default), "message": message}}


_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
