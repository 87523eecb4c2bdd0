"""Requests that atheris makes up, guided by what they reach in our code.

    python3 -m venv /tmp/atheris && /tmp/atheris/bin/pip install -q -e . atheris
    /tmp/atheris/bin/python -m fuzz.atheris_requests -max_total_time=60

Stops with a traceback and the input in a file `crash-*` if one gets a 500, hangs, or reads a
traceback.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import atheris

with atheris.instrument_imports(include=["asgi_llmstream"]):
    from asgi_llmstream import ChatApp, ChatRequest
    from asgi_llmstream.formats import DEFAULT_FORMATS
    from asgi_llmstream.testing import Client, check_stream

from tests.support.requests import EVERY_REQUEST


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


def main() -> None:
    asyncio.set_event_loop(LOOP)
    with tempfile.TemporaryDirectory() as corpus:
        for index, format in enumerate(DEFAULT_FORMATS):
            seed = bytes([index]) + EVERY_REQUEST[format.route]
            Path(corpus, str(index)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
