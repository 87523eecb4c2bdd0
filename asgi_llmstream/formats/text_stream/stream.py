"""Text stream: the answer's text as it grows, and nothing else.

What `TextStreamChatTransport` of npm `ai` 7 reads, `useCompletion` with `streamProtocol: "text"`,
`curl`, and everybody who wants no more than a `fetch`.

Text and refusals go out as they are. There is no word for anything else, so the rest is dropped,
and none for a heartbeat. Nor is there one for a failure: the connection is broken off in mid-body,
at which every client raises. (Below Starlette's `BaseHTTPMiddleware` that is a clean end, and
nothing tells.)
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from ...errors import LLMStreamError
from ...events import Event, PartDelta
from ...request import ChatRequest
from ..base import Encoder, Method
from ..wire import dumps, utf8
from .request import decode_request

__all__ = ["TextStream"]


class TextStream(Struct, frozen=True, kw_only=True):
    """The format of `POST /text`."""

    media_type: ClassVar[str] = "text/plain; charset=utf-8"
    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    route: ClassVar[str] = "/text"
    methods: ClassVar[tuple[Method, ...]] = ("POST",)
    names_model: ClassVar[bool] = False

    @property
    def offered(self) -> None:
        """Not told by these requests."""
        return None

    def encoder(self) -> Encoder:
        return _encode

    def error_body(self, error: LLMStreamError) -> bytes:
        fields = {"code": error.code, "message": error.message}
        return dumps(fields if error.param is None else fields | {"param": error.param})

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields)

    def for_request(self, request: ChatRequest) -> TextStream:
        return self


def _encode(event: Event) -> bytes:
    if type(event) is PartDelta and event.part.kind in ("text", "refusal"):
        return utf8(event.text)
    return b""
