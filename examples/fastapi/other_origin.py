"""For a page on another port: it may ask, read, and send its visitor's cookies.

Preflights, which have no credentials, pass the dependencies; what they ask for does not.
"""

import os
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from fastapi.security import APIKeyCookie

from asgi_llmstream import ChatRequest
from asgi_llmstream.fastapi import chat_router

ORIGIN = os.environ.get("ORIGIN", "http://localhost:5173")


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield f"Hello, {request.prompt}!"


app = FastAPI()
session = Depends(APIKeyCookie(name="session"))
app.include_router(chat_router(answer, dependencies=[session], cors=[ORIGIN]), prefix="/v1")
