"""An agent: the model asks for a tool, reads its result and answers, and all of it is one stream.

What the server runs is not for the client to answer, who never offered it. A tool that the client
did offer is: then the answer ends with that call, and its result comes in the next request.

OPENAI_API_KEY and OPENAI_BASE_URL are read by the client itself; any compatible server will do.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from openai import AsyncOpenAI

from asgi_llmstream import ChatApp, ChatRequest, MessageToolCall, ToolResult
from asgi_llmstream.producers import accumulate

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
MAX_CALLS = 5
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

client = AsyncOpenAI(max_retries=0)


async def answer(request: ChatRequest) -> AsyncIterator[Any]:
    history: list[Any] = request.to_openai()
    tools: Any = [TOOL, *request.tools]
    for _ in range(MAX_CALLS):
        # `accumulate` passes the chunks on, and has the whole message when they are through.
        turn = accumulate(
            client.chat.completions.create(model=MODEL, messages=history, tools=tools, stream=True)
        )
        async for chunk in turn:
            yield chunk
        calls = turn.message.tool_calls
        own = [call for call in calls if call.name == "weather"]
        for call in own:
            result = await run(call)
            turn.message += result
            yield result
        if not calls or len(own) < len(calls):
            return
        history += turn.message.to_openai()


async def run(call: MessageToolCall) -> ToolResult:
    try:
        city = call.parse()["city"]
    except (ValueError, KeyError, TypeError) as error:
        return ToolResult(call.id, f"bad arguments: {error!r}", error=True)  # the model may mend it
    return ToolResult(call.id, {"city": city, "celsius": 31})


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/v1", ChatApp(answer, models=[MODEL]))
