"""What providers refuse in a history: a call without its result, a result without its call."""

from __future__ import annotations

from typing import Any

from asgi_llmstream import ChatRequest

__all__ = ["check_anthropic", "check_openai", "check_request"]


def check_openai(messages: list[dict[str, Any]]) -> None:
    """Hold each assistant's calls against the tools' messages right behind it."""
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting, f"without a result: {waiting}"
        waiting = {str(call.get("id") or "") for call in message.get("tool_calls", ())}
    assert not waiting, f"without a result: {waiting}"


def check_anthropic(messages: list[dict[str, Any]]) -> None:
    """Hold each assistant's calls against the results in the message behind it."""
    waiting: list[str] = []
    for message in [*messages, {"role": "user", "content": []}]:
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = {b["tool_use_id"] for b in blocks if b.get("type") == "tool_result"}
        if message["role"] == "user":
            assert results == set(waiting)
        waiting = [b["id"] for b in blocks if b.get("type") == "tool_use"]


def check_request(request: ChatRequest) -> None:
    """Write it for both: nothing but results may be missing, or be more."""
    openai, anthropic = request.to_openai(), request.to_anthropic()["messages"]
    check_openai(openai)
    assert isinstance(anthropic, list)
    others = [message["role"] for message in openai if message["role"] != "tool"]
    assert others == [message.role for message in request.messages if message.role != "tool"]
