"""A finished answer, as the events that it came of."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from ...events import Event, ItemAdded, PartDelta, PartEnded, PartStarted, RunFinished, RunStarted
from ...message import Message, MessagePart

__all__ = ["replay"]


def replay(started: RunStarted, message: Message) -> Iterator[Event]:
    """Each part in one piece: what is written of these events, whole, cannot disagree with what
    is streamed. Their sequence numbers and steps are left out."""
    yield started
    for item in message.content:
        if not isinstance(item, MessagePart):
            yield ItemAdded(0, item)
            continue
        yield PartStarted(0, item.part)
        if item.text:
            yield PartDelta(0, item.part, item.text)
        yield PartEnded(0, item.part, item.text, item.signature)
    reason = message.finish_reason or "stop"
    native, completed = message.native_finish_reason, message.completed
    details = message.finish_details or UNSET
    yield RunFinished(0, message.usage, reason, native, completed, details)
