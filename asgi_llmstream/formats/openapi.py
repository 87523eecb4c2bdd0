"""`ChatApp`'s routes and their OpenAPI 3.1 operations.

Both frameworks' documents are made from these, so that they cannot disagree. Everything is
written out, without references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import NotFound, Overloaded
from .base import (
    DocumentedFormat,
    Method,
    Operation,
    RequestFormat,
    answers_whole,
    is_plain,
    schema_of,
)
from .shapes.openapi import (
    ANSWER_ERRORS,
    ANYTHING,
    EVENT_STREAM,
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
from .stream_routes import stream_operations

__all__ = ["Operation", "Route", "routes"]


class Route(NamedTuple):
    """One of `ChatApp`'s routes.

    Attributes:
        method: "GET", "POST" or "DELETE". What answers GET answers HEAD, too.
        path: below the mount; of its parameters "{id}" may hold slashes.
        name: of the operation.
        operation: what is known of it.
    """

    method: str
    path: str
    name: str
    operation: Operation


def routes(formats: Iterable[RequestFormat], *, keeps_streams: bool = False) -> list[Route]:
    """All that a `ChatApp` with these formats answers.

    Args:
        formats: its own.
        keeps_streams: it has a store.
    """
    known = [*formats]
    return [
        *(route for format in known for route in _answers(format)),
        *(_schema(format) for format in known if schema_of(format) is not None),
        Route("GET", "/models", "models", _models()),
        Route("GET", "/models/{id}", "model", _model()),
        *(Route(*one) for one in (stream_operations(known) if keeps_streams else ())),
    ]


def _answers(format: RequestFormat) -> Iterator[Route]:
    for method in format.methods:
        name = _name(format) + ("_post" if method != format.methods[0] else "")
        yield Route(method, format.route, name, _answer(format, method))


def _name(format: RequestFormat) -> str:
    return format.route[1:].replace("/", "_")


def _schema(format: RequestFormat) -> Route:
    response = json_response("A JSON Schema (2020-12).", ANYTHING)
    operation = {
        "summary": f"Describe the events of {format.route}",
        "responses": {"200": response},
    }
    return Route("GET", f"{format.route}/schema", f"{_name(format)}_schema", operation)


def _answer(format: RequestFormat | DocumentedFormat, method: Method) -> Operation:
    """The format's own operation; of one that has none, what holds for all: a vendor documents
    his protocol better than we could here."""
    operation = getattr(format, "operation", None)
    if operation is not None:
        own: Operation = operation(method)
        return own
    name = type(format).__name__
    content = {format.media_type: {"schema": STRING}} if is_plain(format) else {**EVENT_STREAM}
    if answers_whole(format):
        content["application/json"] = {"schema": ANYTHING}
    body = {"requestBody": json_body(ANYTHING)} if method == "POST" else {}
    return {
        "summary": f"Create an answer ({name})",
        **body,
        "responses": {
            "200": {"description": f"The answer, as {name} has it.", "content": content},
            **errors((*POST_ERRORS, *ANSWER_ERRORS), ANYTHING),
        },
    }


_MODEL = object_of(id=STRING, object=constant("model"), created=INTEGER, owned_by=STRING)
_MODELS = object_of(object=constant("list"), data={"type": "array", "items": _MODEL})


def _models() -> Operation:
    return {
        "summary": "List the models",
        "responses": {"200": json_response("The models.", _MODELS), **errors((Overloaded,))},
    }


def _model() -> Operation:
    return {
        "summary": "Show one model",
        "parameters": [parameter("path", "id", "The model's name, which may hold slashes.", True)],
        "responses": {"200": json_response("The model.", _MODEL), **errors((NotFound, Overloaded))},
    }
