"""Quart with a chat below /ai: `uvicorn mounted:app`."""

from collections.abc import AsyncIterator
from typing import Any

from quart import Quart

from asgi_llmstream import ChatApp, ChatRequest

site = Quart(__name__)


@site.get("/")
async def index() -> str:
    return "Quart"


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield f"Hello, {request.prompt}!"


chat = ChatApp(answer, prefix="/ai")


async def app(scope: Any, receive: Any, send: Any) -> None:
    is_chats = scope["type"] == "http" and scope["path"].startswith("/ai/")
    await (chat if is_chats else site)(scope, receive, send)
