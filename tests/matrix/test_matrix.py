"""The clients that the other tests install anyway; `python -m tests.matrix` asks all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node import CLIENTS as NODE_CLIENTS
from tests.support.node import Run, node

from .rooms import command
from .run import Server, running, verdicts
from .scenarios import SCENARIOS, Scenario
from .table import CLIENTS, Client, Row

__all__ = ["node"]

AGENTS = [scenario for scenario in SCENARIOS if scenario.name.startswith("agent")]
ROWS = [row for client in CLIENTS if client.quick for row in client.rows]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def room_of(client: Client, folder: Path) -> Path:
    """Where the tests' own packages are, as if it were the client's room."""
    if client.language == "python":
        return Path(sys.prefix)
    (folder / "node_modules").symlink_to(NODE_CLIENTS / "node_modules")
    return folder


def complaints(row: Row, server: Server, folder: Path, scenarios: list[Scenario]) -> list[str]:
    room = room_of(row.client, folder)
    asked = verdicts(row, server, command(row.client, room), folder, scenarios)
    return [verdict.complaint for verdict in asked if verdict.complaint]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_client_makes_the_right_thing_of_every_answer(
    row: Row, server: Server, node: Run, tmp_path: Path
) -> None:
    assert complaints(row, server, tmp_path, [s for s in SCENARIOS if s not in AGENTS]) == []


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_client_never_runs_the_servers_own_tools_and_the_next_turn_works(
    row: Row, server: Server, node: Run, tmp_path: Path
) -> None:
    assert complaints(row, server, tmp_path, AGENTS) == []
