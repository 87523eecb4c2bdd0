"""The protocol's words for what both a stream and a whole answer tell."""

from __future__ import annotations

from typing import Any

from ...chunks import FinishReason, Usage
from ...events import RunStarted

__all__ = ["completion_id", "finish_reason", "usage_object"]


def completion_id(started: RunStarted) -> str:
    return f"chatcmpl-{started.id}"


def finish_reason(reason: FinishReason) -> str:
    # The protocol knows no other word for an ending that is none of its own.
    return "stop" if reason == "other" else reason


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
