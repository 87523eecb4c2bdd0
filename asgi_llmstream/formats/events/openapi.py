"""The OpenAPI operations of `/events`."""

from __future__ import annotations

from ...errors import BadRequest, NotFound
from ..base import Method, Operation
from ..shapes.chat_body import body_schema
from ..shapes.openapi import (
    ANSWER_ERRORS,
    EVENT_STREAM,
    INTEGER,
    POST_ERRORS,
    STRING,
    constant,
    errors,
    json_body,
    object_of,
    parameter,
)

__all__ = ["operation"]

_ERROR = object_of(type=constant("error"), message=STRING, code=STRING, status=INTEGER)
_PUBLISHED = "Each event is one of those that `GET /events/schema` describes."
_OWN = "The application's own events."


def operation(method: Method, *, has_envelope: bool) -> Operation:
    description = _PUBLISHED if has_envelope else _OWN
    answer = {"description": "The answer, as events.", "content": EVENT_STREAM}
    if method == "POST":
        return {
            "summary": "Stream an answer as plain events",
            "description": description,
            "requestBody": json_body(body_schema()),
            "responses": {"200": answer, **errors((*POST_ERRORS, *ANSWER_ERRORS), _ERROR)},
        }
    again = {"description": "The EventSource reconnected, which would ask a second time."}
    return {
        "summary": "Stream an answer to an EventSource",
        "description": f"{description} See `EventSource` in WHATWG HTML section 9.2.",
        "parameters": [
            parameter("query", "prompt", "What the user says.", required=True),
            parameter("query", "model", "The model's name; the first one if left out."),
        ],
        "responses": {
            "200": answer,
            **({"204": again} if has_envelope else {}),
            **errors((BadRequest, NotFound, *ANSWER_ERRORS), _ERROR),
        },
    }
