"""llama-cpp-python's stream, from a real model in a GGUF file: see README.md."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from llama_cpp import Llama

from asgi_llmstream import ChatApp, ChatRequest, collect
from asgi_llmstream.testing import Client, check_stream

ASK: Any = [{"role": "user", "content": "Say hello."}]
SETTINGS: Any = {"max_tokens": 16, "temperature": 0, "seed": 1}


async def test(llama: Llama) -> None:
    def answer(request: ChatRequest) -> Any:
        messages: Any = request.to_openai()
        return llama.create_chat_completion(messages, stream=True, **SETTINGS)

    whole: Any = llama.create_chat_completion(ASK, **SETTINGS)
    (choice,) = whole["choices"]

    message = await collect(llama.create_chat_completion(ASK, stream=True, **SETTINGS))
    assert message.text == choice["message"]["content"], message
    assert message.finish_reason == choice["finish_reason"]

    asked = {"messages": ASK, "stream": True}
    response = await Client(ChatApp(answer)).request("POST", "/chat/completions", json=asked)
    chunks = [json.loads(event.data) for event in check_stream(response.body, "openai")[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == message.text

    # Text completions are read as well.
    prompt = "Once upon a time"
    completed: Any = llama.create_completion(prompt, **SETTINGS)
    streamed = await collect(llama.create_completion(prompt, stream=True, **SETTINGS))
    assert streamed.text == completed["choices"][0]["text"]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: llama_cpp_stream.py MODEL.gguf")
    asyncio.run(test(Llama(sys.argv[1], n_ctx=512, verbose=False)))
    print("passed")  # noqa: T201
