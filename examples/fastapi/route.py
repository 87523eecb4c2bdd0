"""One FastAPI route with a generator of your own. /docs shows the event stream."""

from collections.abc import AsyncIterator

import anyio
from fastapi import FastAPI
from pydantic import BaseModel

from asgi_llmstream.fastapi import LLMStreamResponse

app = FastAPI()


class Question(BaseModel):
    text: str


async def spell(question: Question) -> AsyncIterator[str]:
    for letter in f"Hello, {question.text}!":
        yield letter
        await anyio.sleep(0.02)  # a model that thinks


@app.post("/ask", response_class=LLMStreamResponse)
async def ask(question: Question) -> LLMStreamResponse:
    return LLMStreamResponse(spell(question))
