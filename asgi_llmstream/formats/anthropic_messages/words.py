"""The protocol's words for what both a stream and a whole message tell."""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType

from ...chunks import FinishReason, Source, Usage
from ...errors import BadRequest, LLMStreamError
from ...events import Part, PartKind, RunFailed, RunStarted
from ...request import anthropic

__all__ = [
    "Block",
    "ThreadUnsupported",
    "bill_of",
    "block_of",
    "citation_of",
    "error_object",
    "message_of",
    "stop_of",
    "usage_object",
]

Block = dict[str, Any]


class ThreadUnsupported(BadRequest):
    """The request goes on with a conversation of which only the client has the beginning."""

    default_code = "thread_unsupported_request"
    default_message = "Threads are not supported: send the whole conversation without `thread`."

    def __init__(self) -> None:
        super().__init__(param="thread")
        # What both SDKs look at, to send everything again by themselves.
        self.details = {"error_code": self.code, "unsupported": ["thread"]}


def message_of(started: RunStarted, usage: Usage | None) -> dict[str, Any]:
    """A message that has nothing in it yet, with the tokens that are known."""
    return {
        "id": f"msg_{started.id}",
        "type": "message",
        "role": "assistant",
        "model": started.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": bill_of(usage),
    }


def block_of(part: Part, text: str = "", signature: str | None = None) -> Block:
    """The block that a part is, with what has come of it."""
    match part.kind:
        case "reasoning" if part.redacted:
            return anthropic.redacted_thinking(signature or "")
        case "reasoning":
            return anthropic.thinking(text, signature or "")
        case "tool_call":
            return anthropic.tool_use(part.id, part.name, text) | {"caller": {"type": "direct"}}
        case _:
            return anthropic.text(text) | {"citations": []}  # not null: some clients refuse it


def citation_of(source: Source) -> dict[str, Any]:
    return {
        "type": "web_search_result_location",
        "url": source.url,
        "title": source.title or source.url,  # some clients drop the answer if it is null
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
# Not "tool_use": whether the client is to answer a call is not the provider's to say.
_OWN_STOP_REASONS = {
    *_STOP_REASONS.values(),
    "stop_sequence",
    "pause_turn",
    "model_context_window_exceeded",
} - {"tool_use"}


def stop_of(
    reason: FinishReason,
    native: str | None,
    details: dict[str, Any] | UnsetType,
    last: PartKind | None,
) -> dict[str, Any]:
    """The fields that say why a message ended; `last` is the part that it ended with."""
    word = native if native in _OWN_STOP_REASONS else _STOP_REASONS[reason]
    if word == "end_turn" and last == "refusal":
        word = "refusal"
    match details:
        case {"stop_sequence": str(sequence)}:
            return {"stop_reason": word, "stop_sequence": sequence, "stop_details": None}
    return {"stop_reason": word, "stop_sequence": None, "stop_details": details or None}


def usage_object(usage: Usage | None) -> dict[str, Any]:
    # What a cache had a part in is not among Anthropic's `input_tokens`.
    usage = usage or Usage()
    apart = usage.cached_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - apart),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def bill_of(usage: Usage | None) -> dict[str, Any]:
    """The tokens, with what only a message has beside the counts of `message_delta`."""
    return {
        **usage_object(usage),
        "cache_creation": None,  # how long each part is kept; nobody tells us
        "inference_geo": None,
        "server_tool_use": None,
        "service_tier": "standard",
    }


def error_object(error: LLMStreamError | RunFailed) -> dict[str, Any]:
    default = "api_error" if error.status >= 500 else "invalid_request_error"
    told: dict[str, Any] = {
        "type": _ERROR_TYPES.get(error.status, default),
        "message": error.message,
    }
    if isinstance(error, ThreadUnsupported):
        told["details"] = error.details
    return {"error": told}


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
