"""Refusals: what a client is told in the place of an answer."""

from __future__ import annotations

from ..errors import LLMStreamError, Overloaded, RateLimited
from ..formats.base import Format
from ..formats.wire import dumps
from ..sse import ServerSentEvent
from .http import NO_SNIFFING, NO_STORE, Scope, Send, header_of, send_json

__all__ = ["refuse"]

# Seconds after which who was turned away may try again, where nobody says.
_RETRY_AFTER = 1


async def refuse(scope: Scope, send: Send, format: Format, error: LLMStreamError) -> None:
    """Answer a request with an error, in the words of its format.

    An `EventSource` never comes back from any status but 200. What soon is over, as that the
    process drains, that the store is away, or that too many read, is for it a stream of one event,
    which says when to come back (WHATWG HTML, section 9.2).
    """
    is_transient = isinstance(error, Overloaded | RateLimited)
    if is_transient and _is_event_source(scope):
        await _send_later(send, error)
        return
    headers = [*error.headers, NO_STORE]
    if is_transient and error.retry_after is None:
        headers.append((b"retry-after", b"%d" % _RETRY_AFTER))
    await send_json(send, error.status, format.error_body(error), headers)


async def _send_later(send: Send, error: LLMStreamError) -> None:
    after = error.retry_after or ""
    seconds = int(after) if after.isdigit() else _RETRY_AFTER
    fields = {"type": "unavailable", "message": error.message, "code": error.code}
    event = ServerSentEvent(dumps(fields).decode(), event="unavailable", retry=1000 * seconds)
    content_type = (b"content-type", b"text/event-stream; charset=utf-8")
    headers = [content_type, NO_STORE, NO_SNIFFING]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": event.encode()})


def _is_event_source(scope: Scope) -> bool:
    """Tell whether it wants nothing but an event stream, as an `EventSource` does."""
    accept = header_of(scope, b"accept").partition(";")[0]
    return scope.get("method") == "GET" and accept.strip().lower() == "text/event-stream"
