"""The grammar of the AI SDK's UI message stream, as `ai` 5.0.0 checks it and later ones extend it.

`read(stream)` accepts exactly what the strictest client accepts, and gives what it accumulates.
"""

from __future__ import annotations

import json
from typing import Any

ANYTHING = object

# Of each type of chunk: the keys that it must have, and those that it may have.
SHAPES: dict[str, tuple[dict[str, type], dict[str, type]]] = {
    "start": ({}, {"messageId": str, "messageMetadata": ANYTHING}),
    "start-step": ({}, {}),
    "finish-step": ({}, {}),
    "text-start": ({"id": str}, {"providerMetadata": dict}),
    "text-delta": ({"id": str, "delta": str}, {"providerMetadata": dict}),
    "text-end": ({"id": str}, {"providerMetadata": dict}),
    "reasoning-start": ({"id": str}, {"providerMetadata": dict}),
    "reasoning-delta": ({"id": str, "delta": str}, {"providerMetadata": dict}),
    "reasoning-end": ({"id": str}, {"providerMetadata": dict}),
    "tool-input-start": ({"toolCallId": str, "toolName": str}, {"providerExecuted": bool}),
    "tool-input-delta": ({"toolCallId": str, "inputTextDelta": str}, {}),
    "tool-input-available": (
        {"toolCallId": str, "toolName": str, "input": ANYTHING},
        {"providerExecuted": bool, "providerMetadata": dict},
    ),
    "tool-input-error": (
        {"toolCallId": str, "toolName": str, "input": ANYTHING, "errorText": str},
        {"providerExecuted": bool},
    ),
    "tool-output-available": (
        {"toolCallId": str, "output": ANYTHING},
        {"providerExecuted": bool},
    ),
    "tool-output-error": ({"toolCallId": str, "errorText": str}, {"providerExecuted": bool}),
    "tool-output-denied": ({"toolCallId": str}, {}),
    "tool-approval-request": ({"approvalId": str, "toolCallId": str}, {}),
    "source-document": (
        {"sourceId": str, "mediaType": str, "title": str},
        {"filename": str},
    ),
    "source-url": ({"sourceId": str, "url": str}, {"title": str}),
    "file": ({"url": str, "mediaType": str}, {}),
    "message-metadata": ({"messageMetadata": dict}, {}),
    "error": ({"errorText": str}, {}),
    "finish": ({}, {"finishReason": str, "messageMetadata": ANYTHING}),
}
REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}
ONLY_LATER = {"tool-input-error", "tool-approval-request", "tool-output-denied"}
TERMINALS = {"finish", "error"}


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    """The chunks of a whole stream, whose framing is checked."""
    *blocks, rest = stream.decode("utf-8").split("\n\n")
    assert rest == "", "the last event has no blank line"
    assert blocks[-1:] == ["data: [DONE]"], blocks
    chunks = []
    for block in blocks[:-1]:
        assert len(block.splitlines()) == 1, f"more than one line: {block!r}"
        assert block.startswith("data: {"), block
        chunks.append(json.loads(block[6:]))
    return chunks


def _check_shape(chunk: dict[str, Any], strict_v5: bool) -> None:
    fields = dict(chunk)
    type = fields.pop("type")
    if type.startswith("data-"):
        assert fields.keys() <= {"data", "id", "transient"}, chunk
        assert isinstance(fields.get("id", ""), str), chunk
        assert fields.get("transient", True) is True, chunk
        assert "data" in fields, chunk
        return
    required, optional = SHAPES[type]
    assert required.keys() <= fields.keys(), chunk
    assert fields.keys() <= required.keys() | optional.keys(), chunk
    for name, value in fields.items():
        assert isinstance(value, {**required, **optional}[name]), chunk
        assert value is not None or name in ("input", "output"), chunk
    if type == "finish":
        assert fields.get("finishReason", "stop") in REASONS, chunk
    if strict_v5:
        assert type not in ONLY_LATER, chunk
        assert "finishReason" not in fields, chunk


def merge(fields: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """As the client does: objects field by field."""
    fields = dict(fields)
    for name, value in more.items():
        before = fields.get(name)
        both = isinstance(before, dict) and isinstance(value, dict)
        fields[name] = merge(before, value) if both else value  # type: ignore[arg-type]
    return fields


class UIReader:
    """What a client accumulates.

    Attributes:
        parts: in order; of tool calls with input, output and errorText as they come.
        metadata: the message's.
        terminal: the chunk that ended the stream.
    """

    def __init__(self, known_calls: frozenset[str] = frozenset()) -> None:
        self.parts: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {}
        self.terminal: dict[str, Any] = {}
        self._calls: dict[str, dict[str, Any]] = {
            id: {"type": "tool", "id": id, "state": "known"} for id in known_calls
        }
        self._open: dict[str, dict[str, Any]] = {}
        self._in_step = False

    def text_of(self, type: str) -> str:
        return "".join(part["text"] for part in self.parts if part["type"] == type)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["type"] == "tool"]

    def read(self, chunk: dict[str, Any]) -> None:
        type = chunk["type"]
        assert not self.terminal, f"after the end: {chunk}"
        match type.split("-"):
            case ["start", "step"]:
                assert not self._in_step, "a step within a step"
                self._in_step = True
            case ["finish", "step"]:
                assert self._in_step, "no step is open"
                assert not self._open, f"open at the step's end: {self._open}"
                self._in_step = False
            case ["message", "metadata"]:
                self.metadata = merge(self.metadata, chunk["messageMetadata"])
            case ["finish"] | ["error"]:
                assert not self._in_step, "a step is open at the end"
                self.terminal = chunk
            case _:
                assert self._in_step, f"outside a step: {chunk}"
                self._read_part(type, chunk)

    def _read_part(self, type: str, chunk: dict[str, Any]) -> None:
        match type.split("-"):
            case ["text" | "reasoning" as kind, "start"]:
                assert chunk["id"] not in self._open
                part = {"type": kind, "text": ""}
                self._open[chunk["id"]] = part
                self.parts.append(part)
            case ["text" | "reasoning" as kind, "delta"]:
                assert chunk["delta"], "an empty delta"
                assert self._open[chunk["id"]]["type"] == kind
                self._open[chunk["id"]]["text"] += chunk["delta"]
            case ["text" | "reasoning" as kind, "end"]:
                assert self._open.pop(chunk["id"])["type"] == kind
            case ["tool", "approval", "request"]:
                call = self._calls[chunk["toolCallId"]]
                assert call["state"] in ("called", "error", "approval-requested", "known")
                call["state"] = "approval-requested"
            case ["tool", "input", *_] | ["tool", "output", *_]:
                self._read_tool(type, chunk)
            case _:
                self.parts.append(chunk)

    def _read_tool(self, type: str, chunk: dict[str, Any]) -> None:
        id = chunk["toolCallId"]
        if type == "tool-input-start":
            call = {"type": "tool", "id": id, "name": chunk["toolName"], "text": "", "state": "in"}
            self._calls[id] = call
            self.parts.append(call)
            return
        call = self._calls[id]  # a client dies of an unknown one
        if type == "tool-input-delta":
            assert call["state"] == "in"
            assert chunk["inputTextDelta"], "an empty delta"
            call["text"] += chunk["inputTextDelta"]
        elif type.startswith("tool-input"):
            assert chunk["toolName"] == call["name"]
            call["state"] = "called" if type == "tool-input-available" else "error"
            call |= {k: v for k, v in chunk.items() if k in ("input", "errorText")}
        else:
            call["state"] = type.removeprefix("tool-output-")
            call |= {k: v for k, v in chunk.items() if k in ("output", "errorText")}


def read(
    stream: bytes, *, strict_v5: bool = False, known_calls: frozenset[str] = frozenset()
) -> UIReader:
    """Check a whole stream.

    Raises:
        AssertionError, KeyError: if it is not valid.
    """
    first, *chunks = chunks_of(stream)
    assert first["type"] == "start"
    reader = UIReader(known_calls)
    for chunk in (first, *chunks):
        _check_shape(chunk, strict_v5)
    for chunk in chunks:
        reader.read(chunk)
    assert reader.terminal.get("type") in TERMINALS, "no terminal"
    return reader
