"""Requests of the AI SDK's chat transports, and which message the client goes on with."""

from __future__ import annotations

from typing import Any

from ..shapes.ui_messages import decode_request

__all__ = ["continued", "decode_request"]


def continued(body: dict[str, Any]) -> tuple[str | None, frozenset[str]]:
    """The assistant's message that the client goes on with: its id, and those of its tool calls.
    None, and nothing, if it begins a new one."""
    match body:
        case {"trigger": "regenerate-message"}:
            pass
        case {"messages": [*_, {"role": "assistant", "parts": list(parts)} as last]}:
            id = last.get("id")
            calls = [part.get("toolCallId") for part in parts if isinstance(part, dict)]
            known = frozenset(call for call in calls if call and isinstance(call, str))
            return id if id and isinstance(id, str) else None, known
    return None, frozenset()
