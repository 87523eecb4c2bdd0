"""Answers that survive a reload, in Litestar, each user's own."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from litestar import Litestar, asgi

from asgi_llmstream import ChatApp, ChatRequest
from asgi_llmstream.errors import Unauthorized
from asgi_llmstream.stores import MemoryStore

USERS = {b"Bearer secret": "ada", b"Bearer other": "bob"}


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello, "
    yield f"{request.prompt}!"


def identify(scope: Mapping[str, Any]) -> str:
    given = dict(scope["headers"]).get(b"authorization")
    if given not in USERS:
        raise Unauthorized("Who are you?")
    return USERS[given]


chat = ChatApp(answer, prefix="/v1", store=MemoryStore(), identify=identify)
mounted = asgi("/v1", is_mount=True, copy_scope=True)(chat)
app = Litestar([mounted], lifespan=[chat.lifespan])
