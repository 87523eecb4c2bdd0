"""The query of `GET /events` and the body of `POST /events`, as a `ChatRequest`."""

from __future__ import annotations

from typing import Any

from ...errors import BadRequest
from ...request import ChatMessage, ChatRequest
from ..shapes.chat_body import decode_body
from ..shapes.fields import ModelName, convert

__all__ = ["decode_request"]


def decode_request(fields: dict[str, Any]) -> ChatRequest:
    """A conversation, `messages` and what else chat completions take; or a `prompt`, and the
    `model`, if it is named.

    Raises:
        BadRequest: with neither; if a field is not valid.
    """
    if "messages" in fields:
        return decode_body({"stream": True, **fields})
    prompt = fields.get("prompt")
    if not prompt:
        raise BadRequest("There has to be a prompt.", param="prompt", code="missing_field")
    return ChatRequest(
        messages=[ChatMessage(role="user", content=convert(prompt, str, "prompt"))],
        model=convert(fields.get("model", ""), ModelName, "model"),
        stream=True,
    )
