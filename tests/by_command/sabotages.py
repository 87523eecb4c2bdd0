"""Proof that the soak can fail: it must notice whatever is broken on purpose.

python -m pytest tests/by_command/sabotages.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.by_command.soak.sabotage import SABOTAGES

ROOT = Path(__file__).parents[2]

Done = subprocess.CompletedProcess[str]


def soak(*arguments: str) -> Done:
    # A process of its own: other tests' threads and descriptors must not be counted.
    return subprocess.run(
        [sys.executable, "-m", "tests.by_command.soak", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,  # every wait inside is bounded, and says which it was
    )


def assert_the_soak_notices(sabotage: str) -> None:
    done = soak("--seconds", "2", "--streams", "30", "--sabotage", sabotage)
    assert done.returncode == 1, done.stdout
    problem = rf"^PROBLEM .*{SABOTAGES[sabotage].noticed}"
    assert re.search(problem, done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_soak_notices_what_is_broken_on_purpose(sabotage: str) -> None:
    assert_the_soak_notices(sabotage)
