"""Failures: an aborted answer as one, and OpenAI's shape, which its two protocols share."""

from __future__ import annotations

from typing import Any

from ...errors import LLMStreamError
from ...events import RunAborted, RunFailed

__all__ = ["error_object", "failed"]


def failed(event: RunFailed | RunAborted) -> RunFailed:
    """The terminal as a failure: in every protocol only an error is noticed by all clients."""
    if isinstance(event, RunFailed):
        return event
    return RunFailed.because(event.seq, event.usage, event.error)


def error_object(error: LLMStreamError | RunFailed) -> dict[str, Any]:
    """OpenAI's error shape, in bodies and in streams."""
    default = "server_error" if error.status >= 500 else "invalid_request_error"
    kind = _ERROR_TYPES.get(error.status, default)
    fields = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return {"error": fields}


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
