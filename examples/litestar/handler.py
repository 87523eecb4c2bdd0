"""One Litestar handler with a generator of your own. /schema shows the event stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
from litestar import Litestar, post
from litestar.params import JSONBody

from asgi_llmstream.litestar import LLMStreamPlugin, LLMStreamResponse


@dataclass
class Question:
    text: str


async def spell(question: Question) -> AsyncIterator[str]:
    for letter in f"Hello, {question.text}!":
        yield letter
        await anyio.sleep(0.02)  # a model that thinks


@post("/ask")
async def ask(data: JSONBody[Question]) -> LLMStreamResponse:
    return LLMStreamResponse(spell(data))


# The plugin without an answer of its own only makes the OpenAPI document right.
app = Litestar([ask], plugins=[LLMStreamPlugin()])
