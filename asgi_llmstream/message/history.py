"""A message as the providers want to have it back: as turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..chunks import ToolResult
from ..events import PartKind
from ..lifecycle import without_halves
from ..request import NO_RESULT, anthropic, google, told_of
from .content import Content, MessagePart

__all__ = ["Turn", "turns_of"]


class Turn:
    """One model call and the results of its tool calls, which providers want to follow it."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.parts: list[MessagePart] = []
        self.results: dict[str, ToolResult] = {}

    def text_of(self, kind: PartKind) -> str:
        return "".join(part.text for part in self.parts if part.kind == kind)

    @property
    def calls(self) -> list[MessagePart]:
        return [part for part in self.parts if part.is_call]

    def answers(self) -> Iterator[ToolResult]:
        """A result for each call: the APIs refuse calls without."""
        yield from self.results.values()
        for call in self.calls:
            if call.part.id not in self.results:
                yield ToolResult(call.part.id, NO_RESULT, error=True)

    def to_openai(self) -> Iterator[dict[str, Any]]:
        said: dict[str, Any] = {"role": "assistant", "content": self.text_of("text") or None}
        if refusal := self.text_of("refusal"):
            said["refusal"] = refusal
        calls = [
            {
                "id": part.part.id,
                "type": "function",
                "function": {"name": part.part.name, "arguments": part.text or "{}"},
                **google.sealed(part.signature),
            }
            for part in self.calls
        ]
        if calls:
            said["tool_calls"] = calls
        if said["content"] or refusal or calls:
            yield said
        for result in self.answers():
            yield {"role": "tool", "tool_call_id": result.id, "content": told_of(result)}

    def to_anthropic(self) -> Iterator[dict[str, Any]]:
        if blocks := [block for part in self.parts for block in _blocks(part)]:
            yield {"role": "assistant", "content": blocks}
        if results := [*self.answers()]:
            blocks = [_answered(result) for result in results]
            yield {"role": "user", "content": blocks}


def turns_of(content: Sequence[Content]) -> list[Turn]:
    turns: list[Turn] = []
    made_by: dict[str, Turn] = {}  # of each call
    for item in content:
        if isinstance(item, MessagePart):
            # What a model says after a result is another call's, also if no boundary tells.
            if not turns or turns[-1].results or turns[-1].step != item.part.step:
                turns.append(Turn(item.part.step))
            turns[-1].parts.append(item)
            if item.is_call:
                made_by[item.part.id] = turns[-1]
        elif isinstance(item, ToolResult):
            if (turn := made_by.get(item.id)) is not None:
                turn.results[item.id] = item
    return turns


def _blocks(part: MessagePart) -> Iterator[dict[str, Any]]:
    """A part as one of Anthropic's content blocks, if it can be one."""
    text = part.text
    match part.kind:
        case "reasoning":
            if part.signature and part.part.redacted:
                yield anthropic.redacted_thinking(part.signature)
            elif part.signature:
                yield anthropic.thinking(text, part.signature)
        case "tool_call":
            if part.is_call:
                yield anthropic.tool_use(part.part.id, part.part.name, without_halves(text))
        case _:
            if text.strip():  # the API refuses a text block that is blank
                yield anthropic.text(text)


def _answered(result: ToolResult) -> dict[str, Any]:
    return anthropic.tool_result(result.id, told_of(result), result.error or result.denied)
