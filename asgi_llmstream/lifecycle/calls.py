"""Which tool calls there were, and which of them wait for a result."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from ..chunks import RunBy

__all__ = ["Calls"]


class Calls:
    """Knows the calls of one run by their ids.

    Args:
        offered: the names of the tools that the client's request offered; None if unknown.

    Attributes:
        unanswered: the ids of those without a result, and who runs each.
        told: the ids of those whose producer said who runs them.
    """

    def __init__(self, offered: Collection[str] | None) -> None:
        self.unanswered: dict[str, RunBy] = {}
        self.told: set[str] = set()
        self._offered = offered
        self._times: dict[str, int] = {}  # how often an id came
        self._same_id: dict[str, deque[str]] = {}  # those that may wait, and the last

    def run_by(self, name: str) -> RunBy:
        """Return who runs the tool of this name, where its call does not say so."""
        return "client" if self._offered is None or name in self._offered else "server"

    def own_id(self, id: str) -> str:
        """A call's id, made unlike those before it: some providers count anew in each call."""
        self._times[id] = times = self._times.get(id, 0) + 1
        # A call of just that id may have been there.
        own = id if times == 1 else self.own_id(f"{id}_{times}")
        self._same_id.setdefault(id, deque()).append(own)
        return own

    def answered_by(self, id: str) -> str:
        """Return the call that a result of this id answers: the first that waits, else the
        last."""
        same = self._same_id.get(id) or [id]
        while len(same) > 1 and same[0] not in self.unanswered:
            del same[0]
        return same[0]

    def asked_about(self, id: str) -> str | None:
        """Return the call that a human is asked about: the last of this id; None if it has run.

        Raises:
            ValueError: if the client is known to run it, and so may have done so already.
        """
        own = (self._same_id.get(id) or [id])[-1]
        if id in self._times and own not in self.unanswered:
            return None
        by_client = self.unanswered.get(own) == "client"
        if by_client and (own in self.told or self._offered is not None):
            raise ValueError(
                f"call {id!r} is the client's, which asks its own human: approvals are for what "
                "runs elsewhere, as ToolCall(..., by='server') says"
            )
        return own
