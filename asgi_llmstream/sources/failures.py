"""Providers' failures, as exceptions and as error bodies, by one table.

What a client may know of a failure is decided here and nowhere else: only the message of an
`LLMStreamError` ever reaches the wire, and a provider's own text never does.

- What the provider does not accept of the request is the client's to mend: 400, or 413 where it
  is too large, which Anthropic's clients know as an error of its own. Both are final to every
  client, as they were at the provider.
- What it refuses us (our key, our bill, a model's name that we chose) is a 502 that says
  `x-should-retry: false`, since a client's next attempts would fail like the first.
- What passes by itself keeps its kind: 429, 503, 504, with the provider's `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ..chunks import Error
from ..errors import (
    BadRequest,
    LLMStreamError,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
from .base import get

__all__ = ["as_exception", "public_error", "read_error"]

_Make = Callable[..., LLMStreamError]

_unaccepted = partial(BadRequest, "The model provider does not accept this request.")
_too_long = partial(
    BadRequest, "The conversation is too long for the model.", code="context_length_exceeded"
)
_bad_image = partial(
    BadRequest, "The model provider cannot use an image of this request.", code="invalid_image"
)
_filtered = partial(
    BadRequest, "The model provider's filter refused this request.", code="content_filter"
)
_too_large = partial(PayloadTooLarge, "The request is too large for the model provider.")
_refused = partial(UpstreamError, should_retry=False)
_used_up = partial(RateLimited, should_retry=False)

# HTTP statuses, the `code`s and `type`s of error bodies, and the names of exceptions' classes:
# they do not contradict each other.
_FAILURES: dict[int | str, _Make] = {
    # What the request holds
    400: _unaccepted,
    422: _unaccepted,
    "invalid_request_error": _unaccepted,
    "invalid_prompt": _unaccepted,
    "context_length_exceeded": _too_long,
    "exceed_context_size_error": _too_long,  # llama.cpp
    "invalid_image": _bad_image,
    "invalid_image_format": _bad_image,
    "invalid_image_mode": _bad_image,
    "invalid_image_url": _bad_image,
    "invalid_base64_image": _bad_image,
    "unsupported_image_media_type": _bad_image,
    "failed_to_download_image": _bad_image,
    "image_file_not_found": _bad_image,
    "image_file_too_large": _bad_image,
    "image_parse_error": _bad_image,
    "image_too_large": _bad_image,
    "image_too_small": _bad_image,
    "empty_image_file": _bad_image,
    "content_filter": _filtered,  # Azure
    "content_policy_violation": _filtered,
    "image_content_policy_violation": _filtered,
    413: _too_large,
    "request_too_large": _too_large,
    # What the provider has against us
    401: _refused,
    402: _refused,
    403: _refused,
    404: _refused,
    "authentication_error": _refused,
    "billing_error": _refused,
    "invalid_api_key": _refused,
    "model_not_found": _refused,
    "not_found_error": _refused,
    "permission_error": _refused,
    "insufficient_quota": _used_up,
    # What passes
    429: RateLimited,
    "rate_limit_error": RateLimited,
    "rate_limit_exceeded": RateLimited,
    503: Overloaded,
    529: Overloaded,
    "overloaded": Overloaded,
    "overloaded_error": Overloaded,
    408: UpstreamTimeout,
    504: UpstreamTimeout,
    "timeout": UpstreamTimeout,
    "timeout_error": UpstreamTimeout,
    # Classes that openai, anthropic, google-genai, httpx and httpx2 share the names of; Python's
    # own `TimeoutError` may be about anything.
    "ServerTimeoutError": UpstreamTimeout,  # aiohttp's, below google-genai
    "APITimeoutError": UpstreamTimeout,
    "TimeoutException": UpstreamTimeout,
    "APIConnectionError": UpstreamError,
    "TransportError": UpstreamError,
    "APIError": UpstreamError,
}


def read_error(item: Any) -> list[Error]:
    """Read a provider's error body.

    Args:
        item: `{"error": {"type", "code", ...}}`, or an object with these fields itself.
    """
    details = get(item, "error") or item
    names = () if _is_word(details) else ("code", "type")
    shown = _failure([get(details, name) for name in names])()
    return [Error(shown.message, shown.code, shown.status, shown.should_retry)]


def as_exception(chunk: Error) -> LLMStreamError:
    """Return the exception that says the same as yielding `chunk`."""
    return LLMStreamError(
        chunk.message, code=chunk.code, status=chunk.status, should_retry=chunk.should_retry
    )


def public_error(error: BaseException) -> LLMStreamError:
    """Return what the client may know of `error`.

    Ours pass as they are. A framework's `HTTPException` (a `status_code` and a `detail`) was
    written for the client and keeps both. A provider's error is recognised by its `status_code`
    and `response` or by its class's name, without importing its SDK. The rest is ours to mend:
    a generic 500.
    """
    if isinstance(error, LLMStreamError):
        if isinstance(getattr(error, "message", None), str):
            return error
        # A subclass whose `__init__` did not call ours.
        return LLMStreamError(status=type(error).default_status, code=type(error).default_code)
    response = getattr(error, "response", None)
    status = _status(error, response)
    if status is not None and response is None and hasattr(error, "detail"):
        if 400 <= status <= 599:
            return _written_for_the_client(error, status, error.detail)
    name = next((cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _FAILURES), None)
    if status is None and name is None:
        return LLMStreamError()
    # OpenAI answers a wrong key with the type of a bad request: its status says more.
    words = [*_said(error, "code"), status, *_said(error, "type"), name]
    return _failure(words)(**_of_headers(error, response))


def _status(error: BaseException, response: Any) -> int | None:
    status = getattr(error, "status_code", None)
    if status is None:  # httpx keeps it in the response
        status = getattr(response, "status_code", None)
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def _written_for_the_client(error: BaseException, status: int, detail: object) -> LLMStreamError:
    retry_after = _header(getattr(error, "headers", None), "retry-after")
    text = detail if isinstance(detail, str) else None
    return LLMStreamError(text, status=status, code="http_error", retry_after=retry_after)


def _said(error: BaseException, name: str) -> Iterator[Any]:
    """The exception's own word, then that of the body that it keeps."""
    yield getattr(error, name, None)
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        details = body.get("error")
        yield (details if isinstance(details, dict) else body).get(name)


def _failure(words: list[Any]) -> _Make:
    known = (_FAILURES[word] for word in words if _is_word(word) and word in _FAILURES)
    return next(known, UpstreamError)


def _is_word(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _of_headers(error: BaseException, response: Any) -> dict[str, Any]:
    headers = getattr(response, "headers", None) or getattr(error, "headers", None)
    fields: dict[str, Any] = {"retry_after": _header(headers, "retry-after")}
    if _header(headers, "x-should-retry") == "false":
        fields["should_retry"] = False
    return fields


def _header(headers: Any, name: str) -> str | None:
    """Return a header that came from elsewhere, if it is fit to be sent on."""
    if not isinstance(headers, Mapping):
        return None
    for key, value in headers.items():
        if isinstance(key, str) and key.lower() == name and isinstance(value, str):
            return value if value.isascii() and value.isprintable() else None
    return None
