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

# Whoever asks us retries, too: once is enough.
client = AsyncOpenAI(max_retries=0)


async def answer(request: ChatRequest) -> AsyncStream[ChatCompletionChunk]:
    messages: Any = request.to_openai()  # the client's types know more than is sent
    return await client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/v1", ChatApp(answer, models=[MODEL]))
