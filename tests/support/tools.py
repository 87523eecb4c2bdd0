"""Tools that a client offers, in the words of each protocol that has any."""

from __future__ import annotations

from typing import Any

__all__ = ["for_ag_ui", "for_anthropic", "for_chat", "for_responses"]

_SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def for_chat(*names: str) -> Any:
    functions = [{"name": name, "parameters": _SCHEMA, "strict": True} for name in names]
    return [{"type": "function", "function": function} for function in functions]


def for_responses(*names: str) -> Any:
    return [{"type": "function", **tool["function"]} for tool in for_chat(*names)]


def for_anthropic(*names: str) -> Any:
    return [{"name": name, "description": "", "input_schema": _SCHEMA} for name in names]


def for_ag_ui(*names: str) -> Any:
    return [{"name": name, "description": "", "parameters": _SCHEMA} for name in names]
