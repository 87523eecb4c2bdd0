"""The protocol's words: items, their parts, and the fields of a response."""

from __future__ import annotations

from typing import Any, Literal

from ...chunks import RunBy, ToolResult, Usage
from ...events import Part, PartKind, RunStarted
from ...request import Decision
from ..shapes.chat import told_of

__all__ = [
    "DELTAS",
    "ECHOED",
    "INCOMPLETE",
    "Item",
    "approved_call",
    "body_of",
    "inner_of",
    "item_id",
    "item_of",
    "kind_of",
    "output_of",
    "response_of",
    "usage_object",
]

Item = dict[str, Any]

# What a response repeats of its request, and else says of it: the vendor's defaults. The schema of
# Open Responses demands them all.
_DEFAULTS: dict[str, Any] = {
    "frequency_penalty": 0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {},
    "safety_identifier": None,
    "temperature": 1,
    "text": {},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "truncation": "disabled",
}
ECHOED = (*_DEFAULTS, "conversation", "user")
# The keys that an echoed object has also where the request left them out.
_REASONING = {"effort": None, "summary": None}
_TEXT = {"format": {"type": "text"}}
_FUNCTION = {"description": None, "parameters": None, "strict": None}

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}

Kind = PartKind | Literal["mcp_call"]


def kind_of(part: Part) -> Kind:
    """Return the part's kind here: a call that is not the client's is none of a function."""
    return "mcp_call" if part.runs_elsewhere else part.kind


# Which event a part's deltas are, and what stands in them besides.
DELTAS: dict[Kind, tuple[str, dict[str, Any]]] = {
    "text": ("response.output_text", {"content_index": 0, "logprobs": []}),
    "refusal": ("response.refusal", {"content_index": 0}),
    "reasoning": ("response.reasoning_summary_text", {"summary_index": 0}),
    "tool_call": ("response.function_call_arguments", {}),
    "mcp_call": ("response.mcp_call_arguments", {}),
}
_ID_PREFIXES: dict[Kind, str] = {
    "text": "msg",
    "refusal": "msg",
    "reasoning": "rs",
    "tool_call": "fc",
    "mcp_call": "mcp",
}


def response_of(started: RunStarted, echo: dict[str, Any]) -> dict[str, Any]:
    """A response that has nothing in it yet; `echo` is what it repeats of the request."""
    repeated = _DEFAULTS | echo
    return {
        "id": f"resp_{started.id}",
        "object": "response",
        "created_at": started.created,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": started.model,
        "output": [],
        "service_tier": "default",
        "store": False,
        "usage": None,
        **repeated,
        "reasoning": _REASONING | repeated["reasoning"],
        "text": _TEXT | repeated["text"],
        "tools": [_tool(tool) for tool in repeated["tools"]],
    }


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return _FUNCTION | tool if tool.get("type") == "function" else tool


def item_id(kind: Kind, run_id: str, index: int) -> str:
    return f"{_ID_PREFIXES[kind]}_{run_id}_{index}"


def item_of(part: Part, id: str) -> Item:
    """The item that a part is, with nothing in it yet."""
    match kind_of(part):
        case "reasoning":
            return {"id": id, "type": "reasoning", "summary": []}
        case "mcp_call":
            return _mcp_call(id, part.name, part.by)
        case "tool_call":
            call = {"call_id": part.id, "name": part.name, "arguments": ""}
            return {"id": id, "type": "function_call", "status": "in_progress", **call}
        case _:
            said = {"role": "assistant", "content": []}
            return {"id": id, "type": "message", "status": "in_progress", **said}


def _mcp_call(id: str, name: str, by: RunBy | None) -> Item:
    call = {"server_label": by, "name": name, "arguments": ""}
    ended = {"output": None, "error": None, "approval_request_id": None}
    return {"id": id, "type": "mcp_call", "status": "in_progress", **call, **ended}


def approved_call(decision: Decision, id: str) -> Item:
    """The item of a call that an answer before asked an approval for."""
    return _mcp_call(id, decision.name, "server") | {"approval_request_id": decision.call_id}


def output_of(result: ToolResult) -> Item:
    """Return what a result adds to the item of an `mcp_call`."""
    text = told_of(result)
    if not result.error and not result.denied:
        return {"output": text}
    content = [{"type": "text", "text": text}]
    return {"error": {"type": "mcp_tool_execution_error", "content": content}}


def inner_of(kind: PartKind) -> tuple[str, dict[str, int]]:
    """The name of the one part inside an item, and where it stands there."""
    if kind == "reasoning":
        return "response.reasoning_summary_part", {"summary_index": 0}
    return "response.content_part", {"content_index": 0}


def body_of(kind: PartKind, text: str) -> dict[str, Any]:
    match kind:
        case "reasoning":
            return {"type": "summary_text", "text": text}
        case "refusal":
            return {"type": "refusal", "refusal": text}
        case _:
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
