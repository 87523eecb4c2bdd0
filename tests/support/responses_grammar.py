"""The grammar of an OpenAI Responses stream, as a reference: `check` raises where it is broken.

Written from the API reference and from what the official clients' accumulators refuse, and
not from our encoder.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["check", "events"]

TERMINALS = {"response.completed", "response.incomplete", "response.failed"}

# Of each inner event: the item's type, the inner part's type, and the key of its text.
INNER = {
    "response.output_text": ("message", "output_text", "text"),
    "response.refusal": ("message", "refusal", "refusal"),
    "response.reasoning_summary_text": ("reasoning", "summary_text", "text"),
}


def events(stream: bytes) -> list[dict[str, Any]]:
    """The data of each event; its type must stand in `event:` too."""
    found = []
    text = stream.decode()
    assert text.endswith("\n\n")
    for block in text[:-2].split("\n\n"):
        name, data = (line for line in block.split("\n") if not line.startswith(":"))
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def check(stream: bytes) -> dict[str, Any]:
    """The response at the stream's end.

    Raises:
        AssertionError: if the stream breaks the grammar.
    """
    first, second, *middle, last = events(stream)
    everything = [first, second, *middle, last]
    check_numbers(everything)
    assert (first["type"], second["type"]) == ("response.created", "response.in_progress")
    for event in (first, second):
        assert event["response"]["status"] == "in_progress"
        assert event["response"]["output"] == []
    assert last["type"] in TERMINALS
    if last["type"] == "response.failed":
        error = middle.pop()
        assert error["type"] == "error"
        assert isinstance(error["message"], str)
        told = {key: error["error"][key] for key in ("code", "message", "param")}
        assert told == {key: error[key] for key in told}, "clients look in either place"
    items = Items()
    for event in middle:
        assert event["type"] not in TERMINALS | {"error", "response.created"}
        items.take(event)
    return items.finish(first["response"], last)


def check_numbers(events: list[dict[str, Any]]) -> None:
    """They count from 0; a delta that stands for several has the last one's."""
    expected = 0
    for event in events:
        number = event["sequence_number"]
        assert number >= expected if event["type"].endswith(".delta") else number == expected
        expected = number + 1


class Items:
    """The output items as they grow."""

    def __init__(self) -> None:
        self.open: dict[int, Item] = {}
        self.done: dict[int, dict[str, Any]] = {}

    def take(self, event: dict[str, Any]) -> None:
        index = event["output_index"]
        if event["type"] == "response.output_item.added":
            growing = [item for item in self.open.values() if not item.waits]
            assert not growing, "accumulators take items that grow beside each other for one"
            assert index == len(self.open) + len(self.done), "items are added in order"
            self.open[index] = Item(event["item"])
        elif event["type"] == "response.output_item.done":
            self.open.pop(index).finish(event["item"])
            self.done[index] = event["item"]
        else:
            assert event["item_id"] == self.open[index].id
            self.open[index].take(event)

    def finish(self, first: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
        response: dict[str, Any] = last["response"]
        for index, item in self.open.items():
            assert last["type"] == "response.failed", "nothing is open at the end"
            self.done[index] = item.broken(response["output"][index])
        assert response["output"] == [self.done[i] for i in range(len(self.done))]
        for key in ("id", "model", "created_at", "object"):
            assert response[key] == first[key]
        assert f"response.{response['status']}" == last["type"]
        assert (response["error"] is not None) == (response["status"] == "failed")
        assert (response["incomplete_details"] is not None) == (response["status"] == "incomplete")
        ids = [item["id"] for item in response["output"]]
        assert len(set(ids)) == len(ids)
        calls = [i["call_id"] for i in response["output"] if i["type"] == "function_call"]
        assert len(set(calls)) == len(calls), "the Python client refuses a call's id twice"
        return response


class Item:
    """One item: its inner parts begin, grow and end before it does."""

    def __init__(self, item: dict[str, Any]) -> None:
        self.id = item["id"]
        self.type = item["type"]
        fixed = ("id", "type", "role", "call_id", "name", "server_label")
        self.fixed = {k: item.get(k) for k in fixed}
        self.parts: list[dict[str, Any]] = []
        self.part: dict[str, Any] | None = None
        self.text_done = False
        self.arguments: str | None = ""
        self.arguments_done = False
        self.ran: list[str] = []

    @property
    def waits(self) -> bool:
        """For nothing but the result of a call that the server runs."""
        return self.type == "mcp_call" and self.arguments_done

    def take(self, event: dict[str, Any]) -> None:
        name, _, what = event["type"].rpartition(".")
        if name in ("response.function_call_arguments", "response.mcp_call_arguments"):
            assert name == f"response.{self.type}_arguments"
            self.take_arguments(what, event)
        elif name == "response.mcp_call":
            assert self.type == "mcp_call"
            assert (not self.ran) == (what == "in_progress")
            assert what == "in_progress" or self.arguments_done
            self.ran.append(what)
        elif name in ("response.content_part", "response.reasoning_summary_part"):
            self.take_part(what, event)
        elif event["type"] == "response.output_text.annotation.added":
            assert self.part is not None
            assert event["annotation_index"] == len(self.part["annotations"])
            assert not self.text_done
            self.part["annotations"].append(event["annotation"])
        else:
            self.take_text(what, event, *INNER[name])

    def take_arguments(self, what: str, event: dict[str, Any]) -> None:
        assert not self.arguments_done
        if what == "delta":
            assert event["delta"]
            assert self.arguments is not None
            self.arguments += event["delta"]
        else:
            assert event["arguments"] == self.arguments != ""
            self.arguments_done = True

    def take_part(self, what: str, event: dict[str, Any]) -> None:
        index = event["summary_index" if self.type == "reasoning" else "content_index"]
        assert index == len(self.parts)
        if what == "added":
            assert self.part is None
            self.part, self.text_done = event["part"], False
            assert self.part is not None
            assert not self.part.get("text")
            assert not self.part.get("refusal")
        else:
            assert self.text_done
            assert event["part"] == self.part
            self.parts.append(event["part"])
            self.part = None

    def take_text(self, what: str, event: dict[str, Any], item: str, part: str, key: str) -> None:
        assert self.type == item
        assert self.part is not None
        assert self.part["type"] == part
        assert not self.text_done
        assert event["summary_index" if item == "reasoning" else "content_index"] == len(self.parts)
        if part == "output_text":
            assert event["logprobs"] == []
        if what == "delta":
            assert event["delta"]
            self.part[key] += event["delta"]
        else:
            assert event[key] == self.part[key]
            self.text_done = True

    def broken(self, item: dict[str, Any]) -> dict[str, Any]:
        """A call that was still growing, or ran, when the response failed."""
        assert self.type in ("function_call", "mcp_call")
        assert not self.arguments_done or self.ran == ["in_progress"]
        assert {k: item.get(k) for k in self.fixed} == self.fixed
        assert (item["status"], item["arguments"]) == ("incomplete", self.arguments)
        return item

    def finish(self, item: dict[str, Any]) -> None:
        assert {k: item.get(k) for k in self.fixed} == self.fixed
        assert self.part is None
        if self.type in ("function_call", "mcp_call"):
            assert self.arguments_done
            assert item["arguments"] == self.arguments
        if self.type == "mcp_call":
            check_mcp_call(item, *self.ran)
            return
        if self.type in ("message", "reasoning"):
            assert item["summary" if self.type == "reasoning" else "content"] == self.parts
            assert self.parts
        if self.type == "mcp_approval_request":
            assert item.keys() == {"id", "type", "name", "arguments", "server_label"}
        elif self.type != "reasoning":
            assert item["status"] in ("completed", "incomplete")


def check_mcp_call(item: dict[str, Any], began: str, ended: str = "incomplete") -> None:
    """What came of a call of the server's stands in its item."""
    assert (began, ended) == ("in_progress", item["status"])
    assert isinstance(item["server_label"], str)
    assert (item["output"] is not None) == (ended == "completed")
    assert (item["error"] is not None) == (ended == "failed")
