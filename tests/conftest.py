from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from asgi_llmstream.runtime.drain import process_drain
from tests.support.signals import hear_ctrl_c

hear_ctrl_c()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two; for tests that are named, or are to be watched, none but this."""
    named = any("::" in argument for argument in config.args)
    return 0 if named or config.option.capture == "no" else 2


BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("trio", {}), id="trio"),
]
if sys.platform != "win32":
    BACKENDS.insert(1, pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every test that is marked `anyio` runs on each of these."""
    return request.param


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The package's own, whose effect ends with the test: for a process there is no way back."""
    monkeypatch.setattr(process_drain, "_drains", process_drain._drains)
    return process_drain.begin
