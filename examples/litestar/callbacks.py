"""Callback style: LangChain tells its handler each token, and the handler tells the stream.

OPENAI_API_KEY and OPENAI_BASE_URL are read by the model itself; any other chat model will do.
"""

import os
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_openai import ChatOpenAI
from litestar import Litestar

from asgi_llmstream import ChatRequest, Emitter, from_callbacks
from asgi_llmstream.litestar import LLMStreamPlugin
from asgi_llmstream.producers.callbacks import Callbacks

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")

model = ChatOpenAI(model=MODEL, max_retries=0, streaming=True, stream_usage=True)


class Teller(AsyncCallbackHandler):
    raise_error = True  # or LangChain would only log that the stream is over

    def __init__(self, emit: Emitter) -> None:
        self._emit = emit

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        # Waits for a slow reader. The chunk's message has the tool calls and the usage, too.
        await self._emit(getattr(chunk, "message", token))


def answer(request: ChatRequest) -> Callbacks:
    async def produce(emit: Emitter) -> None:
        await model.ainvoke(request.to_openai(), {"callbacks": [Teller(emit)]})

    return from_callbacks(produce)


app = Litestar(plugins=[LLMStreamPlugin(answer, path="/v1")])
