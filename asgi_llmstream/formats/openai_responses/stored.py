"""Responses that are kept: their items, the conversation that is rebuilt of them, and places in
their streams.

Source: the OpenAI API reference, responses; its errors as clients report them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...errors import BadRequest, NotFound
from ..shapes.fields import bad_field
from .words import Item

__all__ = [
    "Item",
    "as_items",
    "is_reference",
    "item_not_found",
    "joined",
    "kept_items",
    "listed",
    "number_of",
    "previous_not_found",
    "references",
    "run_of",
    "with_ids",
]

_ID = re.compile(r"[a-z]+_([0-9a-f]{32})(?:_[a-z]*[0-9]+)?")
_NUMBER = re.compile(rb'"sequence_number":([0-9]+)\}\n\n\Z')
_MOST_LISTED = 100


def run_of(id: str) -> str:
    """Return the run that a response's or an item's id names; "" if it is none of ours."""
    match = _ID.fullmatch(id)
    return match[1] if match is not None else ""


def number_of(frame: bytes) -> int:
    """Return the `sequence_number` of a server-sent event, in which it stands last."""
    match = _NUMBER.search(frame)
    return int(match[1]) if match is not None else -1


def as_items(given: str | list[Item]) -> list[Item]:
    """Return a request's input as items."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}] if given else []
    return given


def is_reference(item: Item) -> bool:
    """Tell whether an item only names another one, which may leave its type out."""
    kind = item.get("type")
    return kind == "item_reference" or (not kind and "id" in item and "role" not in item)


def references(items: Iterable[Item]) -> list[str]:
    """Return the ids of the items that these refer to."""
    return [str(item.get("id")) for item in items if is_reference(item)]


def joined(before: list[Item], new: Iterable[Item], known: Mapping[str, Item]) -> list[Item]:
    """Return a whole conversation.

    Args:
        before: the items of the response that the request goes on from.
        new: the request's own.
        known: the items that these refer to.
    """
    there = {item["id"] for item in before}
    resolved = (known[str(item["id"])] if is_reference(item) else item for item in new)
    return [*before, *(item for item in resolved if _id_of(item) not in there)]


def with_ids(items: Iterable[Item], run: str) -> Iterator[Item]:
    """Yield a response's input items with ids, as those of older responses have them already."""
    for number, item in enumerate(items):
        kind = item.get("type") or "message"
        id = _id_of(item) or f"{_PREFIXES.get(str(kind), 'item')}_{run}_in{number}"
        told = {**item, "id": id, "type": kind}
        if kind == "message":
            told |= {"status": "completed", "content": _parts(item)}
        yield told


def kept_items(output: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of an answer that its conversation goes on with: not a call that broke off,
    whose arguments may be half."""
    for item in output:
        is_call = item["type"] == "function_call" or (
            item["type"] == "mcp_call" and not item.get("approval_request_id")
        )
        if not (is_call and item["status"] in ("in_progress", "incomplete")):
            yield item


def listed(items: Iterable[Item], query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of items, the newest first unless the query says otherwise.

    Raises:
        BadRequest: if the query asks for what is no page.
    """
    order, limit = query.get("order", "desc"), query.get("limit", "20")
    if order not in ("asc", "desc"):
        raise bad_field("order", "must be asc or desc")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:4]) <= _MOST_LISTED:
        raise bad_field("limit", f"must be a number from 1 to {_MOST_LISTED}")
    all = [*items] if order == "asc" else [*items][::-1]
    ids = [item["id"] for item in all]
    after = query.get("after")
    if after is not None and after not in ids:
        raise item_not_found(after, "after")
    start = 0 if after is None else ids.index(after) + 1
    page = all[start : start + int(limit)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(all),
    }


def previous_not_found(id: str) -> BadRequest:
    """The error for a response to go on from, which is unknown, or is not kept any more."""
    said = f"There is no response {id!r} to go on from: it was not stored, or it has expired."
    return BadRequest(said, param="previous_response_id", code="previous_response_not_found")


def item_not_found(id: str, param: str = "input") -> NotFound:
    """The error for a reference to an unknown item."""
    said = f"There is no item {id!r}: its response was not stored, or it has expired."
    return NotFound(said, param=param, code="item_not_found")


_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "mcp_call": "mcp",
}


def _id_of(item: Item) -> str | None:
    id = item.get("id")
    return id if isinstance(id, str) else None  # a client may send anything


def _parts(message: Item) -> Any:
    content = message.get("content")
    if not isinstance(content, str):
        return content
    if message.get("role") == "assistant":
        return [{"type": "output_text", "text": content, "annotations": []}]
    return [{"type": "input_text", "text": content}]
