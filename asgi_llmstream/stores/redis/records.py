"""Records: what a run was begun with, as bytes, and those that were seen last."""

from __future__ import annotations

import json

import msgspec

from ..base import NewRun

__all__ = ["Records", "record_of"]

_MANY = 2048


def record_of(run: NewRun) -> bytes:
    """Return the run as JSON in ASCII, which has also half an emoji."""
    return json.dumps(msgspec.to_builtins(run)).encode("ascii")


class Records:
    """Those that were read last; a record never changes."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], NewRun] = {}

    def get(self, owner: str, id: str) -> NewRun | None:
        """Return the run's, None if it is not remembered."""
        return self._runs.get((owner, id))

    def forget(self, owner: str, id: str) -> None:
        """Remember the run's no longer."""
        self._runs.pop((owner, id), None)

    def read(self, record: bytes) -> NewRun:
        """Return the run, and remember it."""
        run = msgspec.convert(json.loads(record), NewRun)
        self._runs[run.owner, run.id] = run
        if len(self._runs) > _MANY:
            del self._runs[next(iter(self._runs))]
        return run
