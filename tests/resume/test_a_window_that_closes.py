"""A window on a run may close when its reader has only had what the store knew before."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_llmstream import MemoryStore
from asgi_llmstream.events import RunFailed, RunStarted
from asgi_llmstream.resume import Following
from asgi_llmstream.runtime import Log
from asgi_llmstream.stores import NewRun, UnknownRun, encode_event
from tests.support.kept_runs import read_to_end

pytestmark = pytest.mark.anyio

STARTED = RunStarted(1, "run", 0, "")


class Late:
    """Follows a run that is made elsewhere, and hears of each event after the store has it."""

    def __init__(self) -> None:
        self.log = Log(10, 1000)
        self._is_open = False

    def makes(self, owner: str, id: str) -> bool:
        return False

    def log_of(self, owner: str, id: str) -> Log | None:
        return self.log if self._is_open else None

    def open(self, *args: Any) -> None:
        self._is_open = True

    def left(self, owner: str, id: str) -> None: ...


async def test_its_reader_is_told_and_waits_for_nothing() -> None:
    store = MemoryStore()
    begun = await store.begin(NewRun(owner="ada", id="run"))
    await store.append("ada", "run", begun.epoch, 0, [encode_event(STARTED)], "")
    window = Late()
    following = Following(store, window, "ada", "run")
    await following.wait()
    assert following.take() == [STARTED]
    window.log.append([STARTED])
    window.log.close(UnknownRun())
    (told,) = await read_to_end(following)
    assert isinstance(told, RunFailed)
    assert told.code == "unknown_stream"
