"""`StreamResult`: what `on_finish` is told, once, about every stream that began."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .message import Message

__all__ = ["Outcome", "StreamResult"]

Outcome = Literal["finished", "error", "disconnected", "stalled", "cancelled", "shutdown"]


class StreamResult(Struct, frozen=True, kw_only=True):
    """How a stream ended.

    Attributes:
        outcome: "finished": the producer came to its end. "error": it raised, timed out, or
            yielded an `Error`. "disconnected": the client left and the producer was cancelled.
            "stalled": the client stopped reading for `send_timeout`, and it was cancelled.
            "cancelled": the server ended the request. "shutdown": the process is told to end,
            and `shutdown_grace` was over.
        message: the answer so far; whole if the outcome is "finished".
        error: what was raised, for the log and for decisions, never for the client.
        disconnected: whether the client had left before it had the end; with
            `on_disconnect="complete"` also where the outcome is "finished".
        time_to_first_chunk: seconds from the producer's start to its first event; None if none
            came.
        duration: seconds from the producer's start to its end.
        events: how many events the stream had.
    """

    outcome: Outcome
    message: Message
    error: BaseException | None = None
    disconnected: bool = False
    time_to_first_chunk: float | None = None
    duration: float = 0.0
    events: int = 0
