"""Which providers' answers were begun and have not ended: what is left of them is cut off.

    a provider's object is    then its model call is
    ----------------------    ------------------------------------------------------------------
    silent                    under way, unless it was over before: counts follow the end, and
                              some servers' annotations do
    speaking                  under way
    stopped                   over, unless its provider promised a word of its own
    over                      over
    left                      over, as are all others: the producer itself said `Finish`

Calls are told apart by name where providers repeat it in each object, so that one that was cut
off is not taken for whole because the next one ended, and calls may run beside each other. What
has no name belongs to one that is under way, and an end without one is that of the last.
"""

from __future__ import annotations

from ..chunks import Upstream
from ..errors import UpstreamTruncated

__all__ = ["Underway"]


class Underway:
    """The model calls of one run, or of one source, that have begun and not ended."""

    def __init__(self) -> None:
        self._promised: dict[str | None, bool] = {}  # of each that is under way
        self._over: set[str | None] = set()

    def hear(self, said: Upstream) -> None:
        """Note what a provider's object says of its call."""
        match said.state:
            case "speaking":
                self._go_on(said.call, said.promised)
            case "silent":
                if said.call not in self._over:
                    self._go_on(said.call, said.promised)
            case "stopped":
                if self._promised.get(said.call) is False:
                    self._end(said.call)
            case "over":
                self._end(said.call)
            case "left":
                self._promised.clear()

    def __bool__(self) -> bool:
        """Return whether a call is under way."""
        return bool(self._promised)

    def check(self) -> None:
        """Refuse to take for whole what is not.

        Raises:
            UpstreamTruncated: if a call is under way.
        """
        if self._promised:
            raise UpstreamTruncated()

    def _go_on(self, call: str | None, promised: bool) -> None:
        self._promised[call] = promised or self._promised.get(call, False)

    def _end(self, call: str | None) -> None:
        self._over |= {call, None}
        self._promised.pop(None, None)
        if call in self._promised:
            del self._promised[call]
        elif call is not None:
            self._promised.clear()  # a server that names each of its objects anew
        elif self._promised:
            self._promised.popitem()
