"""What fuzz tests share: how long they look, and what may come of whatever they ask."""

from __future__ import annotations

import json
import os
from typing import Any

import anyio
from hypothesis import HealthCheck, settings

from asgi_llmstream.testing import Client, Response, check_stream

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How many times as many cases there are, by command."""


def fuzzed(examples: int) -> Any:
    """That many examples. How long one takes says nothing on a machine that is busy."""
    unhurried = [HealthCheck.too_slow]
    return settings(max_examples=TIMES * examples, deadline=None, suppress_health_check=unhurried)


def ask(app: Any, *args: Any, **kwargs: Any) -> Response:
    """One request, in an event loop of its own; every wait is bounded by the client."""

    async def main() -> Response:
        return await Client(app).request(*args, **kwargs)

    return anyio.run(main)


def check_answer(response: Response) -> None:
    assert response.complete
    assert 200 <= response.status < 500, response.body
    assert b"Traceback" not in response.body
    assert b'File \\"' not in response.body
    for name, value in response.headers.items():
        assert not set("\r\n\0") & set(name + value)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        assert response.status == 200
        check_stream(response.body)
        assert b"could not finish" not in response.body, response.body  # the producer never fails
    elif response.body and response.headers["content-type"] == "application/json":
        json.loads(response.body)
    if response.status >= 400 and response.body:
        assert b'"message":"' in response.body
