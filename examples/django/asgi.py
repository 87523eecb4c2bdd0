"""Django with a chat below /ai: `uvicorn asgi:app`.

Django hands no paths on to other ASGI applications, so they are told apart in front of it.
"""

from collections.abc import AsyncIterator
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

from asgi_llmstream import ChatApp, ChatRequest

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of yours")
django.setup()

urlpatterns = [path("", lambda request: HttpResponse(b"Django"))]


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield f"Hello, {request.prompt}!"


site = get_asgi_application()
chat = ChatApp(answer, prefix="/ai")


async def app(scope: Any, receive: Any, send: Any) -> None:
    # Django does not know lifespans.
    is_chats = scope["type"] == "lifespan" or scope["path"].startswith("/ai/")
    await (chat if is_chats else site)(scope, receive, send)
