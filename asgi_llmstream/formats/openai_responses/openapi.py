"""The OpenAPI operations of stored responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import BadRequest, LLMStreamError, NotFound, Overloaded, RateLimited
from ..base import StoredOperation
from ..shapes.openapi import (
    ANYTHING,
    EVENT_STREAM,
    constant,
    errors,
    json_response,
    object_of,
    parameter,
)

__all__ = ["stored_operations"]

_LIST = object_of(object=constant("list"), data={"type": "array", "items": ANYTHING})
_GONE = {"410": json_response("Its beginning is not kept any more.", ANYTHING)}


def stored_operations(route: str) -> Iterator[StoredOperation]:
    """Yield what is known of each route below `route`, which is the format's."""
    one = f"{route}/{{response}}"
    yield "GET", one, "response", _show()
    yield "DELETE", one, "response_delete", _delete()
    yield "POST", f"{one}/cancel", "response_cancel", _cancel()
    yield "GET", f"{one}/input_items", "response_input_items", _list_input()


def _of_response(
    summary: str,
    responses: dict[str, Any],
    *refusals: type[LLMStreamError],
    parameters: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    own = parameter("path", "response", "The response's id.", True)
    refused = errors((NotFound, *refusals, Overloaded))
    return {
        "summary": summary,
        "parameters": [own, *parameters],
        "responses": {**responses, **refused},
    }


def _show() -> dict[str, Any]:
    content = {"application/json": {"schema": ANYTHING}, **EVENT_STREAM}
    response = {"description": "The response as it is now, or its events.", "content": content}
    return _of_response(
        "Show a stored response, or follow it",
        {"200": response, **_GONE},
        BadRequest,
        RateLimited,
        parameters=(
            parameter("query", "stream", "`true` for its events, those to come included."),
            parameter("query", "starting_after", "The `sequence_number` of the last one known."),
        ),
    )


def _delete() -> dict[str, Any]:
    deleted = object_of(
        id={"type": "string"}, object=constant("response"), deleted={"type": "boolean"}
    )
    response = json_response("It is forgotten.", deleted)
    return _of_response("Delete a stored response", {"200": response})


def _cancel() -> dict[str, Any]:
    responses = {
        "200": json_response("The response, which has ended.", ANYTHING),
        "202": json_response("The response, which was told to end.", ANYTHING),
    }
    return _of_response("Cancel a stored response", {**responses, **_GONE})


def _list_input() -> dict[str, Any]:
    response = json_response("A page of the conversation that it answers.", _LIST)
    return _of_response(
        "List what a stored response was asked",
        {"200": response},
        BadRequest,
        parameters=(
            parameter("query", "order", "`asc` for the oldest first; else the newest."),
            parameter("query", "limit", "How many items, from 1 to 100; 20 if left out."),
            parameter("query", "after", "The id of the last item of the page before."),
        ),
    )
