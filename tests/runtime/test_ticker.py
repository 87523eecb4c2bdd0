"""The ticker looks at the deadlines of all streams, whatever one of them does."""

from __future__ import annotations

import logging

import pytest

from asgi_llmstream.runtime import Ticker
from asgi_llmstream.testing import ManualClock, settle

pytestmark = pytest.mark.anyio


class Ticked:
    """Has a deadline every second, and fails at some."""

    def __init__(self, *fails_at: float) -> None:
        self.looks: list[float] = []
        self._fails_at = fails_at

    def tick(self, now: float) -> float:
        self.looks.append(now)
        if now in self._fails_at:
            raise RuntimeError("a deadline that nobody foresaw")
        return now + 1


async def test_a_tick_that_raises_is_logged_and_ends_nobody_s_ticking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    ticker = Ticker.current(clock)
    fails, works = Ticked(1, 2), Ticked()
    with caplog.at_level(logging.ERROR, "asgi_llmstream"):
        for ticked in (fails, works):
            ticker.add(ticked, 1)
        await settle()
        for _ in range(4):
            await clock.advance(1)
    for ticked in (fails, works):
        ticker.remove(ticked)
    await settle()
    assert fails.looks == works.looks == [1, 2, 3, 4]
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        "a deadline that nobody foresaw"
    ] * 2
