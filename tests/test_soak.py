"""The short form of the soak; the long one: `python tests/soak.py --seconds 600 --streams 300`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="it counts what Linux lists in /proc"
)
def test_mixed_trouble_leaves_nothing_behind_and_every_stream_is_told_of_once() -> None:
    # A process of its own: other tests' threads and descriptors must not be counted.
    done = subprocess.run(
        [sys.executable, SOAK, "--seconds", "6", "--streams", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,  # every wait inside is bounded, and says which it was
    )
    print(done.stdout)  # noqa: T201 (shown with -s, and when it fails)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("passed\n")
