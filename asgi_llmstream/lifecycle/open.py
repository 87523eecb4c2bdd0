"""What is open of a run: its step, its parts; and the numbers of its events."""

from __future__ import annotations

from msgspec.structs import replace

from ..chunks import RunBy
from ..events import (
    Event,
    Part,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    StepEnded,
    StepStarted,
)
from .halves import join

__all__ = ["Open", "OpenPart"]


# The first of the numbers that are halves of characters.
_FIRST_HALF = "\ud800"


class OpenPart:
    """A part that still grows. `part` is None while a tool call's name is not known, and `half`
    the half of a character that it ends with, which may get its other one."""

    __slots__ = ("by", "call_id", "half", "kind", "part", "pieces", "signature")

    def __init__(
        self, part: Part | None, call_id: str | None = None, by: RunBy | None = None
    ) -> None:
        self.part = part
        self.kind: PartKind = "tool_call" if part is None else part.kind
        self.call_id = call_id
        self.by = by
        self.signature: str | None = None
        self.pieces: list[str] = []
        self.half = ""

    def grow(self, text: str) -> str:
        """Take in how its text goes on; return how much of that can be said by now."""
        if self.half or text[-1] >= _FIRST_HALF:
            text, self.half = join(self.half, text)
        if text:
            self.pieces.append(text)
        return text


class Open:
    """The steps and parts of one run, and which of them are open.

    Args:
        run: its id.

    Attributes:
        number: of the last event.
        text: the part that is open, of those that never stand beside others.
        calls: the tool calls that are, by their indices.
        step_name: of the next step.
    """

    def __init__(self, run: str) -> None:
        self.number = 0
        self.text: OpenPart | None = None
        self.calls: dict[int, OpenPart] = {}
        self.step_name: str | None = None
        self._run = run
        self._parts = 0
        self._ordinals: dict[PartKind, int] = {}
        self._step = -1
        self._step_open = False
        self._broken = False

    def next(self) -> int:
        """Return the number of the next event."""
        self.number += 1
        return self.number

    def begin_step(self) -> list[Event]:
        """Have a step to put anything in."""
        if self._step_open:
            return []
        self._step += 1
        self._step_open = True
        started = StepStarted(self.next(), self._step, self.step_name)
        self.step_name = None
        return [started]

    def close_step(self) -> list[Event]:
        """Close the step, if one is open, and what is open in it."""
        events = self.close_parts()
        if self._step_open:
            self._step_open = False
            events.append(StepEnded(self.next(), self._step))
        return events

    def begin_text(self, kind: PartKind, redacted: bool = False) -> list[Event]:
        """Begin a part of text, where none is open."""
        part = self._new_part(kind)
        if redacted:
            part = replace(part, redacted=True)
        self.text = OpenPart(part)
        return [PartStarted(self.next(), part)]

    def begin_call(self, call: OpenPart, id: str | None, name: str, by: RunBy) -> list[Event]:
        """Begin the part of a call, now that its name is known, with the arguments so far."""
        call.part = part = self._new_part("tool_call", id, name, by)
        events: list[Event] = [PartStarted(self.next(), part)]
        arguments = "".join(call.pieces)
        if arguments:
            events.append(PartDelta(self.next(), part, arguments))
        return events

    def _new_part(
        self, kind: PartKind, id: str | None = None, name: str = "", by: RunBy | None = None
    ) -> Part:
        index, ordinal = self._parts, self._ordinals.get(kind, 0)
        self._parts += 1
        self._ordinals[kind] = ordinal + 1
        # Ids of ours are told apart by the run, so that two answers in one history never clash.
        id = id or f"{'call' if kind == 'tool_call' else kind}_{self._run}_{ordinal}"
        return Part(index, kind, ordinal, self._step, id, name, by)

    def close_parts(self) -> list[Event]:
        """Close all parts that are open."""
        events = self.close_text()
        for index in list(self.calls):
            events += self.close_call(index)
        return events

    def close_text(self, signature: str | None = None) -> list[Event]:
        """Close the part of text that is open, if one is.

        Args:
            signature: of what it says.
        """
        if self.text is None:
            return []
        ended, self.text = self.text, None
        ended.signature = signature
        return self._end(ended)

    def check_names(self, only: int | None = None) -> None:
        """Refuse to close a tool call that never got a name; `only` one of them, if given.

        Raises:
            ValueError: if there is one.
        """
        calls = self.calls if only is None else {only: self.calls[only]}
        for index, call in calls.items():
            if call.part is None:
                raise ValueError(f"the tool call at index {index} ended before it got a name")

    def close_call(self, index: int) -> list[Event]:
        """Close the call at this index."""
        return self.end_call(self.calls.pop(index))

    def end_call(self, call: OpenPart) -> list[Event]:
        """Close a call. Without arguments it has "{}": clients parse what there is."""
        events: list[Event] = []
        if not self._broken and not (any(call.pieces) or call.half):
            assert call.part is not None
            call.pieces.append("{}")
            events.append(PartDelta(self.next(), call.part, "{}"))
        return [*events, *self._end(call)]

    def break_off(self) -> list[Event]:
        """Close everything; a call without a name was never shown and is dropped."""
        self.calls = {i: call for i, call in self.calls.items() if call.part is not None}
        self._broken = True
        return self.close_step()

    def _end(self, open_part: OpenPart) -> list[Event]:
        assert open_part.part is not None
        events: list[Event] = []
        if half := open_part.half:
            open_part.pieces.append(half)
            events.append(PartDelta(self.next(), open_part.part, half))
        text, signature = "".join(open_part.pieces), open_part.signature
        ended = PartEnded(self.next(), open_part.part, text, signature, not self._broken)
        return [*events, ended]
