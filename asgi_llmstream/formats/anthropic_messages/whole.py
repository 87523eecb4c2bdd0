"""Anthropic messages in one piece."""

from __future__ import annotations

from typing import Any

from ...chunks import Source
from ...events import Event, ItemAdded, PartEnded, PartKind, PartStarted, RunFinished, RunStarted
from ...message import Message
from ..shapes.citations import Citations
from ..shapes.replay import replay
from ..shapes.sequence import Sequence
from ..wire import dumps
from .words import Block, block_of, citation_of, message_of, stop_of

__all__ = ["whole_body"]


def whole_body(started: RunStarted, message: Message) -> bytes:
    """A finished message, of the same events as a stream of it."""
    whole, sequence, citations = _Whole(), Sequence(clients_only=True), Citations()
    for event in replay(started, message):
        for turn in sequence.feed(event):
            for ready in citations.feed(turn):
                whole.take(ready)
    body = message_of(started, message.usage)
    return dumps({**body, "content": whole.blocks, **whole.stop})


class _Whole:
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.stop: dict[str, Any] = {}
        self._citations: list[dict[str, Any]] = []
        self._last: PartKind | None = None

    def take(self, event: Event) -> None:
        match event:
            case PartStarted(part=part):
                self._last, self._citations = part.kind, []
            case ItemAdded(item=Source() as source):
                self._citations.append(citation_of(source))
            case PartEnded(part=part, text=text, signature=signature):
                cited = {"citations": self._citations} if self._citations else {}
                self.blocks.append(block_of(part, text, signature) | cited)
            case RunFinished(reason=reason, native=native, details=details):
                self.stop = stop_of(reason, native, details, self._last)
