"""The grammar of AG-UI 1.0, as `verifyEvents` of `@ag-ui/client` checks it.

`read(stream)` accepts what the client's verifier accepts and the schema allows, and gives what
the client accumulates.
"""

from __future__ import annotations

import json
from typing import Any

# Of each type of event: the fields that it must have, and those that it may have.
SHAPES: dict[str, tuple[dict[str, type], dict[str, type]]] = {
    "RUN_STARTED": ({"threadId": str, "runId": str}, {"protocolVersion": str, "timestamp": int}),
    "RUN_FINISHED": (
        {"threadId": str, "runId": str},
        {"usage": list, "metadata": dict, "outcome": dict},
    ),
    "RUN_ERROR": ({"message": str}, {"code": str, "usage": list}),
    "STEP_STARTED": ({"stepName": str}, {}),
    "STEP_FINISHED": ({"stepName": str}, {}),
    "TEXT_MESSAGE_START": ({"messageId": str, "role": str}, {}),
    "TEXT_MESSAGE_CONTENT": ({"messageId": str, "delta": str}, {}),
    "TEXT_MESSAGE_END": ({"messageId": str}, {}),
    "REASONING_START": ({"messageId": str}, {}),
    "REASONING_MESSAGE_START": ({"messageId": str, "role": str}, {}),
    "REASONING_MESSAGE_CONTENT": ({"messageId": str, "delta": str}, {}),
    "REASONING_MESSAGE_END": ({"messageId": str}, {}),
    "REASONING_ENCRYPTED_VALUE": ({"subtype": str, "entityId": str, "encryptedValue": str}, {}),
    "REASONING_END": ({"messageId": str}, {}),
    "TOOL_CALL_START": ({"toolCallId": str, "toolCallName": str}, {"parentMessageId": str}),
    "TOOL_CALL_ARGS": ({"toolCallId": str, "delta": str}, {}),
    "TOOL_CALL_END": ({"toolCallId": str}, {}),
    "TOOL_CALL_RESULT": (
        {"messageId": str, "toolCallId": str, "content": str},
        {"role": str, "metadata": dict},
    ),
    "STATE_SNAPSHOT": ({"snapshot": object}, {}),
    "STATE_DELTA": ({"delta": list}, {}),
    "CUSTOM": ({"name": str, "value": object}, {}),
}


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The events of a whole stream, whose framing is checked."""
    *blocks, rest = stream.decode("utf-8").split("\n\n")
    assert rest == "", "the last event has no blank line"
    events = []
    for block in blocks:
        assert len(block.splitlines()) == 1, f"more than one line: {block!r}"
        assert block.startswith("data: {"), block
        events.append(json.loads(block[6:]))
    return events


def _check_shape(event: dict[str, Any]) -> None:
    fields = dict(event)
    required, optional = SHAPES[fields.pop("type")]
    assert required.keys() <= fields.keys(), event
    assert fields.keys() <= required.keys() | optional.keys(), event
    for name, value in fields.items():
        assert isinstance(value, {**required, **optional}[name]), event
        assert value is not None or name == "value", event


class AGUIReader:
    """What a client accumulates.

    Attributes:
        messages: text and reasoning by id, in order.
        calls: tool calls, in order: id, name, arguments, and the result's content.
        custom: name and value of each CUSTOM event.
        state: each snapshot and each delta of it.
        interrupts: ids of the calls that the run waits for.
        terminal: the event that ended the run.
    """

    def __init__(self, known_calls: frozenset[str] = frozenset()) -> None:
        self.messages: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.custom: list[tuple[str, Any]] = []
        self.terminal: dict[str, Any] = {}
        self.state: list[Any] = []
        self.interrupts: list[str] = []
        self.run: dict[str, Any] = {}
        self._open: dict[tuple[str, str], dict[str, Any]] = {}
        self._used: set[tuple[str, str]] = {("TOOL_CALL", id) for id in known_calls}

    def text_of(self, role: str) -> str:
        return "".join(m["text"] for m in self.messages if m["role"] == role)

    def read(self, event: dict[str, Any]) -> None:
        type = event["type"]
        assert not self.terminal, f"after the end: {event}"
        assert bool(self.run) is (type != "RUN_STARTED"), event
        match type.rsplit("_", 1):
            case ["RUN", "STARTED"]:
                self.run = event
            case ["RUN", "FINISHED"]:
                assert not self._open, f"open at the end: {[*self._open]}"
                for name in ("threadId", "runId"):
                    assert event[name] == self.run[name]
                self.terminal = event
                if "outcome" in event:
                    self._interrupt(event["outcome"])
            case ["RUN", "ERROR"]:
                self.terminal = event
            case ["STEP", "STARTED"]:
                self._start("STEP", event["stepName"], {}, once=False)
            case ["STEP", "FINISHED"]:
                del self._open["STEP", event["stepName"]]
            case ["TOOL_CALL", _]:
                self._read_call(type, event)
            case ["STATE", "SNAPSHOT"]:
                self.state.append(event["snapshot"])
            case ["STATE", "DELTA"]:
                assert all({"op", "path"} <= operation.keys() for operation in event["delta"])
                self.state.append(event["delta"])
            case ["CUSTOM"]:
                self.custom.append((event["name"], event["value"]))
            case _:
                self._read_message(type, event)

    def _interrupt(self, outcome: dict[str, Any]) -> None:
        assert outcome.keys() == {"type", "interrupts"}
        assert outcome["type"] == "interrupt"
        assert outcome["interrupts"], "an interrupt with nothing to answer"
        for interrupt in outcome["interrupts"]:
            assert isinstance(interrupt["reason"], str)
            assert isinstance(interrupt["responseSchema"], dict)
            assert isinstance(interrupt.get("message", ""), str)
            assert interrupt["id"] == interrupt["toolCallId"]
            self.interrupts.append(interrupt["id"])

    def _start(self, what: str, id: str, opened: dict[str, Any], *, once: bool = True) -> None:
        assert (what, id) not in self._open, f"{what} {id} is open already"
        if once:
            assert (what, id) not in self._used, f"{what} {id} comes twice"
        self._used.add((what, id))
        self._open[what, id] = opened

    def _read_message(self, type: str, event: dict[str, Any]) -> None:
        what, _, step = type.rpartition("_")
        if what == "REASONING_ENCRYPTED":
            kind = "TOOL_CALL" if event["subtype"] == "tool-call" else "REASONING_MESSAGE"
            assert (kind, event["entityId"]) in self._used
            return
        id = event["messageId"]
        if step == "START":
            message = {"id": id, "role": event.get("role"), "text": ""}
            self._start(what, id, message)
            if what != "REASONING":
                self.messages.append(message)
        elif step == "CONTENT":
            self._open[what, id]["text"] += event["delta"]
        else:
            del self._open[what, id]

    def _read_call(self, type: str, event: dict[str, Any]) -> None:
        id = event["toolCallId"]
        match type:
            case "TOOL_CALL_START":
                call = {"id": id, "name": event["toolCallName"], "arguments": ""}
                self._start("TOOL_CALL", id, call)
                self.calls.append(call)
            case "TOOL_CALL_ARGS":
                self._open["TOOL_CALL", id]["arguments"] += event["delta"]
            case "TOOL_CALL_END":
                del self._open["TOOL_CALL", id]
            case _:
                assert ("TOOL_CALL", id) in self._used, "a result of an unknown call"
                assert ("TOOL_CALL", id) not in self._open, "a result of an open call"
                self._start("RESULT", event["messageId"], {})
                del self._open["RESULT", event["messageId"]]
                for call in self.calls:
                    if call["id"] == id:
                        call["result"] = event["content"]


def read(stream: bytes, known_calls: frozenset[str] = frozenset()) -> AGUIReader:
    """Check a whole stream.

    Raises:
        AssertionError, KeyError: if it is not valid.
    """
    reader = AGUIReader(known_calls)
    for event in events_of(stream):
        _check_shape(event)
        reader.read(event)
    assert reader.terminal, "no terminal"
    return reader
