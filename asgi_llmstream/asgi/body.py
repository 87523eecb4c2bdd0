"""The body of a request: read, decoded, made a `ChatRequest`, and let go.

Decoding holds the interpreter, and what it makes is walked through in Python: a large body would
keep all other streams of the event loop waiting.
"""

from __future__ import annotations

import threading
from functools import partial
from hashlib import sha256

from ..errors import PayloadTooLarge
from ..formats.base import RequestFormat
from ..formats.wire import decode_json
from ..options import StreamOptions
from ..producers import in_thread
from ..request import ChatRequest
from .http import Receive, Scope

__all__ = ["digest", "read_request"]

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
        LLMStreamError: if that is too large, or makes no request.
    """
    body = await _read(scope, receive, options.max_body_size)
    if body is None:
        return None
    question = digest(body) if digests else ""
    decode = partial(_decode, format, body, options)
    if len(body) <= _AT_ONCE:
        return decode(), question
    return await in_thread(partial(_in_turn, decode)), question


def digest(asked: bytes) -> str:
    """Return what tells one question from another."""
    return sha256(asked).hexdigest()


def _in_turn(decode: partial[ChatRequest]) -> ChatRequest:
    with _turn:
        return decode()


def _decode(format: RequestFormat, body: bytes, options: StreamOptions) -> ChatRequest:
    return format.decode(decode_json(body, options.max_body_depth, options.max_body_items))


async def _read(scope: Scope, receive: Receive, limit: int | None) -> bytes | None:
    """Return the request's body; None if the client left before it was whole.

    Args:
        limit: how large it may be, in bytes.

    Raises:
        PayloadTooLarge: if it is larger.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and limit is not None:
            if value.isdigit() and int(value[:20]) > limit:
                raise PayloadTooLarge()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if limit is not None and len(body) > limit:
            raise PayloadTooLarge()
        if not message.get("more_body", False):
            return bytes(body)
