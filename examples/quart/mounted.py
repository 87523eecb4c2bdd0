"""Quart with a chat below /ai: `uvicorn mounted:app`."""

from quart import Quart

from asgi_llmstream import ChatApp

app = Quart(__name__)


@app.get("/")
async def index():
    return "Quart"


async def answer(request):
    yield f"Hello, {request.prompt}!"


site = app.asgi_app
chat = ChatApp(answer, prefix="/ai")


async def with_chat(scope, receive, send):
    is_chats = scope["type"] == "http" and scope["path"].startswith("/ai/")
    await (chat if is_chats else site)(scope, receive, send)


app.asgi_app = with_chat
