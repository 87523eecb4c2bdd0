"""Every exception of the package, each with its HTTP status and a message that is safe to show.

What a client may know of other exceptions is decided in `sources.failures`.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadRequest",
    "BufferFull",
    "FirstChunkTimeout",
    "Forbidden",
    "IdleTimeout",
    "LLMStreamError",
    "LimitExceeded",
    "MethodNotAllowed",
    "NotFound",
    "Overloaded",
    "PayloadTooLarge",
    "RateLimited",
    "ReadTooLate",
    "ShuttingDown",
    "StreamClosed",
    "TotalTimeout",
    "Unauthorized",
    "UnsupportedMediaType",
    "UpstreamError",
    "UpstreamTimeout",
    "UpstreamTruncated",
]


class LLMStreamError(Exception):
    """An error whose message the client may read.

    Raise one (or a subclass) from a producer to choose what the client sees: before the first
    chunk it becomes the HTTP status, after it the format's error event. Every other exception is
    shown as a generic one, and its details go to the log.

    Args:
        message: shown to the client as it is; the class's own text if left out.
        status: the HTTP status, 400 to 599; the class's own if left out.
        code: a short machine-readable slug; the class's own if left out.
        param: the request field at fault, if one is.
        retry_after: seconds after which a retry makes sense, sent as `Retry-After`
            (RFC 9110 section 10.2.3); a string goes out as it is, so a date works too.
        should_retry: whether a client shall repeat the request by itself, sent as
            `x-should-retry`, which OpenAI's and Anthropic's clients obey; if left out they
            repeat 408, 409, 429 and every 5xx.

    Raises:
        TypeError: if `message`, `code` or `param` is no text.
        ValueError: if `status` is no error status, or `retry_after` cannot be a header value.
    """

    default_status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"
    default_message: ClassVar[str] = "The server could not finish the answer."

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | str | None = None,
        should_retry: bool | None = None,
    ) -> None:
        for name, text in (("message", message), ("code", code), ("param", param)):
            if not isinstance(text, str | None):
                raise TypeError(
                    f"{name} must be a str, which the client reads, not {text!r}: seconds to wait "
                    f"are {type(self).__name__}(retry_after=...)"
                )
        self.message = self.default_message if message is None else message
        self.status = self.default_status if status is None else status
        self.code = self.default_code if code is None else code
        self.param = param
        self.retry_after = _retry_after(retry_after)
        self.should_retry = should_retry
        if not 400 <= self.status <= 599:
            raise ValueError(f"status must be 400 to 599, not {self.status!r}")
        super().__init__(self.message)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The HTTP headers that belong to this error, as ASGI wants them."""
        found = []
        if self.retry_after is not None:
            found.append((b"retry-after", self.retry_after.encode("ascii")))
        if self.should_retry is not None:
            found.append((b"x-should-retry", b"true" if self.should_retry else b"false"))
        return found


def _retry_after(value: float | str | None) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else str(max(0, -int(-value // 1)))
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"retry_after cannot be sent as a header: {value!r}")
    return text


class BadRequest(LLMStreamError):
    """The request cannot be understood; `param` names the field at fault."""

    default_status = 400
    default_code = "invalid_request"
    default_message = "The request is not valid."


class Unauthorized(LLMStreamError):
    """The caller did not say who they are."""

    default_status = 401
    default_code = "unauthorized"
    default_message = "Authentication is required."


class Forbidden(LLMStreamError):
    """The caller may not do this."""

    default_status = 403
    default_code = "forbidden"
    default_message = "This is not allowed."


class NotFound(LLMStreamError):
    """There is nothing at this path, or no such model."""

    default_status = 404
    default_code = "not_found"
    default_message = "There is nothing here."


class LimitExceeded(LLMStreamError):
    """The answer is larger than one of `StreamOptions`' limits allows; what came is kept."""

    default_code = "limit_exceeded"
    default_message = "The answer is larger than this server allows."


class MethodNotAllowed(LLMStreamError):
    """The path exists, for other methods.

    Args:
        allow: the methods that the path answers, sent as `Allow` (RFC 9110 section 15.5.6).
    """

    default_status = 405
    default_code = "method_not_allowed"

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__(f"This path answers {', '.join(allow)} only.")
        self.allow = allow

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", ", ".join(self.allow).encode("ascii"))]


class StreamClosed(Exception):
    """Raised by an emitter when its stream is over: nobody is there to hear more."""


class BufferFull(Exception):
    """Raised by an emitter's `nowait` when the client reads more slowly than it is told."""


class ReadTooLate(Exception):
    """Raised where somebody reads on who did not for `send_timeout` seconds, and was given up: the
    iterator of `encode_stream`, or a request's body below `LLMStreamMiddleware`."""


class PayloadTooLarge(LLMStreamError):
    """The request body is larger than `StreamOptions.max_body_size`."""

    default_status = 413
    default_code = "payload_too_large"
    default_message = "The request body is too large."


class UnsupportedMediaType(LLMStreamError):
    """The request body is not JSON."""

    default_status = 415
    default_code = "unsupported_media_type"
    default_message = (
        "The request body must be JSON, and say so: send the header content-type: application/json."
    )


class RateLimited(LLMStreamError):
    """Too many requests; `retry_after` says when to come back."""

    default_status = 429
    default_code = "rate_limit_exceeded"
    default_message = "Too many requests. Try again later."


class UpstreamError(LLMStreamError):
    """The model's provider failed, or refused us: the client can do nothing about it."""

    default_status = 502
    default_code = "upstream_error"
    default_message = "The model provider could not answer."


class UpstreamTruncated(UpstreamError):
    """The producer returned, and a provider's answer that it had begun to pass on has no end."""

    default_code = "upstream_truncated"
    default_message = "The model provider's answer broke off."

    def __str__(self) -> str:
        """Return what the log shall say, since whoever reads it can do something about it."""
        return (
            "a provider's answer has no end (finish_reason, message_stop, response.completed, "
            "chunk_position, agent_run_result): the provider broke it off, or the producer did "
            "not pass its last items on. If that is on purpose, yield Finish(...) before you return"
        )


class Overloaded(LLMStreamError):
    """We, or the model's provider, have too much to do."""

    default_status = 503
    default_code = "overloaded"
    default_message = "The server is overloaded. Try again later."


class ShuttingDown(Overloaded):
    """The server stops, and took the answer with it."""

    default_code = "shutting_down"
    default_message = "The server is shutting down. Try again later."


class UpstreamTimeout(LLMStreamError):
    """The model's provider took too long."""

    default_status = 504
    default_code = "upstream_timeout"
    default_message = "The model took too long to answer."


class FirstChunkTimeout(UpstreamTimeout):
    """No chunk came within `StreamOptions.first_chunk_timeout`."""

    default_code = "first_chunk_timeout"
    default_message = "The model did not begin to answer in time."


class IdleTimeout(UpstreamTimeout):
    """No further chunk came within `StreamOptions.idle_timeout`."""

    default_code = "idle_timeout"
    default_message = "The model stopped answering."


class TotalTimeout(UpstreamTimeout):
    """The answer was not complete within `StreamOptions.total_timeout`."""

    default_code = "total_timeout"
    default_message = "The answer took too long."
