"""A provider's stream passed on, with heartbeats, limits and its errors' own statuses.

OPENAI_API_KEY and OPENAI_BASE_URL are read by the client itself.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from asgi_llmstream import ChatApp, ChatRequest

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")

# Words of old that `request.tools` has in today's.
LEGACY = {"functions", "function_call"}

# Whoever asks us retries, too: once is enough.
client = AsyncOpenAI(max_retries=0)


def wishes(request: ChatRequest) -> dict[str, Any]:
    """Everything that the client set beside the conversation, whatever protocol it spoke."""
    asked = request.settings
    if request.scope["path"].endswith("/chat/completions"):
        # In the provider's own words, and so with all that only it knows: logprobs, user and so on.
        asked = {name: it for name, it in request.body.items() if name not in LEGACY}
    tools = {"tools": request.tools, "tool_choice": request.tool_choice} if request.tools else {}
    return asked | {name: it for name, it in tools.items() if it is not None}


async def answer(request: ChatRequest) -> AsyncStream[ChatCompletionChunk]:
    messages: Any = request.to_openai()  # the client's types know more than is sent
    ours = {"model": MODEL, "messages": messages, "stream": True}
    ours |= {"stream_options": {"include_usage": True}}
    return await client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, extra_body=wishes(request) | ours
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/v1", ChatApp(answer, models=[MODEL]))
