"""Pieces of an OpenAPI 3.1 document, as dictionaries without references."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import (
    BadRequest,
    LLMStreamError,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    UnsupportedMediaType,
    UpstreamError,
    UpstreamTimeout,
)

__all__ = [
    "ANSWER_ERRORS",
    "ANYTHING",
    "EVENT_STREAM",
    "INTEGER",
    "OPENAI_ERROR",
    "POST_ERRORS",
    "STRING",
    "constant",
    "errors",
    "json_body",
    "json_response",
    "object_of",
    "parameter",
]

Schema = dict[str, Any]

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
ANYTHING = {"type": "object"}
# OpenAPI 3.1 has no word for a stream's events.
EVENT_STREAM = {"text/event-stream": {"schema": STRING}}

# What a request with a body can be refused for.
POST_ERRORS = (BadRequest, NotFound, PayloadTooLarge, UnsupportedMediaType)
# What a producer, or the model's provider behind it, can do to any answer.
ANSWER_ERRORS = (RateLimited, LLMStreamError, UpstreamError, Overloaded, UpstreamTimeout)

_RETRY_AFTER = {"Retry-After": {"description": "When a retry makes sense.", "schema": STRING}}


def object_of(**properties: Any) -> Schema:
    """An object that has all of these."""
    return {"type": "object", "properties": properties, "required": [*properties]}


def constant(value: str) -> Schema:
    """This text alone."""
    return {"type": "string", "const": value}


OPENAI_ERROR = object_of(
    error=object_of(
        message=STRING,
        type=STRING,
        param={"type": ["string", "null"]},
        code={"type": ["string", "null"]},
    )
)


def parameter(where: str, name: str, description: str, required: bool = False) -> dict[str, Any]:
    return {
        "in": where,
        "name": name,
        "description": description,
        "required": required,
        "schema": STRING,
    }


def json_body(schema: Schema) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def json_response(description: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def errors(kinds: Iterable[type[LLMStreamError]], schema: Schema = OPENAI_ERROR) -> dict[str, Any]:
    """Responses by their status."""
    return {str(kind.default_status): _error(kind, schema) for kind in kinds}


def _error(kind: type[LLMStreamError], schema: Schema) -> dict[str, Any]:
    response = json_response(kind.default_message, schema)
    if kind in (RateLimited, Overloaded):
        response["headers"] = _RETRY_AFTER
    return response
