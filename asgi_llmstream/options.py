"""`StreamOptions`: intervals, deadlines, limits and policies, in one frozen record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from .calls import near
from .clock import Clock

__all__ = ["DEFAULT_OPTIONS", "StreamOptions"]

_SYSTEM_CLOCK = Clock()

_SECONDS = (
    "commit_after",
    "heartbeat_interval",
    "first_chunk_timeout",
    "idle_timeout",
    "total_timeout",
    "send_timeout",
    "close_timeout",
    "finish_timeout",
    "store_timeout",
    "block_warning",
    "shutdown_grace",
)
_COUNTS = (
    "max_body_size",
    "max_body_depth",
    "max_body_items",
    "max_streams",
    "max_readers",
    "max_chunk_size",
    "max_message_size",
    "max_tool_arguments",
    "max_stream_size",
    "buffer_events",
    "buffer_size",
)


class _Named(type(Struct)):  # type: ignore[misc]
    """Says which option was meant by a name that there is not."""

    if not TYPE_CHECKING:  # to whom every name would be one

        def __call__(cls, *args: Any, **given: Any) -> Any:
            for name in given:
                if name not in cls.__struct_fields__:
                    meant = near(name, cls.__struct_fields__)
                    raise TypeError(f"{cls.__name__} has no option {name!r}: {meant}")
            return super().__call__(*args, **given)


class StreamOptions(Struct, frozen=True, kw_only=True, metaclass=_Named):
    """The behaviour of streams. Times are in seconds, sizes in bytes; `None` turns one off.

    Args:
        commit_after: how long the response headers wait for the first chunk, so that an early
            failure is a real HTTP status. `None` waits until it is there, without heartbeats.
        heartbeat_interval: a comment line goes out whenever nothing else did for so long.
        first_chunk_timeout: how long the producer may take for its first chunk.
        idle_timeout: how long it may take for each further one. Time that it waits for a slow
            reader does not count.
        total_timeout: how long the whole answer may take.
        send_timeout: how long the server may refuse to take bytes because the reader stalls.
        close_timeout: how long a cancelled producer may take to clean up before it is cancelled
            again; and then before it is abandoned. Must not be None.
        finish_timeout: how long an `on_finish` may take before it is cancelled, and logged.
        store_timeout: how long a store may be away before a run that it keeps ends with that.
        block_warning: a producer that holds the event loop for longer at a time, so that nobody
            else is served, is named in the log, once.
        shutdown_grace: how long streams may go on when the server shuts down, and the bodies of
            requests may take that still come. After it and `close_timeout` also a `send` that is
            stuck is given up.
        max_body_size: the largest request body that `ChatApp` reads.
        max_body_depth: how deep its lists and objects may be nested.
        max_body_items: how many values may be in it, at any depth; an empty list or object counts
            as two. Each costs time and memory, however few bytes it has.
        max_streams: how many streams a `ChatApp`, or what is below an `LLMStreamMiddleware`, may
            have at the same time; more get a 503.
        max_readers: how many may read a stream that a store keeps, at the same time and in one
            process; more get a 429. The client that asked for it is one of them.
        max_chunk_size: the largest chunk: its text or data, in characters.
        max_message_size: the largest answer: text, reasoning, tool calls, files and all data
            together, in characters.
        max_tool_arguments: the longest arguments of one tool call, in characters.
        max_stream_size: how many bytes of a stream are sent, the error and what passed the limit
            with it not counted. An answer that passes one of these four ends with an error that
            the client sees; what came before is kept.
        buffer_events: how many events may wait for the reader before the producer has to. So far
            it is read ahead: with 1, what stands behind a `yield` runs one chunk early at most.
        buffer_size: how many characters may.
        on_disconnect: what happens to the producer when the client leaves: "cancel" it, or let
            it "complete", for its usage and for saving the answer. With a store, which keeps the
            answer for a client that comes back, it completes if this is left out.
        clock: where the time comes from.

    Raises:
        TypeError: if there is no option of a name.
        ValueError: if a number is not positive, or a policy is unknown.
    """

    commit_after: float | None = 2
    heartbeat_interval: float | None = 15
    first_chunk_timeout: float | None = 120
    idle_timeout: float | None = 120
    total_timeout: float | None = None
    send_timeout: float | None = 30
    close_timeout: float = 5
    finish_timeout: float | None = 30
    store_timeout: float | None = 10
    block_warning: float | None = 0.5
    shutdown_grace: float | None = 5
    max_body_size: int | None = 8 * 1024 * 1024
    max_body_depth: int | None = 100
    max_body_items: int | None = 50_000
    max_streams: int | None = None
    max_readers: int | None = 1000
    max_chunk_size: int | None = None
    max_message_size: int | None = None
    max_tool_arguments: int | None = None
    max_stream_size: int | None = None
    buffer_events: int = 256
    buffer_size: int = 65536
    on_disconnect: Literal["cancel", "complete"] | None = None
    clock: Clock = _SYSTEM_CLOCK

    def longest_end(self, callbacks: int) -> float:
        """Return the seconds that a stream may take to end once it is told to, one to spare.

        Args:
            callbacks: how many `on_finish` are called, one after the other.
        """
        grace = math.inf if self.shutdown_grace is None else self.shutdown_grace
        closing = 2 * self.close_timeout
        if callbacks and self.finish_timeout is None:
            return math.inf
        return grace + closing + callbacks * ((self.finish_timeout or 0) + closing) + 1

    def __post_init__(self) -> None:
        for name in _SECONDS + _COUNTS:
            value = getattr(self, name)
            if value is None and name not in ("close_timeout", "buffer_events", "buffer_size"):
                continue
            kind: Any = int if name in _COUNTS else int | float
            # `not value > 0` is also true of NaN.
            if not isinstance(value, kind) or isinstance(value, bool) or not value > 0:
                whole = " (a whole one)" if name in _COUNTS else ""
                raise ValueError(f"{name} must be a positive number, not {value!r}{whole}")
        if self.on_disconnect not in ("cancel", "complete", None):
            raise ValueError(f"on_disconnect must be cancel or complete: {self.on_disconnect!r}")


DEFAULT_OPTIONS = StreamOptions()
"""Of everything that is given none; a middleware around it may then give its own."""
