"""Faults of the clients' own, seen with right answers on the wire."""

from __future__ import annotations

__all__ = ["KNOWN"]

_DROPS_REFUSALS = "has no word for a refusal, and drops it"
_ASKED = "takes no question but of the hosted MCP servers that its agent has"
_NO_MCP = "knows no item of a tool that the server ran, where the answer is whole"
_REFUSAL = {"refusal": _DROPS_REFUSALS, "refusal, whole": _DROPS_REFUSALS}

KNOWN: dict[str, dict[str, str]] = {
    "openai-agents responses": {"approval": _ASKED, "approval, whole": _ASKED},
    "langchain-openai chat": {"refusal": "drops a refusal that is streamed"},
    "litellm chat": {"refusal": "drops a refusal that is streamed"},
    "litellm responses": _REFUSAL,
    "llama-index chat": {
        **_REFUSAL,
        "leaving": "closing its stream does not close the one below, which keeps the connection",
    },
    "llama-index responses": {"refusal": "drops a refusal that is streamed"},
    "haystack chat": _REFUSAL,
    "haystack responses": _REFUSAL,
    "smolagents chat": _REFUSAL,
    "ai-5 compatible": _REFUSAL,
    "ai-5 chat": _REFUSAL,
    "ai-5 responses": {
        **_REFUSAL,
        "agent, whole": _NO_MCP,
        "agent beside tools, whole": _NO_MCP,
        "agent calls, whole": _NO_MCP,
        "approval, whole": _NO_MCP,
    },
    "ai-5-ui ui": {"approval": "knows no approvals, for which there is `strict_v5`"},
    "ai-5 messages": {
        "usage": "does not count cached tokens among the input",
        "usage, whole": "does not count cached tokens among the input",
    },
}
"""By row and cell; a cell that is right all the same is a mistake in this list."""
