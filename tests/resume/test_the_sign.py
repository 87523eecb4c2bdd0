"""The sign that what is past is over, and what is new begins."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_llmstream import MemoryStore
from asgi_llmstream.events import CaughtUp, Event, RunAborted, RunStarted
from asgi_llmstream.resume import Following
from asgi_llmstream.runtime import Log

pytestmark = pytest.mark.anyio

STARTED = RunStarted(1, "run", 0, "")
STOPPED = RunAborted(2, None, "stopped")


class Window:
    """A process that still has all of a run."""

    def __init__(self, *events: Event) -> None:
        self._log = Log(10, 1000, kept=True)
        self._log.append([*events])

    def makes(self, owner: str, id: str) -> bool:
        return True

    def log_of(self, owner: str, id: str) -> Log:
        return self._log

    def open(self, *args: Any) -> None:
        raise NotImplementedError

    def left(self, owner: str, id: str) -> None: ...


@pytest.mark.parametrize(
    ("events", "taken"),
    [
        ([STARTED], [STARTED, CaughtUp(1)]),
        ([STARTED, STOPPED], [STARTED, STOPPED]),  # what is over has nothing new
    ],
)
async def test_it_stands_behind_all_that_is_past_and_behind_no_end(
    events: list[Event], taken: list[Event]
) -> None:
    following = Following(MemoryStore(), Window(*events), "ada", "run", announces=True)
    await following.wait()
    assert following.take() == taken
