"""The list of models: OpenAI's fields, or Anthropic's for its clients.

Source: the OpenAI API reference, models; the Anthropic API reference, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = ["model_list", "model_object"]


def model_object(name: str, created: int, *, for_anthropic: bool = False) -> dict[str, Any]:
    """One model.

    Args:
        created: in Unix seconds.
        for_anthropic: whether an Anthropic client asks.
    """
    if not for_anthropic:
        return {"id": name, "object": "model", "created": created, "owned_by": "llmstream"}
    created_at = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created_at,
        "lifecycle": "active",
    }


def model_list(
    names: Sequence[str], created: int, *, for_anthropic: bool = False
) -> dict[str, Any]:
    """All models, on one page."""
    models = [model_object(name, created, for_anthropic=for_anthropic) for name in names]
    if not for_anthropic:
        return {"object": "list", "data": models}
    return {"data": models, "has_more": False, "first_id": names[0], "last_id": names[-1]}
