"""`StreamResult`: what `on_finish` is told, once, about every stream that began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct, field

from ..message import Message
from ..request import ChatRequest

__all__ = ["OnFinish", "Outcome", "StreamResult"]

Outcome = Literal[
    "finished",
    "error",
    "disconnected",
    "stalled",
    "cancelled",
    "shutdown",
    "stopped",
    "producer_lost",
]


class StreamResult(Struct, frozen=True, kw_only=True):
    """The end of a stream.

    Attributes:
        outcome: "finished": the producer came to its end. "error": it raised, timed out, or
            yielded an `Error`. "disconnected": the client left and the producer was cancelled.
            "stalled": the client stopped reading for `send_timeout`, and it was cancelled.
            "cancelled": the server ended the request. "shutdown": the process is told to end,
            and `shutdown_grace` was over, or its client was said to have left. "stopped": somebody
            asked for its end. "producer_lost": the store had not heard of this process for so long
            that somebody else ended the run.
        message: the answer so far; whole if the outcome is "finished". Empty for streams that
            others write (`LLMStreamMiddleware`).
        error: what was raised, for the log and for decisions, never for the client.
        disconnected: whether the client had left before it had the end; with
            `on_disconnect="complete"` also where the outcome is "finished". So it is where the
            answer was whole, and the server failed, refused or cancelled its last `send`. A
            disconnect does not count that is told while that `send` runs, and it returns.
        time_to_first_chunk: seconds from the producer's start to its first event; None if none
            came.
        duration: seconds from the producer's start to its end.
        events: how many events the stream had; of streams that others write, how many pieces.
        scope: the ASGI scope of the request: its path, headers, state and user. Empty where
            there is none, as for `encode_stream`.
        request: what the client asked, where `ChatApp` answered it.
    """

    outcome: Outcome
    message: Message
    error: BaseException | None = None
    disconnected: bool = False
    time_to_first_chunk: float | None = None
    duration: float = 0.0
    events: int = 0
    scope: Mapping[str, Any] = field(default_factory=dict)
    request: ChatRequest | None = None


OnFinish = Callable[[StreamResult], Any]
"""Called once with the result; may be a plain function or an async one."""
