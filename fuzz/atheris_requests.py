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
from collections.abc import AsyncIterator
from typing import Any
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
    dice = atheris.FuzzedDataProvider(data)
    format = DEFAULT_FORMATS[dice.ConsumeIntInRange(0, len(DEFAULT_FORMATS) - 1)]
    path = format.route
    arguments: dict[str, Any] = {}
    if dice.ConsumeBool():
        path += "?prompt=" + quote(dice.ConsumeBytes(20))
    if dice.ConsumeProbability() < 0.1:
        path += quote(dice.ConsumeBytes(5))
    arguments["body"] = dice.ConsumeBytes(sys.maxsize)
    response = LOOP.run_until_complete(Client(APP).request(format.method, path, **arguments))
    assert 200 <= response.status < 500, (response.status, response.body)
    assert b"Traceback" not in response.body
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        check_stream(response.body)
        assert b"could not finish" not in response.body
    elif response.body:
        json.loads(response.body)


if __name__ == "__main__":
    asyncio.set_event_loop(LOOP)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
