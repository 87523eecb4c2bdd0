"""A response class for Starlette routes."""

from __future__ import annotations

from typing import Any, Self

from .arguments import explains, needs

with needs("starlette", "starlette"):
    from starlette.background import BackgroundTask
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

from .asgi.http import Headers
from .asgi.kept.follow import Followed, followed
from .asgi.kept.keeping import Identify
from .asgi.stream import DEFAULT_FORMAT, LLMStream
from .formats import AnyFormat
from .options import DEFAULT_OPTIONS, StreamOptions
from .producers import Producer
from .runtime import OnFinish
from .stores import AnyStore, OnBusy

__all__ = ["LLMStreamResponse"]


class LLMStreamResponse(Response):
    """A Starlette response that streams what a producer yields.

    Args:
        content: the producer, as for `LLMStream`, as are the others.
        background: run after the stream, also after a disconnect.

    Raises:
        TypeError: as `LLMStream` does.
        ValueError: likewise.
    """

    media_type = "text/event-stream"

    @explains
    def __init__(
        self,
        content: Producer,
        *,
        format: AnyFormat = DEFAULT_FORMAT,
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        model: str = "",
        status_code: int = 200,
        headers: Headers = (),
        store: AnyStore | None = None,
        key: str | None = None,
        identify: Identify | None = None,
        on_busy: OnBusy = "replace",
        background: BackgroundTask | None = None,
    ) -> None:
        stream = LLMStream(
            content,
            format=format,
            options=options,
            on_finish=on_finish,
            model=model,
            headers=headers,
            store=store,
            key=key,
            identify=identify,
            on_busy=on_busy,
        )
        self._answer_with(stream, status_code, background)

    def _answer_with(
        self, stream: LLMStream | Followed, status_code: int, background: BackgroundTask | None
    ) -> None:
        self._stream = stream
        self.status_code = status_code
        self.background = background
        self.body = b""
        # Frameworks and users add to `raw_headers` until the response is called.
        self.raw_headers = stream.headers

    @classmethod
    @explains
    def following(
        cls,
        id: str,
        *,
        store: AnyStore,
        format: AnyFormat | None = None,
        identify: Identify | None = None,
        options: StreamOptions = DEFAULT_OPTIONS,
        headers: Headers = (),
        background: BackgroundTask | None = None,
    ) -> Self:
        """Return a response that has its client follow a stream that a store keeps.

        Args:
            id: of the stream, as for `LLMStream.following`, as are the others.
            background: run after the stream, also after a disconnect.

        Raises:
            TypeError: as `LLMStream.following` does.
            ValueError: likewise.
        """
        response = cls.__new__(cls)
        stream = followed(id, store, identify, format, options, headers)
        response._answer_with(stream, 200, background)
        return response

    @classmethod
    @explains
    def using(
        cls,
        *,
        format: AnyFormat = DEFAULT_FORMAT,
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        model: str = "",
        headers: Headers = (),
        store: AnyStore | None = None,
        key: str | None = None,
        identify: Identify | None = None,
        on_busy: OnBusy = "replace",
    ) -> type[Self]:
        """Return a class of responses with these settings, for a framework that makes them itself
        and knows the content only, as FastAPI does for a route that yields.

        Args:
            format: as for `LLMStream`, as are the others.

        Raises:
            TypeError: as `LLMStream` does.
            ValueError: likewise.
        """
        settings: dict[str, Any] = {
            "format": format,
            "options": options,
            "on_finish": on_finish,
            "model": model,
            "headers": headers,
            "store": store,
            "key": key,
            "identify": identify,
            "on_busy": on_busy,
        }
        cls((), **settings)  # what is wrong with them is said here, and not at the first request

        class Configured(cls):  # type: ignore[misc, valid-type]
            # FastAPI reads the status off the signature.
            def __init__(self, content: Producer, *, status_code: int = 200, **given: Any) -> None:
                super().__init__(content, status_code=status_code, **(settings | given))

        Configured.__name__ = Configured.__qualname__ = cls.__name__
        return Configured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._stream.status = self.status_code
        self._stream.headers = self.raw_headers
        try:
            await self._stream(scope, receive, send)
        finally:
            if self.background is not None:
                await self.background()
