"""A LangChain chat model streamed as it is: text, reasoning, tool calls and usage.

OPENAI_API_KEY and OPENAI_BASE_URL are read by the model itself; any other chat model will do.
"""

import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI

from asgi_llmstream import ChatApp, ChatRequest

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")

model = ChatOpenAI(model=MODEL, max_retries=0, stream_usage=True)


def answer(request: ChatRequest) -> AsyncIterator[AIMessageChunk]:
    return model.astream(request.to_openai())


app = FastAPI()
app.mount("/v1", ChatApp(answer, models=[MODEL]))
