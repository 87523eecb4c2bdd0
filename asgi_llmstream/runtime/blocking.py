"""Producers that hold the event loop: who did, and for how long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

__all__ = ["Watched"]

logger = logging.getLogger("asgi_llmstream")

_named: set[str] = set()


class Watched:
    """Awaits a coroutine, and measures each turn that it has on the event loop.

    What goes on without waiting costs no look at the clock.

    Args:
        main: the coroutine.
        name: of whom it runs.
        now: tells the time, in seconds.
        limit: how long a turn may be.
    """

    def __init__(
        self, main: Coroutine[Any, Any, None], name: str, now: Callable[[], float], limit: float
    ) -> None:
        self._main = main
        self._name = name
        self._now = now
        self._limit = limit

    def __await__(self) -> Generator[Any, Any, None]:
        now, limit = self._now, self._limit
        send: Callable[[Any], Any] = self._main.send
        resume = send
        given: Any = None
        while True:
            began = now()
            try:
                awaited = resume(given)
            except StopIteration:
                return
            finally:
                given = None  # an error would be in a circle with its own traceback
                if now() - began > limit:
                    self._tell(now() - began)
            try:
                given = yield awaited
            except BaseException as error:
                given, resume = error, self._main.throw
            else:
                resume = send

    def _tell(self, seconds: float) -> None:
        if self._name not in _named:
            _named.add(self._name)
            logger.warning(
                "%s held up the event loop for %.1f s, and everybody with it: await what takes "
                "long, or make it a plain `def`, which runs in a thread (said once)",
                self._name,
                seconds,
            )
