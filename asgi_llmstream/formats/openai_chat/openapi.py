"""The OpenAPI operation of `POST /chat/completions`."""

from __future__ import annotations

from ..base import Operation
from ..shapes.openapi import (
    ANSWER_ERRORS,
    INTEGER,
    POST_ERRORS,
    STRING,
    constant,
    errors,
    json_body,
    object_of,
)
from .request import request_schema

__all__ = ["operation"]

_STREAM = {
    "type": "string",
    "description": "`chat.completion.chunk` objects, one an event, then `[DONE]`.",
}
_COMPLETION = object_of(
    id=STRING,
    object=constant("chat.completion"),
    created=INTEGER,
    model=STRING,
    choices={
        "type": "array",
        "items": object_of(
            index=INTEGER,
            message=object_of(
                role=constant("assistant"),
                content=STRING,
                refusal={"type": ["string", "null"]},
            ),
            finish_reason=STRING,
        ),
    },
)


def operation() -> Operation:
    return {
        "summary": "Create a chat completion",
        "description": "Streams server-sent events if the body says `stream: true`.",
        "requestBody": json_body(request_schema()),
        "responses": {
            "200": {
                "description": "The answer: a stream, or in one piece.",
                "content": {
                    "text/event-stream": {"schema": _STREAM},
                    "application/json": {"schema": _COMPLETION},
                },
            },
            **errors((*POST_ERRORS, *ANSWER_ERRORS)),
        },
    }
