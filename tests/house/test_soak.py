"""The soak's short form; the long one: `python -m tests.by_command.soak`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.by_command.soak.sabotage import SABOTAGES

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="it counts what Linux lists in /proc"
)

Done = subprocess.CompletedProcess[str]

# What the soak must say of each sabotage.
NOTICED = {
    "task": r"leaked \d+ tasks",
    "producer": r"(open producers: \d+ (async|callbacks|stubborn)|hung: .*'silent')",
    "thread": r"not quiet: thread: llmstream",
    "descriptor": r"leaked \d+ descriptors",
    "memory": r"streams stay in memory: .*'StreamDelivery': \d\d",
    "on_finish twice": r"on_finish was told \['finished', 'finished'\] of 1 streams",
    "on_finish never": r"on_finish was told \[\] of 1 streams",
    "silent end": r"ended as if it had finished: .*'raises",
    "foreign silent end": r"ended as if it had finished: .* /foreign ",
    "foreign on_finish twice": r"on_finish was told \['finished', 'finished'\] of 1 streams",
    "foreign on_finish never": r"on_finish was told \[\] of 1 streams",
    "foreign heartbeat": r"foreign: other events were read than were written",
    "foreign goes on": r"not quiet: open producers: \d+ hand_written",
    "no drain": r"hung: .* is there at the end",
}


def soak(*arguments: str) -> Done:
    # A process of its own: other tests' threads and descriptors must not be counted.
    return subprocess.run(
        [sys.executable, "-m", "tests.by_command.soak", *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,  # every wait inside is bounded, and says which it was
    )


def test_mixed_trouble_leaves_nothing_behind_and_every_stream_is_told_of_once() -> None:
    done = soak("--seconds", "6", "--streams", "60")
    print(done.stdout)  # noqa: T201 (shown with -s, and when it fails)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("passed\n")


@pytest.fixture(scope="module")
def sabotaged() -> Iterator[dict[str, Future[Done]]]:
    """Each mostly waits for what will not come, so a few run at once."""
    with ThreadPoolExecutor(3) as pool:
        short = ("--seconds", "2", "--streams", "30", "--sabotage")
        yield {name: pool.submit(soak, *short, name) for name in NOTICED}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("sabotage", NOTICED)
def test_the_soak_notices_what_is_broken_on_purpose(
    sabotage: str, sabotaged: dict[str, Future[Done]]
) -> None:
    done = sabotaged[sabotage].result()
    assert done.returncode == 1, done.stdout
    problem = rf"^PROBLEM .*{NOTICED[sabotage]}"
    assert re.search(problem, done.stdout, re.MULTILINE), done.stdout


def test_every_sabotage_is_tried() -> None:
    assert {*NOTICED} == {*SABOTAGES}
