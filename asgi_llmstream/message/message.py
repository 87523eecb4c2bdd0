"""`Message`: the answer as it builds up; the finished one is what a database stores.

It is a fold over events, so that the stream and its message cannot disagree. `+=` takes chunks
and runs a lifecycle of its own over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    File,
    Finish,
    FinishReason,
    Metadata,
    Raw,
    Source,
    ToolResult,
    Usage,
)
from ..events import (
    Event,
    Item,
    ItemAdded,
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
from ..lifecycle import Lifecycle, without_halves
from ..sources import Reading
from .content import Content, MessagePart, MessageToolCall, chunks_of_content, merge_fields
from .history import turns_of
from .stored import Stored, restored, stored

__all__ = ["Message"]


class Message:
    """An answer, complete or still growing.

    Add chunks with `+=`; `LLMStream` hands a finished one to `on_finish`, `collect` returns it.

    Attributes:
        content: parts and items in the order in which they began.
        id: names the run.
        model: who answered.
        created: when the run began, in Unix seconds.
        completed: when it was finished, likewise; None as long as it is not.
        usage: tokens of all model calls together, if any were reported.
        finish_reason: why the answer ended; None as long as it has not, and if it broke off.
        native_finish_reason: the same in the provider's word.
        finish_details: what the provider says of it besides, see `chunks.Finish`.
    """

    def __init__(self, *, id: str = "", model: str = "", created: int = 0) -> None:
        self.id = id
        self.model = model
        self.created = created
        self.completed: int | None = None
        self.content: list[Content] = []
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.native_finish_reason: str | None = None
        self.finish_details: dict[str, Any] | None = None
        self._growing: dict[int, MessagePart] = {}
        self._places: dict[tuple[str, str], int] = {}  # of data that have an id
        self._lifecycle: Lifecycle | None = None
        self._reading = Reading()

    def __iadd__(self, chunk: object) -> Message:
        """Add a chunk: one of ours, a `str`, or a provider's object as `sources` knows it.

        Raises:
            TypeError: if it is nothing that a producer may yield.
            RuntimeError: after an `Error`, and if the message came whole: from a stream or from
                `from_dict`.
        """
        if self._lifecycle is None:
            if self.content:
                raise RuntimeError("this message came whole: begin a new one, and add to that")
            self._lifecycle = Lifecycle(id=self.id, created=self.created, model=self.model)
            self._lifecycle.start()
        for known in self._reading.chunks_of(chunk):
            for event in self._lifecycle.feed(known):
                self.apply(event)
        # No event says so before the run's end, which a message of one's own never sees.
        finish = self._lifecycle.last_finish
        self.finish_reason = None if finish is None else finish.reason
        self.native_finish_reason = None if finish is None else finish.native
        self.finish_details = None if finish is None else finish.details
        return self

    def apply(self, event: Event) -> None:
        """Take in one event of the run."""
        if type(event) is PartDelta:  # the hot path
            self._growing[event.part.index].pieces.append(event.text)
            return
        match event:
            case PartStarted(part=part):
                self._growing[part.index] = message_part = MessagePart(part)
                self.content.append(message_part)
            case PartEnded(part=part, signature=signature):
                self._growing.pop(part.index).signature = signature
            case ItemAdded(item=item):
                self._add(item)
            case UsageReported(usage=usage):
                self.usage = usage
            case RunStarted(id=id, model=model, created=created):
                self.id, self.model, self.created = id, model, created
            case RunFinished(usage=usage, reason=reason, native=native):
                self.usage, self.finish_reason, self.native_finish_reason = usage, reason, native
                self.completed, self.finish_details = event.completed, event.details or None
            case RunFailed(usage=usage) | RunAborted(usage=usage):
                self.usage = usage

    def _add(self, item: Item | Raw) -> None:
        if isinstance(item, Raw) or (isinstance(item, Data) and item.transient):
            return
        if isinstance(item, Data) and item.id is not None:
            place = self._places.setdefault((item.name, item.id), len(self.content))
            if place < len(self.content):
                self.content[place] = item
                return
        self.content.append(item)

    def _text_of(self, kind: PartKind) -> str:
        parts = (part for part in self.content if isinstance(part, MessagePart))
        return "".join(part.text for part in parts if part.kind == kind)

    @property
    def text(self) -> str:
        """The answer's text, of all steps."""
        return self._text_of("text")

    @property
    def reasoning(self) -> str:
        """The model's thoughts."""
        return self._text_of("reasoning")

    @property
    def refusal(self) -> str:
        """The model's words why it would not answer."""
        return self._text_of("refusal")

    @property
    def tool_calls(self) -> list[MessageToolCall]:
        """The calls in the order in which they began, of the tools that the provider does not
        run itself."""
        return [
            MessageToolCall(
                part.part.id,
                part.part.name,
                part.text,
                part.part.by or "client",
                part.signature,
            )
            for part in self.content
            if isinstance(part, MessagePart) and part.is_call
        ]

    @property
    def tool_results(self) -> list[ToolResult]:
        """The tools' answers."""
        return [item for item in self.content if isinstance(item, ToolResult)]

    @property
    def approvals(self) -> list[Approval]:
        """The questions to a human whose calls have no result yet."""
        answered = {result.id for result in self.tool_results}
        asked = (item for item in self.content if isinstance(item, Approval))
        return [approval for approval in asked if approval.call_id not in answered]

    @property
    def sources(self) -> list[Source]:
        """The sources that the answer rests on."""
        return [item for item in self.content if isinstance(item, Source)]

    @property
    def documents(self) -> list[Document]:
        """Those without an address."""
        return [item for item in self.content if isinstance(item, Document)]

    @property
    def files(self) -> list[File]:
        """The files that belong to it."""
        return [item for item in self.content if isinstance(item, File)]

    @property
    def data(self) -> list[Data]:
        """The application's own values."""
        return [item for item in self.content if isinstance(item, Data)]

    @property
    def metadata(self) -> dict[str, Any]:
        """The application's own fields about it, all that were told."""
        fields: dict[str, Any] = {}
        for item in self.content:
            if isinstance(item, Metadata):
                merge_fields(fields, item.fields)
        return fields

    def to_openai(self) -> list[Any]:
        """The messages that tell it to OpenAI's chat completions as history.

        Each model call is an assistant's message, followed by the tools' messages that answer
        its calls; a tool's output that is no text becomes JSON. Reasoning, which the API does
        not take back, is left out, as are sources, files and data, and what the provider's own
        tools were asked and found.

        The API refuses a call without its result, and a result without its call. So a call that
        has none gets one that says so, and a result of no call is left out. Add the `ToolResult`s
        to the message, or to its `content`, before you ask for its history.
        """
        turns = turns_of(self.content)
        return [without_halves(message) for turn in turns for message in turn.to_openai()]

    def to_anthropic(self) -> list[dict[str, Any]]:
        """The same for Anthropic's messages: each model call is an assistant's message, and the
        results of its calls are a user's. A call's result that says that there is none is an
        error; to leave the call out could leave reasoning last, which the API refuses.

        Reasoning goes back with its signature; without one the API refuses it, and it is left
        out. Arguments that are no JSON object, as models now and then write them, become
        `{"invalid_json": "..."}`.
        """
        turns = turns_of(self.content)
        return [without_halves(message) for turn in turns for message in turn.to_anthropic()]

    def to_chunks(self) -> Iterator[Chunk]:
        """The chunks that make it again, each of its parts in one: what a producer that yields or
        returns the message says. One that broke off says how far it came."""
        yield from chunks_of_content(self.content)
        if self.usage is not None:
            yield self.usage
        if self.finish_reason is not None:
            yield Finish(self.finish_reason, self.native_finish_reason, self.finish_details)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types, for a database: its fields by name, and in "content" a dict
        for each part and item, told apart by "type"."""
        fields: dict[str, Any] = msgspec.to_builtins(
            Stored(
                id=self.id,
                model=self.model,
                created=self.created,
                completed=self.completed,
                content=stored(self.content),
                usage=self.usage,
                finish_reason=self.finish_reason,
                native_finish_reason=self.native_finish_reason,
                finish_details=self.finish_details,
            )
        )
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Message:
        """The message that `to_dict` made these fields of.

        Raises:
            ValueError: if they are something else.
        """
        was = msgspec.convert(fields, Stored)
        message = cls(id=was.id, model=was.model, created=was.created)
        message.completed = was.completed
        message.usage = was.usage
        message.finish_reason = was.finish_reason
        message.native_finish_reason = was.native_finish_reason
        message.finish_details = was.finish_details
        message.content = restored(was.content)
        return message

    def __repr__(self) -> str:
        return f"Message({self.content!r}, finish_reason={self.finish_reason!r})"
