"""Answers that survive a reload, in Litestar, each user's own."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from litestar import Litestar

from asgi_llmstream import ChatRequest, MemoryStore
from asgi_llmstream.errors import Unauthorized
from asgi_llmstream.litestar import LLMStreamPlugin

USERS = {b"Bearer secret": "ada", b"Bearer other": "bob"}


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello, "
    yield f"{request.prompt}!"


def identify(scope: Mapping[str, Any]) -> str:
    given = dict(scope["headers"]).get(b"authorization")
    if given not in USERS:
        raise Unauthorized("Who are you?")
    return USERS[given]


chat = LLMStreamPlugin(answer, path="/v1", store=MemoryStore(), identify=identify)
app = Litestar(plugins=[chat])
