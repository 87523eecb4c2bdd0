"""What `ChatApp`'s routes say of themselves in an OpenAPI 3.1 document, as plain dictionaries.

Both frameworks' documents are made from these, so that they cannot disagree. Everything is
written out, without references.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..errors import (
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
from .base import RequestFormat
from .events.stream import Events
from .openai_chat.stream import OpenAIChat, request_schema

__all__ = ["Route", "routes"]

Operation = dict[str, Any]
"""An Operation Object (OpenAPI 3.1 section 4.8.10), or the part of one that we know."""


class Route(NamedTuple):
    """One of `ChatApp`'s routes.

    Attributes:
        method: "GET" or "POST". What answers GET answers HEAD, too.
        path: below the mount; "{id}" may hold slashes.
        name: of the operation.
        operation: what is known of it.
    """

    method: str
    path: str
    name: str
    operation: Operation


def routes(formats: Iterable[RequestFormat]) -> list[Route]:
    """All that a `ChatApp` with these formats answers."""
    return [
        *(Route(f.method, f.route, f.route[1:].replace("/", "_"), _answer(f)) for f in formats),
        Route("GET", "/models", "models", _models()),
        Route("GET", "/models/{id}", "model", _model()),
    ]


def _answer(format: RequestFormat) -> Operation:
    if isinstance(format, OpenAIChat):
        return _chat_completions()
    return _events() if isinstance(format, Events) else _any_stream(format)


_STRING = {"type": "string"}
# OpenAPI 3.1 has no word for a stream's events.
_EVENT_STREAM = {"text/event-stream": {"schema": _STRING}}
_INTEGER = {"type": "integer"}
_ANYTHING = {"type": "object"}
_RETRY_AFTER = {
    "Retry-After": {"description": "When a retry makes sense.", "schema": {"type": "string"}}
}

# What a producer, or the model's provider behind it, can do to any answer.
_ANSWER_ERRORS = (RateLimited, LLMStreamError, UpstreamError, Overloaded, UpstreamTimeout)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _constant(value: str) -> dict[str, Any]:
    return {"type": "string", "const": value}


_OPENAI_ERROR = _object(
    error=_object(
        message=_STRING,
        type=_STRING,
        param={"type": ["string", "null"]},
        code={"type": ["string", "null"]},
    )
)
_EVENTS_ERROR = _object(type=_constant("error"), message=_STRING, code=_STRING, status=_INTEGER)

_COMPLETION = _object(
    id=_STRING,
    object=_constant("chat.completion"),
    created=_INTEGER,
    model=_STRING,
    choices={
        "type": "array",
        "items": _object(
            index=_INTEGER,
            message=_object(
                role=_constant("assistant"),
                content=_STRING,
                refusal={"type": ["string", "null"]},
            ),
            finish_reason=_STRING,
        ),
    },
)

_MODEL = _object(id=_STRING, object=_constant("model"), created=_INTEGER, owned_by=_STRING)
_MODELS = _object(object=_constant("list"), data={"type": "array", "items": _MODEL})


def _chat_completions() -> Operation:
    stream = {
        "schema": {
            "type": "string",
            "description": "`chat.completion.chunk` objects, one an event, then `[DONE]`.",
        }
    }
    return {
        "summary": "Create a chat completion",
        "description": "Streams server-sent events if the body says `stream: true`.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request_schema()}},
        },
        "responses": {
            "200": {
                "description": "The answer: a stream, or in one piece.",
                "content": {
                    "text/event-stream": stream,
                    "application/json": {"schema": _COMPLETION},
                },
            },
            **_errors((BadRequest, NotFound, PayloadTooLarge, UnsupportedMediaType)),
            **_errors(_ANSWER_ERRORS),
        },
    }


def _any_stream(format: RequestFormat) -> Operation:
    """Of a protocol whose vendor documents it better than we could here."""
    name = type(format).__name__
    content: dict[str, Any] = {**_EVENT_STREAM}
    if hasattr(format, "whole_body"):
        content["application/json"] = {"schema": _ANYTHING}
    before = (BadRequest, NotFound, PayloadTooLarge, UnsupportedMediaType)
    return {
        "summary": f"Create an answer ({name})",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ANYTHING}},
        },
        "responses": {
            "200": {"description": f"The answer, as {name} has it.", "content": content},
            **_errors((*before, *_ANSWER_ERRORS), _ANYTHING),
        },
    }


def _events() -> Operation:
    return {
        "summary": "Stream an answer to an EventSource",
        "description": "Plain typed events: see `EventSource` in WHATWG HTML section 9.2.",
        "parameters": [
            _parameter("query", "prompt", "What the user says.", required=True),
            _parameter("query", "model", "The model's name; the first one if left out."),
        ],
        "responses": {
            "200": {"description": "The answer, as events.", "content": _EVENT_STREAM},
            "204": {"description": "The EventSource reconnected, which would ask a second time."},
            **_errors((BadRequest, NotFound, *_ANSWER_ERRORS), _EVENTS_ERROR),
        },
    }


def _models() -> Operation:
    return {
        "summary": "List the models",
        "responses": {"200": _json("The models.", _MODELS), **_errors((Overloaded,))},
    }


def _model() -> Operation:
    return {
        "summary": "Show one model",
        "parameters": [_parameter("path", "id", "The model's name, which may hold slashes.", True)],
        "responses": {"200": _json("The model.", _MODEL), **_errors((NotFound, Overloaded))},
    }


def _parameter(where: str, name: str, description: str, required: bool = False) -> dict[str, Any]:
    return {
        "in": where,
        "name": name,
        "description": description,
        "required": required,
        "schema": _STRING,
    }


def _errors(
    kinds: Iterable[type[LLMStreamError]], schema: dict[str, Any] = _OPENAI_ERROR
) -> dict[str, Any]:
    return {str(kind.default_status): _error(kind, schema) for kind in kinds}


def _error(kind: type[LLMStreamError], schema: dict[str, Any]) -> dict[str, Any]:
    response = _json(kind.default_message, schema)
    if kind in (RateLimited, Overloaded):
        response["headers"] = _RETRY_AFTER
    return response


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
