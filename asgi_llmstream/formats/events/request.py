"""The query of `GET /events` and the body of `POST /events`, as a `ChatRequest`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ...errors import BadRequest
from ...request import ChatMessage, ChatRequest, Decision, decided, denial, undecided
from ..shapes.chat_body import decode_body
from ..shapes.fields import ModelName, Name, convert

__all__ = ["decode_request"]


class _Answer(Struct):
    call_id: Name
    approved: bool
    reason: str | None = None


def decode_request(fields: dict[str, Any]) -> ChatRequest:
    """A conversation, `messages` and what else chat completions take, and the `approvals` of its
    calls; or a `prompt`, and the `model`, if it is named.

    Raises:
        BadRequest: with neither; if a field is not valid.
    """
    if "messages" in fields:
        request = decode_body({"stream": True, **fields})
        return _with_approvals(request, fields.get("approvals") or [])
    prompt = fields.get("prompt")
    if not prompt:
        raise BadRequest("There has to be a prompt.", param="prompt", code="missing_field")
    return ChatRequest(
        messages=[ChatMessage(role="user", content=convert(prompt, str, "prompt"))],
        model=convert(fields.get("model", ""), ModelName, "model"),
        stream=True,
    )


def _with_approvals(request: ChatRequest, answers: Any) -> ChatRequest:
    given = [
        Decision(answer.call_id, answer.approved, answer.reason)
        for answer in convert(answers, list[_Answer], "approvals")
    ]
    decisions = decided(undecided(given, request.messages), request.messages)
    denials = [denial(decision) for decision in decisions if not decision.approved]
    return replace(request, messages=[*request.messages, *denials], approvals=decisions)
