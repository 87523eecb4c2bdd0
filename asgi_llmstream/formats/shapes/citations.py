"""Sources, for protocols that know them only as citations inside a text."""

from __future__ import annotations

from ...chunks import Approval, Source, ToolResult
from ...events import Event, ItemAdded, PartEnded, PartStarted, Terminal

__all__ = ["Citations"]


class Citations:
    """Puts every source where a text is open, so that it can be cited there.

    One that comes before a text waits for it. One that comes behind a text goes into that, which
    is why a text's end waits until something else begins: a part, a tool's result, a question, or
    the end.
    One with no text before or after it is dropped.
    """

    def __init__(self) -> None:
        self._text_open = False
        self._text_end: PartEnded | None = None
        self._waiting: list[ItemAdded] = []

    def feed(self, event: Event) -> list[Event]:
        """The events to write now, for any but a `PartDelta`: these never have to wait."""
        match event:
            case PartEnded() if event.part.kind == "text":
                self._text_end = event
                return []
            case ItemAdded() if isinstance(event.item, Source):
                if self._text_open:
                    return [event]
                self._waiting.append(event)
                return []
            case PartStarted() if event.part.kind == "text":
                events = [*self._close_text(), event, *self._waiting]
                self._text_open, self._waiting = True, []
                return events
            case PartStarted() | PartEnded() | Terminal():
                return [*self._close_text(), event]
            case ItemAdded() if isinstance(event.item, ToolResult | Approval):
                return [*self._close_text(), event]
            case _:
                return [event]

    def _close_text(self) -> list[Event]:
        if self._text_end is None:
            return []
        end, self._text_end, self._text_open = self._text_end, None, False
        return [end]
