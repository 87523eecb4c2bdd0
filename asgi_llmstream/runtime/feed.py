"""The feed: what goes over the wire next, for whoever sends it.

A delivery and `encode_stream` both pull from one. It waits for the first chunk, merges what
waits together, encodes it, counts it against the size limit, and says when a heartbeat is due.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from ..errors import LimitExceeded, LLMStreamError
from ..events import (
    Event,
    NativeAdded,
    PartDelta,
    RunAborted,
    RunFailed,
    RunStarted,
    Terminal,
    UsageReported,
    merge,
)
from ..options import StreamOptions
from ..sse import HEARTBEAT
from .reader import Reader

__all__ = ["Feed", "Framing"]

# Bytes of events after which a batch is sent, however many more wait.
_BATCH_SIZE = 64 * 1024

# Events that say nothing yet, or only that the run broke off: headers wait for the first chunk.
_SILENT = (RunStarted, UsageReported, NativeAdded, RunFailed, RunAborted)
# So many of them are kept for it, however long it may take.
_MOST_SILENT = 1024


def _speaks(event: Event) -> bool:
    # An answer that somebody has stopped is no failure.
    return not isinstance(event, _SILENT) or (isinstance(event, RunAborted) and event.is_stop)


class Framing(Protocol):
    """The boundaries between the events of a stream that was encoded elsewhere."""

    @property
    def between_events(self) -> bool:
        """True if a heartbeat may stand behind what was encoded last."""


class Feed:
    """The bytes of one stream, from its first event to its end.

    Args:
        reader: of the run.
        encode: see `formats.Encoder`.
        options: `commit_after`, `heartbeat_interval`, `max_stream_size` and the clock count.
        fail: called with the error, if the stream is larger than it may be.
        framing: of a stream that was encoded elsewhere; our encoders write whole events.
        merges: join neighbouring deltas that wait together. Not for a client that counts them.

    Attributes:
        end: the terminal event, once its bytes are taken.
        spoke: whether the answer has begun: an event came that says something.
        wait: waits until there may be something to take.
    """

    def __init__(
        self,
        reader: Reader,
        encode: Callable[[Event], bytes],
        options: StreamOptions,
        fail: Callable[[LLMStreamError], None],
        framing: Framing | None = None,
        merges: bool = True,
    ) -> None:
        self.end: Terminal | None = None
        self.spoke = False
        self.wait = reader.wait
        self._reader = reader
        self._encode = encode
        self._merge = merge if merges else list[Event]
        self._fail = fail
        self._framing = framing
        self._now = options.clock.now
        self._commit_after = options.commit_after
        self._heartbeat_interval = options.heartbeat_interval
        # What was encoded elsewhere is counted where it comes in.
        limit = None if framing is not None else options.max_stream_size
        self._room_left = limit or math.inf
        self._waiting: list[Event] = []
        self._committed = False
        self._silent_since: float | None = self._now()  # None while something is being sent
        self._is_due = False  # the commit, and once committed a heartbeat

    async def begin(self) -> Terminal | None:
        """Wait until the headers may be sent: for the first chunk, or `commit_after` seconds.

        A producer that reports on and on without a word is not waited for either.

        Returns:
            The end of a run that failed before it spoke.
        """
        while True:
            events = self._reader.take()
            self._waiting += events
            self.spoke = self.spoke or any(map(_speaks, events))
            if not self.spoke and self._waiting and isinstance(self._waiting[-1], Terminal):
                self.end = self._waiting[-1]
                return self.end
            if self.spoke or self._is_due or len(self._waiting) >= _MOST_SILENT:
                return None
            await self.wait()

    def commit(self) -> None:
        """Note that the headers are sent: from here on silence is broken by heartbeats."""
        self._committed = True
        self._is_due = False
        self.sent()

    def take(self) -> bytes | None:
        """Return what is ready, in one piece: events, else a heartbeat that is due; or None.

        It may be empty: formats leave out what they have no word for. Behind the last bytes
        `end` is set.
        """
        events = self._reader.take()
        if len(events) == 1 and type(events[0]) is PartDelta and not self._waiting:
            body = self._encode(events[0])  # mostly it is one token
        elif events or self._waiting:
            body = self._encode_batch(events)
        elif self._is_due and (self._framing is None or self._framing.between_events):
            body = HEARTBEAT
        else:
            return None
        if body:
            self._is_due = False
            self._silent_since = None
        if body is not HEARTBEAT:
            self._room_left -= len(body)
            if self._room_left < 0 and self.end is None:
                self._fail(LimitExceeded())  # which adds the last event
        return body

    def sent(self) -> None:
        """Note that what was taken has gone out: silence begins."""
        self._silent_since = self._now()

    def _encode_batch(self, events: list[Event]) -> bytes:
        self._waiting = [*self._merge([*self._waiting, *events])]
        bodies: list[bytes] = []
        size = 0
        for event in self._waiting:
            bodies.append(self._encode(event))
            size += len(bodies[-1])
            # What is the provider's own goes out with the words behind it.
            if size >= _BATCH_SIZE and type(event) is not NativeAdded:
                break
        if isinstance(event, Terminal):
            self.end = event
        del self._waiting[: len(bodies)]
        return b"".join(bodies)

    # The ticker's side.

    def tick(self, now: float) -> float:
        limit = self._heartbeat_interval if self._committed else self._commit_after
        if limit is None or self._silent_since is None:
            return now + self.patience
        if now < self._silent_since + limit:
            return min(self._silent_since + limit, now + self.patience)
        if not self._is_due:
            self._is_due = True
            self._reader.wake()
        return now + self.patience

    @property
    def patience(self) -> float:
        """No deadline can begin and pass within so many seconds: looking as often is enough."""
        limits = (None if self._committed else self._commit_after, self._heartbeat_interval)
        return min((limit for limit in limits if limit is not None), default=math.inf)
