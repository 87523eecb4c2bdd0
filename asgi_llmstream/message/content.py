"""The content of a message: parts with their text, and items that come whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..chunks import Chunk, Reasoning, Refusal, RunBy, Step, Text, ToolCall
from ..events import Item, Part, PartKind

__all__ = ["Content", "MessagePart", "MessageToolCall", "chunks_of_content", "merge_fields"]


class MessageToolCall(msgspec.Struct, frozen=True):
    """A tool call of a message; `arguments` is its JSON text, as far as it has come. For `by`, who
    runs the tool, and `signature` see `chunks.ToolCallDelta`."""

    id: str
    name: str
    arguments: str
    by: RunBy = "client"
    signature: str | None = None

    def parse(self) -> Any:
        """The arguments as an object. Empty text counts as no arguments.

        Raises:
            ValueError: if the text is not JSON, as models now and then have it.
        """
        try:
            return msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(
                f"the model wrote arguments for {self.name!r} that are not JSON: {error}"
            ) from error


class MessagePart:
    """One part of a message: what it is, and its text so far.

    Attributes:
        part: what is known of it from the first.
        signature: of reasoning or a call, see `chunks.Reasoning` and `chunks.ToolCallDelta`.
        pieces: of the text, as they came.
    """

    __slots__ = ("part", "pieces", "signature")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.signature: str | None = None
        self.pieces: list[str] = []

    @property
    def kind(self) -> PartKind:
        return self.part.kind

    @property
    def is_call(self) -> bool:
        """Tell whether it is a call of a tool that the provider does not run itself."""
        return self.part.kind == "tool_call" and self.part.by != "provider"

    @property
    def text(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    def __repr__(self) -> str:
        return f"MessagePart({self.kind!r}, {self.text!r})"


Content = MessagePart | Item


def chunks_of_content(content: Iterable[Content]) -> Iterator[Chunk]:
    """Return what a producer would have to yield for it."""
    step = None
    for item in content:
        if not isinstance(item, MessagePart):
            yield item
            continue
        if step not in (None, item.part.step):
            yield Step()
        step = item.part.step
        yield _chunk_of(item)


def _chunk_of(part: MessagePart) -> Chunk:
    match part.kind:
        case "reasoning":
            return Reasoning(part.text, part.signature, bool(part.part.redacted))
        case "refusal":
            return Refusal(part.text)
        case "tool_call":
            # That it was the client's is for the next request to say again.
            by = part.part.by if part.part.runs_elsewhere else None
            return ToolCall(part.part.id, part.part.name, part.text, by, part.signature)
    return Text(part.text)


def merge_fields(fields: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Put more into the fields, objects field by field, and return them. `more` stays as it is."""
    for name, value in more.items():
        if isinstance(value, dict):
            before = fields.get(name)
            value = merge_fields(before if isinstance(before, dict) else {}, value)
        fields[name] = value
    return fields
