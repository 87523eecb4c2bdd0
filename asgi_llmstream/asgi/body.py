"""The body of a request: read, decoded, made a `ChatRequest`, and let go.

Decoding holds the interpreter, and what it makes is walked through in Python: a large body would
keep all other streams of the event loop waiting.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import anyio
from msgspec.structs import replace

from ..errors import PayloadTooLarge, ShuttingDown
from ..formats.base import RequestFormat
from ..formats.wire import decode_json
from ..options import StreamOptions
from ..producers import in_thread
from ..request import ChatRequest
from ..runtime import Ticker, draining
from .http import Receive, Scope

__all__ = ["decoded", "digest", "read_json", "read_request"]

# Bytes that are decoded at once, in a few milliseconds however they are filled.
_AT_ONCE = 64 * 1024

# Of large bodies one after the other: the event loop has to get its turn beside them, and every
# further thread would take one too.
_turn = threading.Lock()


async def read_request(
    format: RequestFormat,
    scope: Scope,
    receive: Receive,
    options: StreamOptions,
    *,
    digests: bool = False,
) -> tuple[ChatRequest, str] | None:
    """Return what the client asks in this format, and a digest of it; None if it left before it
    had asked.

    Args:
        format: of the request.
        scope: of the request, as is `receive`.
        receive: the server's.
        options: its limits.
        digests: make the digest; "" if not.

    Raises:
        LLMStreamError: if that is too large, makes no request, or is not whole when the process
            ends.
    """
    body = await _Upload(options).read(scope, receive)
    if body is None:
        return None
    question = digest(body) if digests else ""
    return await decoded(partial(_decode, format, body, options), len(body)), question


async def read_json(
    scope: Scope, receive: Receive, options: StreamOptions
) -> dict[str, Any] | None:
    """Return the object that a small request's body is; None if the client left.

    Raises:
        LLMStreamError: if it is none, or too large.
    """
    small = replace(options, max_body_size=min(_AT_ONCE, options.max_body_size or _AT_ONCE))
    body = await _Upload(small).read(scope, receive)
    return None if body is None else decode_json(body, options.max_body_depth)


async def decoded(decode: Callable[[], ChatRequest], size: int) -> ChatRequest:
    """Return what `decode` makes of so many bytes: of many in a thread."""
    if size <= _AT_ONCE:
        return decode()
    return await in_thread(partial(_in_turn, decode))


def digest(asked: bytes) -> str:
    """Return what tells one question from another."""
    return sha256(asked).hexdigest()


def _in_turn(decode: Callable[[], ChatRequest]) -> ChatRequest:
    with _turn:
        return decode()


def _decode(format: RequestFormat, body: bytes, options: StreamOptions) -> ChatRequest:
    return format.decode(decode_json(body, options.max_body_depth, options.max_body_items))


class _Upload:
    """A request whose body still comes. Servers that are told to end wait for it, however slowly
    it does: it has `shutdown_grace` then, as streams have."""

    def __init__(self, options: StreamOptions) -> None:
        self._limit = options.max_body_size
        self._grace = options.shutdown_grace
        self._clock = options.clock
        self._give_up_at = math.inf
        self._scope = anyio.CancelScope()

    async def read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body; None if the client left before it was whole.

        Raises:
            PayloadTooLarge: if it is larger than it may be.
            ShuttingDown: if the process is told to end, and it has not come in time.
        """
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                self._check_size(int(value[:20]))
        ticker = Ticker.current(self._clock)
        ticker.add(self, math.inf)
        try:
            with self._scope:
                return await self._read(receive)
        finally:
            ticker.remove(self)
        raise ShuttingDown()

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            self._check_size(len(body))
            if not message.get("more_body", False):
                return bytes(body)

    def _check_size(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise PayloadTooLarge()

    def tick(self, now: float) -> float:
        if draining() and self._grace is not None:
            self._give_up_at = min(self._give_up_at, now + self._grace)
        if now < self._give_up_at:
            return self._give_up_at
        self._scope.cancel()
        return math.inf
