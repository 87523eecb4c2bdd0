"""What stands between a model and its client, one app for each recipe of docs/recipes.md.

Each is below its own name: `/filtered/v1`, `/without_reasoning/v1`, `/renamed/v1`, `/redacted/v1`,
`/moderated/v1`. OPENAI_API_KEY and OPENAI_BASE_URL are read by the client itself.
"""

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from msgspec.structs import replace
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolCallDelta,
    chunks,
)

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
NAMES = {"crm_lookup_v2": "lookup"}  # the model's: the client's
NUMBER = re.compile(r"\d[\d ]{5,}\d")
MAY_GO_ON = re.compile(r"[\d ]*$")
SENTENCES = re.compile(r".*[.!?]\s", re.S)

client = AsyncOpenAI(max_retries=0)


async def model(request: ChatRequest) -> AsyncStream[ChatCompletionChunk]:
    tools = {"tools": request.tools} if request.tools else {}
    return await client.chat.completions.create(
        model=MODEL, messages=request.to_openai(), stream=True, extra_body=tools
    )


async def filtered(source: Any) -> AsyncIterator[Any]:
    async for chunk in chunks(source):
        match chunk:
            case Source(url=url) if url.startswith("https://ads."):
                pass
            case _:
                yield chunk


async def without_reasoning(source: Any) -> AsyncIterator[Any]:
    async for chunk in chunks(source):
        if not isinstance(chunk, Reasoning):
            yield chunk


async def renamed(source: Any) -> AsyncIterator[Any]:
    async for chunk in chunks(source):
        match chunk:
            case ToolCall(name=name) | ToolCallDelta(name=str(name)):
                yield replace(chunk, name=NAMES.get(name, name))
            case _:
                yield chunk


async def redacted(source: Any) -> AsyncIterator[Any]:
    held = ""
    async for chunk in chunks(source):
        if isinstance(chunk, Text):
            held += chunk.text
            going_on = MAY_GO_ON.search(held)
            safe = going_on.start() if going_on else len(held)
            yield Text(NUMBER.sub("[number]", held[:safe]))
            held = held[safe:]
        else:
            yield Text(NUMBER.sub("[number]", held))
            held = ""
            yield chunk
    yield Text(NUMBER.sub("[number]", held))


async def is_fine(text: str) -> bool:
    return "Buy" not in text  # or ask a moderation model


async def moderated(source: Any) -> AsyncIterator[Any]:
    held = ""
    async with aclosing(chunks(source)) as stream:
        async for chunk in stream:
            judged = held
            if isinstance(chunk, Text):
                held += chunk.text
                sentences = SENTENCES.match(held)
                judged = sentences[0] if sentences else ""
            if judged and not await is_fine(judged):
                yield Finish("content_filter")
                return
            yield Text(judged)
            held = held[len(judged) :]
            if not isinstance(chunk, Text):
                yield chunk
    yield Text(held if await is_fine(held) else "")


def chat(recipe: Callable[[Any], AsyncIterator[Any]]) -> ChatApp:
    return ChatApp(lambda request: recipe(model(request)), models=[MODEL])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
for recipe in (filtered, without_reasoning, renamed, redacted, moderated):
    app.mount(f"/{recipe.__name__}/v1", chat(recipe))
