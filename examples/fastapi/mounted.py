"""An OpenAI-compatible API below an existing FastAPI app."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from asgi_llmstream import ChatApp, ChatRequest

app = FastAPI()


@app.get("/")
async def home() -> dict[str, str]:
    return {"chat": "/v1/chat/completions"}


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello, "
    yield f"{request.prompt}!"


app.mount("/v1", ChatApp(answer))
