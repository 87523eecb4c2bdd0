"""Requests that atheris makes up, guided by what they reach in our code.

    python3 -m venv /tmp/atheris && /tmp/atheris/bin/pip install -q -e . atheris
    /tmp/atheris/bin/python fuzz/atheris_requests.py -max_total_time=60

Stops with a traceback and the input in a file `crash-*` if one gets a 500, hangs, or reads a
traceback.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import atheris

with atheris.instrument_imports(include=["asgi_llmstream"]):
    from asgi_llmstream import ChatApp, ChatRequest
    from asgi_llmstream.formats import DEFAULT_FORMATS
    from asgi_llmstream.testing import Client, check_stream


async def echo(request: ChatRequest) -> AsyncIterator[str]:
    yield f"{len(request.to_openai())} {len(request.to_anthropic())} "
    yield request.prompt


APP = ChatApp(echo)
LOOP = asyncio.new_event_loop()


def one_input(data: bytes) -> None:
    """The first byte chooses the protocol, the rest is the body or the query."""
    format = DEFAULT_FORMATS[(data[0] if data else 0) % len(DEFAULT_FORMATS)]
    path, body = format.route, data[1:]
    if "GET" in format.methods:
        path, body = f"{path}?{quote(body, safe='&=%+')}", b""
    response = LOOP.run_until_complete(Client(APP).request(format.methods[0], path, body=body))
    assert 200 <= response.status < 500, (response.status, response.body)
    assert b"Traceback" not in response.body
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        check_stream(response.body)
        assert b"could not finish" not in response.body
    elif response.body:
        json.loads(response.body)


def seeds() -> Iterator[bytes]:
    """A request of each protocol, with most of what each knows."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    part = {"type": "text", "text": "hi"}
    user = {"id": "m", "role": "user", "content": "hi"}
    answers = {"id": "n", "role": "assistant", "content": [part], "tool_calls": [call]}
    result = {"id": "o", "role": "tool", "tool_call_id": "c", "content": "1"}
    tool = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    chat = {"model": "m", "stream": True, "messages": [user, answers, result, user]}
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    used = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    told = {"type": "tool_result", "tool_use_id": "c", "content": [part]}
    turns = [user, {"role": "assistant", "content": [used]}, {"role": "user", "content": [told]}]
    ui = [{"id": "m", "role": "user", "parts": [part, {"type": "step-start"}]}]
    agent = {"threadId": "t", "runId": "r", "state": {}, "context": [], "forwardedProps": {}}
    yield json.dumps(chat | {"tools": [{"type": "function", "function": tool}]}).encode()
    yield json.dumps({"model": "m", "input": [user, output], "instructions": "i"}).encode()
    yield json.dumps({"model": "m", "max_tokens": 9, "system": [part], "messages": turns}).encode()
    yield json.dumps({"id": "c", "trigger": "submit-message", "messages": ui}).encode()
    yield json.dumps(agent | {"messages": [user], "tools": [tool]}).encode()
    yield b"prompt=hi&model=m"


def main() -> None:
    asyncio.set_event_loop(LOOP)
    with tempfile.TemporaryDirectory() as corpus:
        for index, seed in enumerate(seeds()):
            Path(corpus, str(index)).write_bytes(bytes([index]) + seed)
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
