"""The query of `GET /events`, as a `ChatRequest`."""

from __future__ import annotations

from typing import Any

from ...errors import BadRequest
from ...request import ChatMessage, ChatRequest
from ..shapes.fields import ModelName, convert

__all__ = ["decode_request"]


def decode_request(query: dict[str, Any]) -> ChatRequest:
    """The `prompt` of a query, and its `model`, if it names one.

    Raises:
        BadRequest: without a prompt; if the model's name is too long.
    """
    prompt = query.get("prompt")
    if not prompt:
        raise BadRequest("The query needs a prompt.", param="prompt", code="missing_field")
    return ChatRequest(
        messages=[ChatMessage(role="user", content=prompt)],
        model=convert(query.get("model", ""), ModelName, "model"),
        stream=True,
    )
