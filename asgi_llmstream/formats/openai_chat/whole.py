"""OpenAI chat completions in one piece: a `chat.completion`."""

from __future__ import annotations

from typing import Any

from ...chunks import Usage
from ...events import RunStarted
from ...message import Message
from ..shapes import chat
from ..wire import dumps
from .words import completion_id, finish_reason, usage_object

__all__ = ["whole_body"]


def whole_body(reasoning_field: str, started: RunStarted, message: Message) -> bytes:
    """A finished answer, with its reasoning in the field of this name."""
    choice = {
        "index": 0,
        "message": _said(message, reasoning_field),
        "logprobs": None,
        "finish_reason": finish_reason(message.finish_reason or "stop"),
    }
    completion = {
        "id": completion_id(started),
        "object": "chat.completion",
        "created": started.created,
        "model": started.model,
        "choices": [choice],
        # Zeros where nothing is known: clients read the counts without asking for them.
        "usage": usage_object(message.usage or Usage()),
    }
    return dumps(completion)


def _said(message: Message, reasoning_field: str) -> dict[str, Any]:
    # `content` is text also where there is none, as in the stream: both accumulate the same.
    said: dict[str, Any] = {
        "role": "assistant",
        "content": message.text,
        "refusal": message.refusal or None,
        "annotations": [],
    }
    if message.reasoning:
        said[reasoning_field] = message.reasoning
    if calls := [call for call in message.tool_calls if call.by == "client"]:
        said["tool_calls"] = [chat.call(c.id, c.name, c.arguments, c.signature) for c in calls]
    return said
