"""Deadlines: when a run is over although nobody ended it."""

from __future__ import annotations

import math
from operator import itemgetter

from ..errors import FirstChunkTimeout, IdleTimeout, LLMStreamError, ShuttingDown, TotalTimeout
from ..options import StreamOptions
from .drain import draining

__all__ = ["Deadlines"]


class Deadlines:
    """The times by which a run has to speak, go on and end.

    Args:
        options: its timeouts, and `shutdown_grace`.
        began: when the run did.
        lag: by how many seconds each is later.

    Attributes:
        spoke_at: when its first chunk came, if it did.
        asked_at: since when it is asked for the next one; None while it waits for its reader.
    """

    def __init__(self, options: StreamOptions, began: float, *, lag: float = 0) -> None:
        self.spoke_at: float | None = None
        self.asked_at: float | None = None
        self._options = options
        self._began = began
        self._lag = lag
        self._drain_by: float | None = None
        # None can begin and pass within this time, so looking as often is enough.
        timeouts = (options.first_chunk_timeout, options.idle_timeout, options.total_timeout)
        self._patience = min((limit for limit in timeouts if limit is not None), default=math.inf)

    def passed(self, now: float) -> LLMStreamError | None:
        """The error of the first deadline that has passed."""
        if draining():
            self.drain(now)
        due, error = min(self._all(), key=itemgetter(0))
        return error() if due <= now else None

    def drain(self, now: float) -> None:
        """Let the grace begin, unless it has."""
        if self._drain_by is None:
            self._drain_by = self._due(now, self._options.shutdown_grace)

    def next(self, now: float) -> float:
        """Return the time to ask again."""
        return min(now + self._patience, *(due for due, _ in self._all()))

    def _all(self) -> list[tuple[float, type[LLMStreamError]]]:
        options = self._options
        waiting: tuple[float, type[LLMStreamError]]
        if self.spoke_at is None:
            waiting = self._due(self._began, options.first_chunk_timeout), FirstChunkTimeout
        else:
            waiting = self._due(self.asked_at, options.idle_timeout), IdleTimeout
        return [
            (math.inf if self._drain_by is None else self._drain_by, ShuttingDown),
            waiting,
            (self._due(self._began, options.total_timeout), TotalTimeout),
        ]

    def _due(self, since: float | None, limit: float | None) -> float:
        return math.inf if since is None or limit is None else since + limit + self._lag
