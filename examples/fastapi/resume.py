"""Answers that survive a reload, below an existing app, with a page of the AI SDK's `useChat`."""

import os
from collections.abc import AsyncIterator

import anyio
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from asgi_llmstream import ChatApp, ChatRequest, MemoryStore


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    for word in f"You said {request.prompt}, and I take my time to say so.".split():
        yield f"{word} "
        await anyio.sleep(float(os.environ.get("PAUSE", "0.5")))


chat = ChatApp(answer, store=MemoryStore())
app = FastAPI(lifespan=chat.lifespan)
app.mount("/v1", chat)
# Where the bundle is: see `resume_page`.
page = os.environ.get("PAGE", "dist")
app.mount("/", StaticFiles(directory=page, html=True, check_dir=False))
