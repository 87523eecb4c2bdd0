"""Ending a run from outside, by whoever has only read its events."""

from __future__ import annotations

from collections.abc import Callable

from ..chunks import Usage
from ..events import (
    Event,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    StepEnded,
    StepStarted,
    Terminal,
    UsageReported,
)

__all__ = ["Unfinished"]


class Unfinished:
    """All of a run that is open after the events so far.

    Attributes:
        last: the number of the last event.
        ended: whether that was the terminal.
    """

    def __init__(self) -> None:
        self.last = 0
        self.ended = False
        self._parts: dict[int, tuple[Part, list[str]]] = {}
        self._step: int | None = None
        self._usage: Usage | None = None

    def apply(self, event: Event) -> None:
        """Take in one event of the run."""
        self.last = event.seq
        if type(event) is PartDelta:  # the hot path
            index = event.part.index
            if index in self._parts:  # else its beginning is not kept any more
                self._parts[index][1].append(event.text)
            return
        match event:
            case PartStarted(part=part):
                self._parts[part.index] = (part, [])
            case PartEnded(part=part):
                self._parts.pop(part.index, None)
            case StepStarted(step=step):
                self._step = step
            case StepEnded():
                self._step = None
            case UsageReported(usage=usage):
                self._usage = usage
            case Terminal():
                self.ended = True

    @property
    def parts(self) -> list[Part]:
        """The parts that are open."""
        return [part for part, _ in self._parts.values()]

    def broken_off(self, terminal: Callable[[int, Usage | None], Terminal]) -> list[Event]:
        """Return the events that close what is open, and end the run; none if it has ended.

        Args:
            terminal: makes the last one of its number and the tokens used.
        """
        if self.ended:
            return []
        events: list[Event] = []
        for part, texts in self._parts.values():
            number = self.last + len(events) + 1
            events.append(PartEnded(number, part, "".join(texts), None, whole=False))
        if self._step is not None:
            events.append(StepEnded(self.last + len(events) + 1, self._step))
        return [*events, terminal(self.last + len(events) + 1, self._usage)]
