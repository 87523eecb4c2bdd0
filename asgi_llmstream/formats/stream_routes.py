"""OpenAPI 3.1 operations of the routes that a store's streams have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import BadRequest, Forbidden, LLMStreamError, NotFound, Overloaded, RateLimited
from .base import Operation, RequestFormat, counts_events, is_plain, stored_operations_of
from .shapes.openapi import (
    ANYTHING,
    EVENT_STREAM,
    INTEGER,
    STRING,
    errors,
    json_response,
    object_of,
    parameter,
)

__all__ = ["stream_operations"]

_NULLABLE_INTEGER = {"type": ["integer", "null"]}
_STATE = object_of(
    id=STRING,
    key=STRING,
    created=INTEGER,
    live={"type": "boolean"},
    outcome={"type": ["string", "null"]},
    last=INTEGER,
    expires=_NULLABLE_INTEGER,
)
_GONE = {"410": json_response("The beginning is not kept any more.", ANYTHING)}


def stream_operations(
    formats: Iterable[RequestFormat],
) -> Iterator[tuple[str, str, str, Operation]]:
    """Yield what is known of each route."""
    known = [*formats]
    yield "GET", "/streams", "streams", _list()
    yield "GET", "/streams/{run}", "stream", _follow(known)
    yield "DELETE", "/streams/{run}", "stream_erase", _erase()
    yield "GET", "/streams/{run}/message", "stream_message", _message()
    yield "POST", "/streams/{run}/stop", "stream_stop", _stop()
    for format in known:
        yield from stored_operations_of(format)
        if counts_events(format) or is_plain(format):  # the AI SDK's transports read these
            name = format.route[1:].replace("/", "_")
            yield "GET", f"{format.route}/{{name}}/stream", f"{name}_stream", _active(format)
            yield "POST", f"{format.route}/{{name}}/stop", f"{name}_stop", _stop_active(format)


def _of_stream(summary: str, **operation: Any) -> Operation:
    """An operation on one stream."""
    own = [parameter("path", "run", "The stream's id, its `x-run-id`.", True)]
    parameters = [*own, *operation.pop("parameters", ())]
    return {"summary": summary, "parameters": parameters, **operation}


def _refused(*kinds: type[LLMStreamError]) -> dict[str, Any]:
    return errors((NotFound, *kinds, Overloaded), ANYTHING)


def _list() -> Operation:
    response = json_response("Those that are live.", object_of(streams=_array(_STATE)))
    return {
        "summary": "List the caller's live streams",
        "responses": {"200": response, **errors((Forbidden, Overloaded), ANYTHING)},
    }


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _follow(formats: list[RequestFormat]) -> Operation:
    names = ", ".join(format.route[1:] for format in formats)
    content = {**EVENT_STREAM, "application/json": {"schema": _STATE}}
    ended = {"204": {"description": "It has ended, and there is no more behind the cursor."}}
    return _of_stream(
        "Follow a stream, or tell its state as JSON",
        parameters=[
            parameter("query", "format", f"The protocol to follow it in: {names}."),
            parameter("query", "cursor", "The `id:` of the last event that the client has."),
            parameter("query", "from", "`now` begins at the end."),
            parameter("header", "Last-Event-ID", "The same as `cursor`, and wins over it."),
        ],
        responses={
            "200": {"description": "What is past, then what is new.", "content": content},
            **ended,
            **_refused(BadRequest, RateLimited),
            **_GONE,
        },
    )


def _message() -> Operation:
    outcome = {"type": ["string", "null"]}
    schema = object_of(cursor=STRING, message=ANYTHING, live={"type": "boolean"}, outcome=outcome)
    response = json_response("The message so far, and the cursor to follow it from.", schema)
    return _of_stream(
        "Show a stream's message so far", responses={"200": response, **_refused(), **_GONE}
    )


def _stop() -> Operation:
    responses = {
        "200": json_response("It has ended.", _STATE),
        "202": json_response("It was told to end.", _STATE),
    }
    return _of_stream("Stop a stream", responses={**responses, **_refused()})


def _stop_active(format: RequestFormat) -> Operation:
    named = [parameter("path", "name", "The conversation's id, or the stream's.", True)]
    summary = f"Stop the live answer of a conversation ({type(format).__name__})"
    return {**_stop(), "summary": summary, "parameters": named}


def _erase() -> Operation:
    erased = {"204": {"description": "There is no such stream any more."}}
    return _of_stream("Erase a stream", responses={**erased, **errors((Overloaded,), ANYTHING)})


def _active(format: RequestFormat) -> Operation:
    content = {format.media_type: {"schema": STRING}} if is_plain(format) else EVENT_STREAM
    return {
        "summary": f"Follow the live answer of a conversation ({type(format).__name__})",
        "parameters": [
            parameter("path", "name", "The conversation's id, or the stream's.", True),
            parameter("query", "startIndex", "So many parts are left out; negative: from the end."),
        ],
        "responses": {
            "200": {"description": "The answer from its beginning.", "content": content},
            "204": {"description": "Nothing is being made."},
            **errors((BadRequest, RateLimited, Overloaded), ANYTHING),
            **_GONE,
        },
    }
