"""Gemini's seal on its thoughts before a tool call, where chat's words have a place for it.

Source: the Gemini API's OpenAI compatibility, thought signatures.
"""

from __future__ import annotations

from typing import Any

__all__ = ["seal_of", "sealed"]


def sealed(signature: str | None) -> dict[str, Any]:
    """The fields of a tool call that has this seal; none without."""
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def seal_of(call: dict[str, Any]) -> str | None:
    """The seal of a tool call, if it has one."""
    match call:
        case {"extra_content": {"google": {"thought_signature": str(signature)}}}:
            return signature
        case _:
            return None
