"""Parts in sequence, for protocols whose clients cannot follow several at a time."""

from __future__ import annotations

from ...chunks import Approval, ToolResult
from ...events import (
    Event,
    ItemAdded,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    RunFailed,
    RunFinished,
    merge,
)

__all__ = ["Sequence"]

# Message, code and status.
_UNAPPROVED = (
    "A call waits for an approval, which this protocol cannot ask for.",
    "approval_unsupported",
    501,
)


class Sequence:
    """Puts each part behind the end of the one before it.

    Only tool calls grow beside each other. The first open one passes as it grows, and what comes
    for the others waits until it is closed. If it breaks off they are dropped: the error follows.

    A client runs the calls that it was told as its own once the answer has ended well. If one of
    them was to be approved first, the answer ends in an error instead.

    Args:
        clients_only: leave out the calls that others than the client answer.

    Attributes:
        current: the index of the part that passes now, if one is open.
    """

    def __init__(self, *, clients_only: bool = False) -> None:
        self._clients_only = clients_only
        self.current: int | None = None
        self._waiting: dict[int, list[Event]] = {}
        self._clients: set[str] = set()  # the ids of its calls
        self._unapproved: set[str] = set()  # those of them that wait for an approval

    def feed(self, event: Event) -> list[Event]:
        """Return the events to write now. It need not be asked for deltas of the current part."""
        match event:
            case ItemAdded(item=Approval(call_id=id)):
                self._unapproved |= self._clients & {id}
            case ItemAdded(item=ToolResult(id=id)):
                self._unapproved.discard(id)
            case RunFinished(seq=seq, usage=usage) if self._unapproved:
                return [RunFailed(seq, usage, *_UNAPPROVED)]
            case PartStarted(part=Part(kind="tool_call", runs_elsewhere=False, id=id)):
                self._clients.add(id)
        return self._in_turn(event)

    def _in_turn(self, event: Event) -> list[Event]:
        match event:
            case PartStarted(part=part) if self._clients_only and part.runs_elsewhere:
                return []
            case PartStarted(part=part) if self.current is None:
                self.current = part.index
            case PartStarted(part=part):
                self._waiting[part.index] = [event]
                return []
            case PartDelta(part=part) | PartEnded(part=part) if part.index != self.current:
                if part.index in self._waiting:
                    self._waiting[part.index].append(event)
                return []
            case PartEnded(whole=whole):
                if not whole:
                    self._waiting.clear()
                return [event, *self._caught_up()]
        return [event]

    def _caught_up(self) -> list[Event]:
        """Return the events that waited, up to the first part that still grows."""
        self.current = None
        ready: list[Event] = []
        while self._waiting and self.current is None:
            index = next(iter(self._waiting))
            events = self._waiting.pop(index)
            if not isinstance(events[-1], PartEnded):
                self.current = index
            ready += merge(events)
        return ready
