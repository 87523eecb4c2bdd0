"""One request to a stream, what came of it, and producers for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel

from asgi_llmstream import LLMStream, StreamOptions, StreamResult
from asgi_llmstream.formats import OpenAIChat
from asgi_llmstream.testing import Client, ManualClock, Response, check_stream, settle


class Run:
    """One request to a stream of `producer`, and what came of it."""

    def __init__(self, producer: Any, format: Any = OpenAIChat(), **options: Any) -> None:  # noqa: B008
        self.results: list[StreamResult] = []
        self.clock = ManualClock()
        self.stream = LLMStream(
            producer,
            options=StreamOptions(clock=self.clock, **options),
            on_finish=self.on_finish,
            format=format,
            model="m",
        )

    async def on_finish(self, result: StreamResult) -> None:
        await anyio.lowlevel.checkpoint()
        self.results.append(result)

    async def whole(self) -> Response:
        return await Client(self.stream).request("GET", "/")

    @property
    def result(self) -> StreamResult:
        (result,) = self.results
        return result


def error_of(response: Response) -> Any:
    """The error event of a broken stream, which must be its last before `[DONE]`."""
    events = check_stream(response.body, "openai")
    assert events[-1].data == "[DONE]"
    return json.loads(events[-2].data)["error"]


def finish_reason_of(response: Response) -> Any:
    events = check_stream(response.body, "openai")
    return json.loads(events[-2].data)["choices"][0]["finish_reason"]


async def a_word_then_silence() -> AsyncIterator[Any]:
    yield "Hel"
    await anyio.sleep_forever()


async def paced(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk
        await settle()
