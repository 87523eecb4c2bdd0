"""An OpenAI-compatible API as Litestar's own routes: guarded, and documented at /schema."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from asgi_llmstream import ChatRequest
from asgi_llmstream.litestar import LLMStreamPlugin


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello, "
    yield f"{request.prompt}!"


def need_secret(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    if connection.headers.get("authorization") != "Bearer secret":
        raise NotAuthorizedException


app = Litestar(plugins=[LLMStreamPlugin(answer, path="/v1", guards=[need_secret])])
