"""`Message`: the answer as it builds up; the finished one is what a database stores.

It is a fold over events, so that the stream and its message cannot disagree. `+=` takes chunks
and runs a lifecycle of its own over them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .chunks import Data, File, Finish, FinishReason, Raw, Source, ToolResult, Usage
from .events import (
    Event,
    ItemAdded,
    Part,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    UsageReported,
)
from .lifecycle import Lifecycle
from .sources import chunks_of

__all__ = ["Message", "MessagePart", "MessageToolCall"]


class MessageToolCall(msgspec.Struct, frozen=True):
    """A tool call of a message; `arguments` is its JSON text, as far as it has come."""

    id: str
    name: str
    arguments: str

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
    """One part of a message: what it is, and its text so far."""

    __slots__ = ("_pieces", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self._pieces: list[str] = []

    @property
    def kind(self) -> PartKind:
        return self.part.kind

    @property
    def text(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def __repr__(self) -> str:
        return f"MessagePart({self.kind!r}, {self.text!r})"


Content = MessagePart | ToolResult | Source | File | Data


class Message:
    """An answer, complete or still growing.

    Add chunks with `+=`; `LLMStream` hands a finished one to `on_finish`, `collect` returns it.

    Attributes:
        content: parts and items in the order in which they began.
        id: names the run.
        model: who answered.
        created: when the run began, in Unix seconds.
        usage: tokens of all model calls together, if any were reported.
        finish_reason: why the answer ended; None as long as it has not, and if it broke off.
        native_finish_reason: the same in the provider's word.
    """

    def __init__(self, *, id: str = "", model: str = "", created: int = 0) -> None:
        self.id = id
        self.model = model
        self.created = created
        self.content: list[Content] = []
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.native_finish_reason: str | None = None
        self._growing: dict[int, MessagePart] = {}
        self._lifecycle: Lifecycle | None = None

    def __iadd__(self, chunk: object) -> Message:
        """Add a chunk: one of ours, a `str`, or a provider's object as `sources` knows it.

        Raises:
            TypeError: if it is nothing that a producer may yield.
        """
        if self._lifecycle is None:
            self._lifecycle = Lifecycle(id=self.id, created=self.created, model=self.model)
            self._lifecycle.start()
        for known in chunks_of(chunk):
            for event in self._lifecycle.feed(known):
                self.apply(event)
            if isinstance(known, Finish):
                # No event says so before the end, which a message of one's own never sees.
                self.finish_reason, self.native_finish_reason = known.reason, known.native
        return self

    def apply(self, event: Event) -> None:
        """Take in one event of the run."""
        if type(event) is PartDelta:  # the hot path
            self._growing[event.part.index]._pieces.append(event.text)
            return
        match event:
            case PartStarted(part=part):
                self._growing[part.index] = message_part = MessagePart(part)
                self.content.append(message_part)
            case PartEnded(part=part):
                del self._growing[part.index]
            case ItemAdded(item=item):
                if not isinstance(item, Raw):
                    self.content.append(item)
            case UsageReported(usage=usage):
                self.usage = usage
            case RunStarted(id=id, model=model, created=created):
                self.id, self.model, self.created = id, model, created
            case RunFinished(usage=usage, reason=reason, native=native):
                self.usage, self.finish_reason, self.native_finish_reason = usage, reason, native
            case RunFailed(usage=usage) | RunAborted(usage=usage):
                self.usage = usage

    def _text_of(self, kind: PartKind) -> str:
        parts = (part for part in self.content if isinstance(part, MessagePart))
        return "".join(part.text for part in parts if part.kind == kind)

    @property
    def text(self) -> str:
        """The answer's text, of all steps."""
        return self._text_of("text")

    @property
    def reasoning(self) -> str:
        """What the model thought."""
        return self._text_of("reasoning")

    @property
    def refusal(self) -> str:
        """Why it would not answer."""
        return self._text_of("refusal")

    @property
    def tool_calls(self) -> list[MessageToolCall]:
        """The calls in the order in which they began."""
        return [
            MessageToolCall(part.part.id, part.part.name, part.text)
            for part in self.content
            if isinstance(part, MessagePart) and part.kind == "tool_call"
        ]

    @property
    def tool_results(self) -> list[ToolResult]:
        """What the tools gave back."""
        return [item for item in self.content if isinstance(item, ToolResult)]

    @property
    def sources(self) -> list[Source]:
        """What the answer rests on."""
        return [item for item in self.content if isinstance(item, Source)]

    @property
    def files(self) -> list[File]:
        """The files that belong to it."""
        return [item for item in self.content if isinstance(item, File)]

    @property
    def data(self) -> list[Data]:
        """The application's own values."""
        return [item for item in self.content if isinstance(item, Data)]

    def __repr__(self) -> str:
        return f"Message({self.content!r}, finish_reason={self.finish_reason!r})"
