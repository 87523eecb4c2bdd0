"""The OpenAPI operations of `POST /chat/completions`, and of llama.cpp's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import BadRequest, NotFound, Overloaded, PayloadTooLarge, RateLimited
from ..base import Operation, StoredOperation
from ..shapes.openapi import (
    ANSWER_ERRORS,
    INTEGER,
    POST_ERRORS,
    STRING,
    constant,
    errors,
    json_body,
    json_response,
    object_of,
    parameter,
)
from .request import request_schema

__all__ = ["operation", "stored_operations"]

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


def stored_operations() -> Iterator[StoredOperation]:
    """Yield what is known of the routes by which llama.cpp's page comes back."""
    for path in ("/stream", "/stream/{id}"):
        names = parameter("query", "conv_id", "The conversation's `X-Conversation-Id`.")
        if "{id}" in path:
            names = parameter("path", "id", "The conversation's `X-Conversation-Id`.", True)
        name = "conversation" + ("_by_path" if "{id}" in path else "")
        yield "GET", path, name, _follow(names)
        yield "DELETE", path, f"{name}_stop", _end(names)
    yield "POST", "/streams/lookup", "conversations", _look_up()


def _follow(names: dict[str, Any]) -> Operation:
    content = {"text/event-stream": {"schema": _STREAM}}
    return {
        "summary": "Follow a conversation's newest answer (llama.cpp)",
        "parameters": [names, parameter("query", "from", "How many bytes are left out.")],
        "responses": {
            "200": {"description": "The rest of the answer.", "content": content},
            **errors((BadRequest, NotFound, RateLimited, Overloaded)),
        },
    }


def _end(names: dict[str, Any]) -> Operation:
    return {
        "summary": "Stop and forget a conversation's newest answer (llama.cpp)",
        "parameters": [names],
        "responses": {
            "204": {"description": "There is none any more."},
            **errors((BadRequest, Overloaded)),
        },
    }


def _look_up() -> Operation:
    names = {"type": "array", "items": STRING}
    found = object_of(
        conversation_id=STRING,
        is_done={"type": "boolean"},
        total_bytes=INTEGER,
        started_at=INTEGER,
        completed_at=INTEGER,
    )
    response = json_response("Those that there are.", {"type": "array", "items": found})
    return {
        "summary": "Look up conversations that the client knows (llama.cpp)",
        "requestBody": json_body(object_of(conversation_ids=names)),
        "responses": {"200": response, **errors((BadRequest, PayloadTooLarge, Overloaded))},
    }
