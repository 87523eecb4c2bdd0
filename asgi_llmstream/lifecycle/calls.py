"""Which tool calls there were, and which of them wait for a result."""

from __future__ import annotations

__all__ = ["Calls"]


class Calls:
    """Knows the calls of one run by their ids.

    Attributes:
        unanswered: the ids of those without a result.
    """

    def __init__(self) -> None:
        self.unanswered: set[str] = set()
        self._same_id: dict[str, list[str]] = {}

    def own_id(self, id: str) -> str:
        """A call's id, made unlike those before it: some providers count anew in each call."""
        same = self._same_id.setdefault(id, [])
        own = f"{id}_{len(same) + 1}" if same else id
        if own != id:
            own = self.own_id(own)  # a call of just that id may have been there
        same.append(own)
        return own

    def answered_by(self, id: str) -> str:
        """Return the call that a result of this id answers: the first that waits, else the
        last."""
        same = self._same_id.get(id, [id])
        return next((own for own in same if own in self.unanswered), same[-1])
