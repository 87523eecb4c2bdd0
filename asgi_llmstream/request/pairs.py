"""Calls and results in pairs: providers refuse one without the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .conversation import ChatMessage

__all__ = ["NO_RESULT", "paired"]

NO_RESULT = "There is no result of this call."
"""The result of a call that has none; it counts as an error."""


def paired(messages: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """The messages, with one result for each call right behind the message that makes it.

    A call that nobody answered gets `NO_RESULT`: so the model still knows what it wanted. A
    result that answers no call before it is left out. Of two results of one call the last counts.
    """
    said: list[tuple[ChatMessage, dict[str, ChatMessage]]] = []
    asked: dict[str, dict[str, ChatMessage]] = {}
    for message in messages:
        if message.role == "tool":
            id = message.tool_call_id or ""
            if id in asked:
                asked[id][id] = message
            continue
        ids = [str(call.get("id") or "") for call in message.tool_calls]
        results = {id: _without(id) for id in ids}
        asked |= dict.fromkeys(ids, results)
        said.append((message, results))
    for message, results in said:
        yield message
        yield from results.values()


def _without(id: str) -> ChatMessage:
    return ChatMessage(role="tool", content=NO_RESULT, tool_call_id=id, failed=True)
