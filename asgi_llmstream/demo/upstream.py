"""A real provider behind the demo: anything that speaks OpenAI's chat completions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable
from typing import Any

from ..asgi.app import Answer
from ..request import ChatRequest

__all__ = ["DEFAULT_MODEL", "openai_answer", "openai_model"]

DEFAULT_MODEL = "gpt-4o-mini"


def openai_model() -> str:
    """The model that answers: `OPENAI_MODEL`, or a small one that most accounts have."""
    return os.environ.get("OPENAI_MODEL") or DEFAULT_MODEL


def openai_answer() -> Answer:
    """An `answer` that passes on what a provider streams, through the official client.

    `OPENAI_API_KEY` and `OPENAI_BASE_URL` say which provider, `OPENAI_MODEL` which of its models.

    Raises:
        RuntimeError: if the `openai` package is not installed; says how to get it.
    """
    try:
        from openai import AsyncOpenAI
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "OPENAI_API_KEY is set, but the openai client is not installed: "
            "pip install 'asgi-llmstream[demo]'"
        ) from error

    client = AsyncOpenAI(base_url=os.environ.get("OPENAI_BASE_URL") or None)
    model = openai_model()

    async def answer(request: ChatRequest) -> AsyncIterable[Any]:
        messages: Any = request.to_openai()
        return await client.chat.completions.create(
            model=model, messages=messages, stream=True, stream_options={"include_usage": True}
        )

    return answer
