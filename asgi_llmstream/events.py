"""The events that the lifecycle emits, formats encode and stores keep.

Every stream is `RunStarted`, then any number of the others, then exactly one of `RunFinished`,
`RunFailed` and `RunAborted`. `seq` counts from 1 without gaps. A part opens, grows and closes;
text-like parts never overlap, tool calls may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from .chunks import (
    Approval,
    Data,
    Document,
    File,
    FinishReason,
    Metadata,
    Raw,
    RunBy,
    Source,
    State,
    StateDelta,
    ToolResult,
    Usage,
)
from .errors import LLMStreamError

__all__ = [
    "AnyEvent",
    "BytesAdded",
    "CaughtUp",
    "Event",
    "Item",
    "ItemAdded",
    "NativeAdded",
    "Part",
    "PartDelta",
    "PartEnded",
    "PartKind",
    "PartStarted",
    "RunAborted",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "StepEnded",
    "StepStarted",
    "Terminal",
    "UsageReported",
    "merge",
    "size_of",
]

PartKind = Literal["text", "reasoning", "refusal", "tool_call"]

Item = ToolResult | Approval | Source | Document | File | Data | Metadata | State | StateDelta
"""What comes whole, and a message keeps."""


class Part(Struct, frozen=True):
    """All that is known of a part from its first event on; its events share one `Part`.

    Attributes:
        index: counts all parts of the stream from 0.
        kind: what it is a part of.
        ordinal: counts the parts of this kind from 0 without gaps.
        step: the step it belongs to, from 0.
        id: unique in the stream; of a tool call the call's own.
        name: of a tool call the tool's name, else empty.
        by: of a tool call who runs the tool, else None.
        redacted: of reasoning that is not shown, see `chunks.Reasoning`; else left out.
    """

    index: int
    kind: PartKind
    ordinal: int
    step: int
    id: str
    name: str = ""
    by: RunBy | None = None
    redacted: bool | UnsetType = UNSET

    @property
    def runs_elsewhere(self) -> bool:
        """Tell whether it is a call that the client is not to answer."""
        return self.by is not None and self.by != "client"


class Event(Struct, frozen=True, tag_field="type"):
    """The base of all events."""

    seq: int


class RunStarted(Event, frozen=True, tag="run-started"):
    """First of all: what stays constant in the stream. `created` is in Unix seconds."""

    id: str
    created: int
    model: str


class StepStarted(Event, frozen=True, tag="step-started"):
    """A step of the answer begins; every part and item stands in one."""

    step: int
    name: str | None = None


class StepEnded(Event, frozen=True, tag="step-ended"):
    """The step is over, and no part of it is open."""

    step: int


class PartStarted(Event, frozen=True, tag="part-started"):
    """A part opens."""

    part: Part


class PartDelta(Event, frozen=True, tag="part-delta", omit_defaults=True):
    """A part grows by `text`, which is never empty.

    `merged` tells how many deltas it stands for, see `merge`; `seq` is that of the last of them.
    """

    part: Part
    text: str
    merged: int = 1


class PartEnded(Event, frozen=True, tag="part-ended", omit_defaults=True):
    """A part is closed; `text` is all of it.

    Attributes:
        whole: False if the run broke off before the part was complete.
        signature: of reasoning or a call, see `chunks.Reasoning` and `chunks.ToolCallDelta`.
    """

    part: Part
    text: str
    signature: str | None = None
    whole: bool = True


class ItemAdded(Event, frozen=True, tag="item-added"):
    """Something that comes whole."""

    item: Item | Raw


class BytesAdded(Event, frozen=True, tag="bytes-added"):
    """A piece of a stream that somebody else has encoded; it need not end where an event does."""

    data: bytes


class CaughtUp(Event, frozen=True, tag="caught-up"):
    """For one who follows a run that a store keeps: what is past is over, what comes is new. It is
    no event of the run, and its number is that of the one before."""


class NativeAdded(Event, frozen=True, tag="native-added"):
    """Something of the provider's own, for formats of its family: see `chunks.Native`."""

    family: str
    fields: dict[str, Any]


class UsageReported(Event, frozen=True, tag="usage-reported"):
    """The tokens used by the whole answer so far."""

    usage: Usage


class Terminal(Event, frozen=True):
    """The base of the three last events; `usage` is the whole answer's, if any was reported."""

    usage: Usage | None


class RunFinished(Terminal, frozen=True, tag="run-finished"):
    """The answer is whole. `completed` is the time of it, in Unix seconds, where it is known."""

    reason: FinishReason
    native: str | None = None
    completed: int | None = None
    details: dict[str, Any] | UnsetType = UNSET


class RunFailed(Terminal, frozen=True, tag="run-failed"):
    """The answer broke off; the message is safe to show.

    Attributes:
        retry_after: when a retry makes sense, see `LLMStreamError`.
        should_retry: whether one does, see there.
    """

    message: str
    code: str
    status: int
    param: str | None = None
    retry_after: str | None = None
    should_retry: bool | None = None

    @classmethod
    def because(cls, seq: int, usage: Usage | None, error: LLMStreamError) -> RunFailed:
        """Return the last event of a run that this error has ended."""
        shown = (error.message, error.code, error.status, error.param)
        return cls(seq, usage, *shown, error.retry_after, error.should_retry)

    @property
    def error(self) -> LLMStreamError:
        """The error, as it was shown."""
        return LLMStreamError(
            self.message,
            status=self.status,
            code=self.code,
            param=self.param,
            retry_after=self.retry_after,
            should_retry=self.should_retry,
        )


class RunAborted(Terminal, frozen=True, tag="run-aborted"):
    """The answer was ended from outside: the client left, somebody stopped it, or the server
    shuts down."""

    reason: str

    @property
    def is_stop(self) -> bool:
        """Tell whether somebody asked for it: protocols have a word for that."""
        return self.reason == "stopped"

    @property
    def error(self) -> LLMStreamError:
        """The error that it is, where there is no other word for it."""
        if self.is_stop:
            return LLMStreamError("The answer was stopped.", status=409, code="stopped")
        return LLMStreamError(f"The answer was aborted: {self.reason}.", code="aborted")


AnyEvent = (
    RunStarted
    | StepStarted
    | StepEnded
    | PartStarted
    | PartDelta
    | PartEnded
    | ItemAdded
    | NativeAdded
    | BytesAdded
    | UsageReported
    | RunFinished
    | RunFailed
    | RunAborted
)
"""Every event that a run can have."""

# What an event counts beside its text: a rough, honest overhead.
_EVENT_SIZE = 64


def size_of(event: Event) -> int:
    """Estimate how many characters it holds, never too few by much: an item may be a file."""
    match event:
        case PartDelta(text=text):
            return len(text)
        case BytesAdded(data=data):
            return _EVENT_SIZE + len(data)
        case ItemAdded(item=Raw(event=own)):
            return _EVENT_SIZE + len(own.data or "")
        case ItemAdded(item=File(url=url)):
            return _EVENT_SIZE + len(url)
        case ItemAdded(item=item):
            return _EVENT_SIZE + len(repr(item))
        case PartEnded(text=text):
            return _EVENT_SIZE + len(text)
        case _:
            return _EVENT_SIZE


def merge(events: Sequence[Event]) -> Sequence[Event]:
    """The same events, with neighbouring deltas of one part joined into one.

    Anything else between two deltas keeps them apart; and the first one behind a `NativeAdded`
    stays as it is, because that belongs to it alone.
    """
    if len(events) < 2:  # mostly it is one token
        return events
    runs: list[list[Any]] = []
    growing: int | None = None  # the part that the last run may go on with
    has_native = False
    for event in events:
        if type(event) is not PartDelta:
            growing = None
            has_native = has_native or type(event) is NativeAdded
        elif event.part.index == growing:
            runs[-1].append(event)
            continue
        else:
            growing = None if has_native else event.part.index
            has_native = False
        runs.append([event])
    return [run[0] if len(run) == 1 else _joined(run) for run in runs]


def _joined(deltas: list[PartDelta]) -> PartDelta:
    last = deltas[-1]
    text = "".join([delta.text for delta in deltas])
    return PartDelta(last.seq, last.part, text, sum([delta.merged for delta in deltas]))
