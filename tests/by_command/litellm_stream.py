"""litellm's stream, from an OpenAI-compatible and an Anthropic-compatible server: see README.md."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch one
os.environ["NO_PROXY"] = "127.0.0.1"

import litellm
import uvicorn

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    Message,
    Reasoning,
    ToolCall,
    Usage,
    collect,
)
from asgi_llmstream.producers import accumulate

ASK = [{"role": "user", "content": "hi"}]


async def model(request: ChatRequest) -> AsyncIterator[Any]:
    if request.model == "broken":
        yield "Hel"
        raise RuntimeError("secret")
    yield Reasoning("Hm.")
    yield "Hel"
    yield "lo"
    yield ToolCall("call_a", "weather", {"city": "Oslo"})
    yield ToolCall("call_b", "time", {})
    yield Usage(input_tokens=3, output_tokens=7)
    yield Finish("tool_calls")


def check(message: Message) -> None:
    assert message.text == "Hello", message
    assert message.reasoning == "Hm.", message
    calls = [(call.id, call.name, call.parse()) for call in message.tool_calls]
    assert calls == [("call_a", "weather", {"city": "Oslo"}), ("call_b", "time", {})], calls
    assert message.usage is not None
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 7), message.usage
    assert message.finish_reason == "tool_calls", message.finish_reason


async def test(url: str) -> None:
    usage = {"include_usage": True}
    for name, base in (("openai/m", f"{url}/v1"), ("anthropic/m", url)):
        asked: Any = {
            "model": name,
            "api_base": base,
            "api_key": "-",
            "messages": ASK,
            "stream": True,
            "stream_options": usage,
        }
        # Unawaited and awaited; what passes through `accumulate` is what litellm sums up itself.
        check(await collect(litellm.acompletion(**asked)))
        turn = accumulate(await litellm.acompletion(**asked))
        chunks = [chunk async for chunk in turn]
        check(turn.message)
        whole: Any = litellm.stream_chunk_builder(chunks)
        assert whole.choices[0].message.content == turn.message.text
        theirs = [call.id for call in whole.choices[0].message.tool_calls]
        assert theirs == [call.id for call in turn.message.tool_calls]
        # A sync stream too, in a thread. It has an `__aiter__` as well, which fails; a generator
        # has none.
        check(await collect(chunk for chunk in litellm.completion(**asked)))
        broken = litellm.acompletion(**{**asked, "model": name[:-1] + "broken"})
        assert await fails(broken), "a broken stream must not look whole"


async def fails(stream: Any) -> bool:
    try:
        await collect(stream)
    except Exception:
        return True
    return False


class Below:
    """The chat below /v1, where both APIs are."""

    def __init__(self) -> None:
        self._chat = ChatApp(model)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._chat({**scope, "root_path": "/v1"}, receive, send)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(Below(), lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            asyncio.run(test(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            server.should_exit = True
            thread.join(20)
    print("passed")  # noqa: T201


if __name__ == "__main__":
    main()
