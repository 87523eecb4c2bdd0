"""A response class for Starlette routes."""

from __future__ import annotations

from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .asgi.http import Headers
from .asgi.stream import DEFAULT_FORMAT, LLMStream
from .formats.base import Format
from .options import DEFAULT_OPTIONS, StreamOptions
from .producers import Producer
from .runtime import OnFinish

__all__ = ["LLMStreamResponse"]


class LLMStreamResponse(Response):
    """A Starlette response that streams what a producer yields.

    Args:
        producer: as for `LLMStream`, as are the others.
        background: run after the stream, also after a disconnect.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        producer: Producer,
        *,
        format: Format = DEFAULT_FORMAT,
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        model: str = "",
        status_code: int = 200,
        headers: Headers = (),
        background: BackgroundTask | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "format": format,
            "options": options,
            "on_finish": on_finish,
            "model": model,
        }
        self._producer = producer
        self.status_code = status_code
        self.background = background
        self.body = b""
        # Frameworks and users add to `raw_headers` until the response is called.
        self.raw_headers = LLMStream(producer, format=format, headers=headers).headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = LLMStream(self._producer, status=self.status_code, **self._arguments)
        stream.headers = self.raw_headers
        try:
            await stream(scope, receive, send)
        finally:
            if self.background is not None:
                await self.background()
