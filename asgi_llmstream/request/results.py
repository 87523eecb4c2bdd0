"""Tools' answers, as the model is told of them."""

from __future__ import annotations

import json

from ..chunks import ToolResult
from .conversation import ChatMessage

__all__ = ["DENIED", "answering", "told_of"]

DENIED = "Tool call execution denied."
"""The result of a call that was denied without a reason; it counts as an error."""


def told_of(result: ToolResult) -> str:
    """A tool's answer as text; what is none becomes JSON."""
    output = DENIED if result.denied and result.output is None else result.output
    if isinstance(output, str):
        return output
    return json.dumps(output, ensure_ascii=False, separators=(",", ":"))


def answering(result: ToolResult) -> ChatMessage:
    """A tool's answer as a message."""
    failed = result.error or result.denied
    content = told_of(result)
    return ChatMessage(role="tool", content=content, tool_call_id=result.id, failed=failed)
