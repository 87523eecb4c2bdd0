"""How a worker process learns that its parent wants it to end, where nobody signals it.

That real ones of hypercorn do is in `test_drain.py`.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
from types import SimpleNamespace
from typing import Any

import hypercorn.asyncio.run
import pytest

from asgi_llmstream.runtime.workers import told_to_end

WORKER = hypercorn.asyncio.run.asyncio_worker


def process_is(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> None:
    monkeypatch.setattr(multiprocessing.process, "_current_process", SimpleNamespace(**attributes))


def test_a_worker_of_hypercorn_is_told_by_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    event = multiprocessing.get_context("spawn").Event()
    process_is(monkeypatch, _target=WORKER, _kwargs={"shutdown_event": event})
    told = told_to_end()
    assert told is not None
    assert not told()
    event.set()
    assert told()


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"_target": None, "_kwargs": {}},
        {"_target": print, "_kwargs": {"shutdown_event": 1}},
        {"_target": WORKER},
        {"_target": WORKER, "_kwargs": None},
        {"_target": WORKER, "_kwargs": {}},
        {"_target": WORKER, "_kwargs": {"shutdown_event": None}},
    ],
)
def test_where_nothing_is_as_expected_only_signals_tell(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any]
) -> None:
    process_is(monkeypatch, **attributes)
    assert told_to_end() is None


def test_the_process_of_the_tests_is_no_worker() -> None:
    assert told_to_end() is None
