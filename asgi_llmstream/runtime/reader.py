"""The interfaces between a run and whoever sends it: what is read, and what is ended.

A run of this request's own is read by a `Follower` of its log, and ended itself. One that a store
keeps is another's: see `resume.Following`, which is both.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from ..errors import LLMStreamError
from ..events import Event
from .run import Stopped

__all__ = ["Readable", "Reader"]


class Reader(Protocol):
    """A place in the events of a run, from which somebody reads on."""

    def take(self) -> list[Event]:
        """Return everything that is ready; nothing if nothing is."""

    def wait(self) -> Awaitable[None]:
        """Wait until there may be something to take, or somebody calls `wake`. For one task."""

    def wake(self) -> None:
        """Have `wait` return."""

    def leave(self, *, had_the_end: bool = False) -> None:
        """Take nothing more.

        Args:
            had_the_end: whether the last event reached whom it reads for.
        """


class Readable(Protocol):
    """A run, as its reader sees it."""

    def stop(self, outcome: Stopped, cause: BaseException | None = None) -> None:
        """Note that its reader cannot or will not read on. Return at once."""

    def fail(self, error: LLMStreamError) -> None:
        """End it with an error that the reader still sees. Return at once."""
