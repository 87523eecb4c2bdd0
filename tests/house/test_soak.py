"""The soak's short form; the long one, and every sabotage: see tests/by_command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.by_command.sabotages import ROOT, assert_the_soak_notices, soak

pytestmark = [
    pytest.mark.skipif(
        not Path("/proc/self/fd").exists(), reason="it counts what Linux lists in /proc"
    ),
    pytest.mark.xdist_group("soak"),  # never two at the same time; and early, for it is long
]


def test_mixed_trouble_leaves_nothing_behind_and_every_stream_is_told_of_once() -> None:
    done = soak("--seconds", "6", "--streams", "60")
    print(done.stdout)  # noqa: T201 (shown with -s, and when it fails)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("passed\n")


def test_the_soak_notices_what_is_broken_on_purpose() -> None:
    assert_the_soak_notices("silent end")


def test_every_sabotage_still_finds_what_it_breaks() -> None:
    # In a process of its own, which is broken afterwards.
    program = """
from tests.by_command.soak.sabotage import SABOTAGES
for sabotage in SABOTAGES.values():
    sabotage.act()
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
