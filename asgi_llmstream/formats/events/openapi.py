"""The OpenAPI operation of `GET /events`."""

from __future__ import annotations

from ...errors import BadRequest, NotFound
from ..base import Operation
from ..shapes.openapi import (
    ANSWER_ERRORS,
    EVENT_STREAM,
    INTEGER,
    STRING,
    constant,
    errors,
    object_of,
    parameter,
)

__all__ = ["operation"]

_ERROR = object_of(type=constant("error"), message=STRING, code=STRING, status=INTEGER)


def operation() -> Operation:
    return {
        "summary": "Stream an answer to an EventSource",
        "description": "Plain typed events: see `EventSource` in WHATWG HTML section 9.2.",
        "parameters": [
            parameter("query", "prompt", "What the user says.", required=True),
            parameter("query", "model", "The model's name; the first one if left out."),
        ],
        "responses": {
            "200": {"description": "The answer, as events.", "content": EVENT_STREAM},
            "204": {"description": "The EventSource reconnected, which would ask a second time."},
            **errors((BadRequest, NotFound, *ANSWER_ERRORS), _ERROR),
        },
    }
