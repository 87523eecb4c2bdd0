"""Seals, which go to a client only to come back, in protocols with one opaque field for them.

What kind of seal it is stands before it, where another is what such a field mostly holds:
Anthropic's signature of a reasoning.
"""

from __future__ import annotations

from typing import Any

from ...events import PartEnded
from ...request import anthropic

__all__ = ["call_signature", "seal_of", "thinking"]

_REDACTED = "redacted_thinking:"
_OF_CALL = "thought_signature:"


def seal_of(event: PartEnded) -> str | None:
    """The seal of a reasoning or a call, if it has one."""
    part, signature = event.part, event.signature
    if signature is None:
        return None
    if part.kind == "tool_call":
        return _OF_CALL + signature
    return _REDACTED + signature if part.redacted else signature


def thinking(text: str, seal: str) -> dict[str, Any]:
    """The block that a client's reasoning with such a seal goes back to Anthropic as."""
    if seal.startswith(_REDACTED):
        return anthropic.redacted_thinking(seal.removeprefix(_REDACTED))
    return anthropic.thinking(text, seal)


def call_signature(seal: str | None) -> str | None:
    """The signature of a client's call with such a seal; None of one that is not ours."""
    if seal is None or not seal.startswith(_OF_CALL):
        return None
    return seal.removeprefix(_OF_CALL)
