"""What clients may know of errors: statuses, headers, and no more text than is safe."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from asgi_llmstream import errors
from asgi_llmstream.errors import (
    BadRequest,
    FirstChunkTimeout,
    Forbidden,
    IdleTimeout,
    LLMStreamError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    TotalTimeout,
    Unauthorized,
    UnsupportedMediaType,
    UpstreamError,
    UpstreamTimeout,
)
from asgi_llmstream.sources import as_exception, public_error
from asgi_llmstream.sources.failures import read_error

SECRET = "sk-secret at db.internal"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LLMStreamError, 500, "internal_error"),
        (BadRequest, 400, "invalid_request"),
        (Unauthorized, 401, "unauthorized"),
        (Forbidden, 403, "forbidden"),
        (NotFound, 404, "not_found"),
        (PayloadTooLarge, 413, "payload_too_large"),
        (UnsupportedMediaType, 415, "unsupported_media_type"),
        (RateLimited, 429, "rate_limit_exceeded"),
        (UpstreamError, 502, "upstream_error"),
        (Overloaded, 503, "overloaded"),
        (UpstreamTimeout, 504, "upstream_timeout"),
        (FirstChunkTimeout, 504, "first_chunk_timeout"),
        (IdleTimeout, 504, "idle_timeout"),
        (TotalTimeout, 504, "total_timeout"),
    ],
)
def test_every_error_has_a_status_a_code_and_words_of_its_own(
    error: type[LLMStreamError], status: int, code: str
) -> None:
    made = error()
    assert (made.status, made.code, made.param, made.headers) == (status, code, None, [])
    assert made.message
    assert str(made) == made.message


def test_every_error_of_the_package_is_exported() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert found <= set(errors.__all__)


def test_whoever_raises_an_error_chooses_what_the_client_sees() -> None:
    error = RateLimited("Wait.", status=503, code="slow", param="n", retry_after=30)
    assert (error.message, error.status, error.code, error.param) == ("Wait.", 503, "slow", "n")
    assert error.headers == [(b"retry-after", b"30")]
    assert LLMStreamError("").message == ""
    assert LLMStreamError(should_retry=True).headers == [(b"x-should-retry", b"true")]


@pytest.mark.parametrize("status", [200, 301, 399, 600, 0, -1])
def test_a_status_that_is_no_error_is_a_value_error(status: int) -> None:
    with pytest.raises(ValueError, match="status must be 400 to 599"):
        LLMStreamError(status=status)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (0, b"0"),
        (7, b"7"),
        (1.2, b"2"),
        (0.001, b"1"),
        (-3, b"0"),
        ("120", b"120"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
)
def test_retry_after_is_sent_in_whole_seconds_or_as_the_date_that_it_is(
    given: float | str, sent: bytes
) -> None:
    assert RateLimited(retry_after=given).headers == [(b"retry-after", sent)]


@pytest.mark.parametrize(
    "value",
    ["5\r\nset-cookie: a=b", "5\n", "5\r", "5\0", "\x7f", "fünf", "\uff15", math.nan, math.inf],
    ids=repr,
)
def test_a_retry_after_that_would_break_out_of_its_header_is_a_value_error(
    value: float | str,
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (every ValueError will do)
        RateLimited(retry_after=value)


def test_method_not_allowed_says_what_is_allowed() -> None:
    error = MethodNotAllowed(("GET", "HEAD"))
    assert (error.status, error.code) == (405, "method_not_allowed")
    assert error.headers == [(b"allow", b"GET, HEAD")]
    assert "GET, HEAD" in error.message


# public_error


def test_our_own_errors_pass_as_they_are() -> None:
    error = NotFound("No such model.", code="model_not_found", param="model")
    assert public_error(error) is error


class Own(UpstreamError):
    default_message = "Own words."


def test_a_subclass_of_ours_is_ours() -> None:
    assert public_error(error := Own()) is error


def _shown(error: LLMStreamError) -> str:
    return f"{error.message} {error.code} {error.param} {error.headers}"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        RuntimeError(SECRET),
        KeyError(SECRET),
        OSError(5, SECRET),
        ConnectionError(SECRET),
        AssertionError(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        KeyboardInterrupt(SECRET),
        SystemExit(SECRET),
        asyncio.CancelledError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unexpected_exception_is_a_generic_500_that_shows_nothing_of_it(
    error: BaseException,
) -> None:
    shown = public_error(error)
    assert type(shown) is LLMStreamError
    assert (shown.status, shown.code) == (500, "internal_error")
    assert shown.message == LLMStreamError.default_message
    assert SECRET not in _shown(shown)


@pytest.mark.parametrize("error", [TimeoutError(SECRET), asyncio.TimeoutError(SECRET)])  # noqa: UP041
def test_a_timeout_of_the_users_own_code_is_not_the_models(error: Exception) -> None:
    shown = public_error(error)
    assert (shown.status, shown.code) == (500, "internal_error")
    assert SECRET not in _shown(shown)


def _odd(**attributes: Any) -> Exception:
    error = Exception(SECRET)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (_odd(status_code="429"), 500),
        (_odd(status_code=True), 500),
        (_odd(status_code=None, detail=SECRET), 500),
        (_odd(status_code=200, detail=SECRET), 502),
        (_odd(status_code=999, detail=SECRET), 502),
        (_odd(status_code=429, response=None), 429),
        (_odd(status_code=429, response=object()), 429),
    ],
)
def test_odd_status_codes_are_not_trusted(error: Exception, status: int) -> None:
    shown = public_error(error)
    assert shown.status == status
    assert shown.headers == []
    assert SECRET not in _shown(shown)


# Frameworks


def _starlette(status: int, detail: Any, headers: dict[str, str] | None = None) -> Exception:
    module = pytest.importorskip("starlette.exceptions")
    error: Exception = module.HTTPException(status, detail, headers)
    return error


def _fastapi(status: int, detail: Any, headers: dict[str, str] | None = None) -> Exception:
    module = pytest.importorskip("fastapi")
    error: Exception = module.HTTPException(status, detail, headers)
    return error


def _litestar(status: int, detail: Any, headers: dict[str, str] | None = None) -> Exception:
    module = pytest.importorskip("litestar.exceptions")
    error: Exception = module.HTTPException(status_code=status, detail=detail, headers=headers)
    return error


FRAMEWORKS = pytest.mark.parametrize("make", [_starlette, _fastapi, _litestar])
MakeHTTP = Callable[..., Exception]


@FRAMEWORKS
def test_a_frameworks_http_exception_keeps_its_status_and_detail(make: MakeHTTP) -> None:
    shown = public_error(make(402, "The credit is used up."))
    assert (shown.status, shown.message, shown.code) == (
        402,
        "The credit is used up.",
        "http_error",
    )
    assert shown.headers == []


@FRAMEWORKS
def test_a_frameworks_http_exception_keeps_its_retry_after(make: MakeHTTP) -> None:
    shown = public_error(make(429, "Later.", {"Retry-After": "9", "x-other": "1"}))
    assert shown.headers == [(b"retry-after", b"9")]


@FRAMEWORKS
def test_a_retry_after_that_would_inject_a_header_is_dropped(make: MakeHTTP) -> None:
    shown = public_error(make(429, "Later.", {"retry-after": "9\r\nset-cookie: a=b"}))
    assert (shown.status, shown.headers) == (429, [])


@pytest.mark.parametrize("detail", [{"reason": "none such"}, ["a"], None], ids=repr)
def test_fastapis_http_exception_keeps_its_status_whatever_its_detail_is(detail: object) -> None:
    # FastAPI allows any JSON as `detail`. It is the application's own answer, no provider's.
    assert public_error(_fastapi(404, detail)).status == 404


# Providers


def _response(status: int, **headers: str) -> Any:
    httpx2 = pytest.importorskip("httpx2")
    request = httpx2.Request("POST", "https://api.example.com/v1/chat/completions")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=names, json={"error": SECRET}, request=request)


def _openai_error(status: int, **headers: str) -> Exception:
    openai = pytest.importorskip("openai")
    classes = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        409: openai.ConflictError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
    }
    made: Exception = classes.get(status, openai.APIStatusError)(
        SECRET, response=_response(status, **headers), body={"message": SECRET}
    )
    return made


def _anthropic_error(status: int, **headers: str) -> Exception:
    anthropic = pytest.importorskip("anthropic")
    made: Exception = anthropic.APIStatusError(
        SECRET, response=_response(status, **headers), body={"message": SECRET}
    )
    return made


PROVIDERS = pytest.mark.parametrize("make", [_openai_error, _anthropic_error])


@PROVIDERS
@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        (400, 400, "invalid_request"),
        (401, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (404, 502, "upstream_error"),
        (408, 504, "upstream_timeout"),
        (409, 502, "upstream_error"),
        (413, 413, "payload_too_large"),
        (422, 400, "invalid_request"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "upstream_error"),
        (502, 502, "upstream_error"),
        (503, 503, "overloaded"),
        (504, 504, "upstream_timeout"),
        (529, 503, "overloaded"),
    ],
)
def test_a_providers_status_becomes_ours_and_its_text_stays_hidden(
    make: Callable[..., Exception], theirs: int, ours: int, code: str
) -> None:
    shown = public_error(make(theirs))
    assert (shown.status, shown.code) == (ours, code)
    assert SECRET not in _shown(shown)


@PROVIDERS
@pytest.mark.parametrize("theirs", [401, 402, 403, 404])
def test_what_a_provider_refuses_us_is_not_worth_a_clients_retry(
    make: Callable[..., Exception], theirs: int
) -> None:
    assert public_error(make(theirs)).headers == [(b"x-should-retry", b"false")]


@PROVIDERS
@pytest.mark.parametrize("theirs", [409, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_left_to_the_clients_own_rules(
    make: Callable[..., Exception], theirs: int
) -> None:
    assert public_error(make(theirs)).headers == []


@PROVIDERS
def test_a_provider_that_wants_no_retry_is_taken_at_its_word(
    make: Callable[..., Exception],
) -> None:
    wanted = public_error(make(503, X_Should_Retry="true", Retry_After="3"))
    assert wanted.headers == [(b"retry-after", b"3")]
    assert public_error(make(500, X_Should_Retry="false")).should_retry is False


def _body_of(sdk: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error body as the vendor's clients keep it: openai's without what stands around it."""
    if sdk == "openai":
        return {"message": SECRET, "type": kind, "code": code, "param": None}
    return {"type": "error", "error": {"type": kind, "message": SECRET}}


@pytest.mark.parametrize(
    ("sdk", "status", "kind", "code", "expected"),
    [
        ("openai", 400, "x", "context_length_exceeded", (400, "context_length_exceeded")),
        ("openai", 400, "invalid_request_error", "invalid_image_url", (400, "invalid_image")),
        ("openai", 400, "invalid_request_error", SECRET, (400, "invalid_request")),
        ("openai", 400, "x", "content_filter", (400, "content_filter")),
        ("openai", 401, "invalid_request_error", None, (502, "upstream_error")),
        ("openai", 404, "invalid_request_error", "model_not_found", (502, "upstream_error")),
        ("openai", 429, "insufficient_quota", "insufficient_quota", (429, "rate_limit_exceeded")),
        ("anthropic", 413, "request_too_large", None, (413, "payload_too_large")),
        # What Anthropic's client raises when the error comes in mid-stream.
        ("anthropic", 200, "overloaded_error", None, (503, "overloaded")),
        ("anthropic", 200, "invalid_request_error", None, (400, "invalid_request")),
        ("anthropic", 200, "authentication_error", None, (502, "upstream_error")),
    ],
)
def test_a_providers_own_words_say_what_its_status_does_not(
    sdk: str, status: int, kind: str, code: str | None, expected: tuple[int, str]
) -> None:
    module = pytest.importorskip(sdk)
    body = _body_of(sdk, kind, code)
    shown = public_error(module.APIStatusError(SECRET, response=_response(status), body=body))
    assert (shown.status, shown.code) == expected
    assert SECRET not in _shown(shown)
    # The same body, read as one of a stream's events, is the same failure where it says as much.
    if status in (200, 413) or code in ("content_filter", "context_length_exceeded"):
        body = body if sdk == "anthropic" else {"error": body}
        (chunk,) = read_error(body)
        told = as_exception(chunk)
        assert (told.message, told.status, told.code, told.headers) == (
            shown.message,
            shown.status,
            shown.code,
            shown.headers,
        )


def test_googles_and_pydantic_ais_errors_are_known_by_what_they_keep_the_status_in() -> None:
    google = pytest.importorskip("google.genai.errors")
    body = {"error": {"code": 429, "message": SECRET, "status": "RESOURCE_EXHAUSTED"}}
    assert public_error(google.ClientError(429, body, _response(429, Retry_After="4"))).headers == [
        (b"retry-after", b"4")
    ]
    pydantic_ai = pytest.importorskip("pydantic_ai.exceptions")
    shown = public_error(pydantic_ai.ModelHTTPError(401, "m", {"message": SECRET}))
    assert (shown.status, shown.should_retry) == (502, False)


def test_a_code_or_type_of_an_exception_that_is_no_providers_says_nothing() -> None:
    assert public_error(_odd(code=429, type="overloaded")).status == 500


@PROVIDERS
def test_a_providers_429_keeps_its_retry_after(make: Callable[..., Exception]) -> None:
    shown = public_error(make(429, Retry_After="7"))
    assert isinstance(shown, RateLimited)
    assert shown.headers == [(b"retry-after", b"7")]


@pytest.mark.parametrize("value", ["sieben €", "7\x0b"])
def test_a_providers_retry_after_that_is_not_fit_to_be_sent_on_is_dropped(value: str) -> None:
    shown = public_error(_odd(status_code=429, response=_odd(headers={"Retry-After": value})))
    assert (shown.status, shown.headers) == (429, [])


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_providers_timeout_is_a_504_and_a_lost_connection_a_502(sdk: str) -> None:
    module = pytest.importorskip(sdk)
    request = _response(200).request
    assert public_error(module.APITimeoutError(request)).status == 504
    shown = public_error(module.APIConnectionError(message=SECRET, request=request))
    assert (shown.status, shown.code) == (502, "upstream_error")
    assert SECRET not in _shown(shown)


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_an_error_that_a_provider_sent_in_mid_stream_is_a_502(sdk: str) -> None:
    module = pytest.importorskip(sdk)
    shown = public_error(module.APIError(SECRET, _response(200).request, body={"code": SECRET}))
    assert (shown.status, shown.code) == (502, "upstream_error")
    assert SECRET not in _shown(shown)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ConnectTimeout", 504),
        ("ReadTimeout", 504),
        ("PoolTimeout", 504),
        ("ConnectError", 502),
        ("ReadError", 502),
        ("RemoteProtocolError", 502),
    ],
)
def test_the_failures_of_the_http_clients_below_the_sdks_are_known(
    library: str, name: str, status: int
) -> None:
    module = pytest.importorskip(library)
    shown = public_error(getattr(module, name)(SECRET))
    assert shown.status == status
    assert SECRET not in _shown(shown)
