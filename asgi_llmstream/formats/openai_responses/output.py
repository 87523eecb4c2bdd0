"""The items of a response as they grow, and among them the calls that the server runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...chunks import ToolResult
from ...request import Decision
from ..wire import named
from .words import Item, approved_call, item_id, output_of

__all__ = ["Output", "ServerCalls"]


class Output:
    """The items, and the events about them, which are numbered.

    Attributes:
        run_id: what the items' ids are made of.
        items: each of them is whole from its end on.
        count: of the events so far.
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.items: list[Item] = []
        self.count = 0

    def emit(self, name: str, fields: dict[str, Any]) -> bytes:
        fields = {**fields, "sequence_number": self.count}
        self.count += 1
        return named(name, fields)

    def add(self, item: Item) -> bytes:
        self.items.append(item)
        fields = {"output_index": len(self.items) - 1, "item": item}
        return self.emit("response.output_item.added", fields)

    def done(self, index: int, status: str = "completed") -> bytes:
        item = self.items[index]
        if "status" in item:
            item["status"] = status
        return self.emit("response.output_item.done", {"output_index": index, "item": item})


class ServerCalls:
    """The items of type `mcp_call`: each waits for its result, or for an approval.

    Args:
        output: where they stand.
        decided: about calls of an answer before.
    """

    def __init__(self, output: Output, decided: Iterable[Decision]) -> None:
        self._output = output
        self._running: dict[str, dict[str, Any]] = {}  # and where each stands
        self._over: set[str] = set()
        self._asked = {decision.call_id: decision for decision in decided}

    def begin(self, call_id: str, where: dict[str, Any]) -> bytes:
        """A call whose item was added: where it stands is its `item_id` and `output_index`."""
        self._running[call_id] = where
        return self._output.emit("response.mcp_call.in_progress", where)

    def end(self, result: ToolResult) -> bytes | None:
        """The result of a call; None if it is none of these."""
        if result.id in self._over:
            return b""  # one more, and the item is closed
        if (where := self._running.pop(result.id, None)) is not None:
            return self._close(result, where)
        if (decision := self._asked.get(result.id)) is not None:
            return self._came_of(decision, result)
        return None

    def ask(self, call_id: str) -> bytes:
        """The question whether a call may run, in place of its item; nothing of one that nobody
        made."""
        if (where := self._running.pop(call_id, None)) is None:
            return b""
        output, index = self._output, where["output_index"]
        call = output.items[index]
        call["approval_request_id"] = call_id
        name, arguments = call["name"], call["arguments"]
        self._asked[call_id] = Decision(call_id, approved=True, name=name, arguments=arguments)
        request = {"id": call_id, "type": "mcp_approval_request", "name": name}
        request |= {"arguments": arguments, "server_label": call["server_label"]}
        out = output.done(index, "incomplete") + output.add(request)
        return out + output.done(len(output.items) - 1)

    def finish(self) -> bytes:
        """Close those of which nobody told a result: nothing may be left open."""
        places = [where["output_index"] for where in self._running.values()]
        return b"".join([self._output.done(place, "incomplete") for place in places])

    def fail(self) -> None:
        """Mark them in the failed response."""
        for where in self._running.values():
            self._output.items[where["output_index"]]["status"] = "incomplete"

    def _came_of(self, decision: Decision, result: ToolResult) -> bytes:
        output, index = self._output, len(self._output.items)
        id, given = item_id("mcp_call", output.run_id, index), decision.arguments or "{}"
        where = {"item_id": id, "output_index": index}
        out = output.add(approved_call(decision, id))
        out += output.emit("response.mcp_call.in_progress", where)
        out += output.emit("response.mcp_call_arguments.delta", {**where, "delta": given})
        out += output.emit("response.mcp_call_arguments.done", {**where, "arguments": given})
        output.items[index]["arguments"] = given
        return out + self._close(result, where)

    def _close(self, result: ToolResult, where: dict[str, Any]) -> bytes:
        self._over.add(result.id)
        index = where["output_index"]
        status = "failed" if result.error or result.denied else "completed"
        self._output.items[index] |= output_of(result)
        out = self._output.emit(f"response.mcp_call.{status}", where)
        return out + self._output.done(index, status)
