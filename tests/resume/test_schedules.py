"""Random schedules of one run on two hosts and a troubled store, in virtual time.

`SCHEDULES=1000000` tries so many, `SCHEDULES_FROM=5000` other ones.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from asgi_llmstream.resume import Following, host
from asgi_llmstream.runtime import Generation, Log
from asgi_llmstream.stores import MemoryStore, RunState
from tests.support.schedules import simulate

SCHEDULES = int(os.environ.get("SCHEDULES", "1500"))
FIRST = int(os.environ.get("SCHEDULES_FROM", "0"))
GROUPS = 10


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What fails here fails on purpose."""
    logger = logging.getLogger("asgi_llmstream")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_reader_has_a_true_part_of_one_order_and_an_explicit_end(group: int) -> None:
    for seed in range(FIRST + group, FIRST + SCHEDULES, GROUPS):
        simulate(seed)


# What is broken on purpose.


class AppliesTwice(MemoryStore):
    """Takes an append that comes again for a new one."""

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        page = await self.read(owner, id, 0, 0)
        if page.state.is_live:
            after = page.state.last
        return await super().append(owner, id, epoch, after, events, outcome)


class Unfenced(MemoryStore):
    """Lets a writer go on whose run another one has ended."""

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        kept = self._owners[owner].runs[id]
        if kept.state.is_live or not events:
            return await super().append(owner, id, kept.epoch, after, events, outcome)
        kept.add(events, "", 0)
        kept.state = replace(kept.state, outcome=outcome or kept.state.outcome)
        return kept.state


def shown_before_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def log(*args: Any, published_later: bool) -> Log:
        return Log(*args)

    monkeypatch.setattr(host, "Log", log)


def a_gap_between_past_and_new(monkeypatch: pytest.MonkeyPatch) -> None:
    def joins(self: Any) -> bool:
        log = self._windows.log_of(self._owner, self._id)
        if log is not None:
            self._live = log.follow(log.published, holds=False)
        return log is not None

    monkeypatch.setattr(Following, "_joins_window", joins)


def nobody_hears_that_a_window_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "close", lambda self, reason: None)


def told_of_an_end_that_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep_to_it(self: Any, outcome: Any, cause: Any = None) -> None:
        if self.outcome is None:
            self.stop("cancelled")
        self.log.retract()

    monkeypatch.setattr(Generation, "overrule", keep_to_it)


def applied_twice(monkeypatch: pytest.MonkeyPatch) -> type[MemoryStore]:
    return AppliesTwice


def not_fenced(monkeypatch: pytest.MonkeyPatch) -> type[MemoryStore]:
    return Unfenced


@pytest.mark.parametrize(
    "plant",
    [
        shown_before_it_is_stored,
        a_gap_between_past_and_new,
        nobody_hears_that_a_window_is_closed,
        told_of_an_end_that_was_not,
        applied_twice,
        not_fenced,
    ],
)
def test_a_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], type[MemoryStore] | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = plant(monkeypatch) or MemoryStore
    with pytest.raises((AssertionError, TimeoutError, ValueError, ExceptionGroup)):
        for seed in range(600):
            simulate(seed, store)
