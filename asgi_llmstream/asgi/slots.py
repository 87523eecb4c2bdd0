"""How many streams an application may have open at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Overloaded

__all__ = ["Slots"]

# Seconds after which a client that was turned away may try again.
_RETRY_AFTER = 1


class Slots:
    """Args:
    limit: how many; None for any number.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken = 0
        self._lock = threading.Lock()  # several servers may run the same application

    @contextmanager
    def one(self) -> Iterator[None]:
        """Takes one, for as long as it is entered.

        Raises:
            Overloaded: if all are taken.
        """
        with self._lock:
            if self._limit is not None and self._taken >= self._limit:
                raise Overloaded(retry_after=_RETRY_AFTER)
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1
