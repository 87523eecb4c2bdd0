"""Runs clients through the scenarios."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from asgi_llmstream import StreamResult
from tests.support.scripted import SILENT, serving

from .judge import judge
from .known import KNOWN
from .process import ClientProcess
from .scenarios import SCENARIOS, Scenario, answer
from .table import Row

__all__ = ["Server", "Verdict", "running", "verdicts"]

# Seconds within which the server must notice that a client left.
_NOTICE = 10
# What pages speak has no answers in one piece.
_STREAMS_ONLY = ("ui", "ag-ui")
# Anthropic's clients say `/v1` themselves.
_ADDS_V1 = ("messages", "tool_runner")


class Server(NamedTuple):
    """The server that all clients ask.

    Attributes:
        url: its address.
        outcomes: of the streams that clients were to leave, as they end.
    """

    url: str
    outcomes: queue.Queue[str]


class Verdict(NamedTuple):
    """One client in one scenario.

    Attributes:
        scenario: its name.
        stream: whether the answer was asked for as a stream, or in one piece.
        what: empty if the client was told right, else what is wrong.
        excuse: why it is the client's own fault, if that is known.
    """

    scenario: str
    stream: bool
    what: str
    excuse: str

    @property
    def complaint(self) -> str:
        """Empty if all is as it should be: a known fault must be there, too."""
        if bool(self.what) == bool(self.excuse):
            return ""
        return f"{self.cell}: {self.what or f'is right, but known as {self.excuse!r}'}"

    @property
    def cell(self) -> str:
        return self.scenario if self.stream else f"{self.scenario}, whole"


@contextmanager
def running() -> Iterator[Server]:
    """The server, until the block ends."""
    outcomes = queue.Queue[str]()

    def note(result: StreamResult) -> None:
        if result.request is not None and result.request.prompt == "leaving":
            outcomes.put(result.outcome)

    with serving(SILENT, answer, on_finish=note) as url:
        yield Server(url, outcomes)


def verdicts(
    row: Row,
    server: Server,
    command: Sequence[str],
    folder: Path,
    scenarios: Iterable[Scenario] = SCENARIOS,
) -> Iterator[Verdict]:
    """Hold every scenario's conversations with one client.

    Args:
        command: runs the client's script, in `folder`.
    """
    base = server.url if row.api in _ADDS_V1 else f"{server.url}/v1"
    excuses = KNOWN.get(str(row), {})
    with ClientProcess([*command, row.api, base], folder) as client:
        for scenario, stream in _cells(row.api, scenarios):
            told = client.ask(_conversation(scenario, stream))
            what = judge(scenario, stream, told)
            if scenario.leaves and not what:
                what = _judge_leaving(server)
            verdict = Verdict(scenario.name, stream, what, "")
            yield verdict._replace(excuse=excuses.get(verdict.cell, ""))


def _cells(api: str, scenarios: Iterable[Scenario]) -> Iterator[tuple[Scenario, bool]]:
    for scenario in scenarios:
        yield scenario, True
        if scenario.whole and api not in _STREAMS_ONLY:
            yield scenario, False


def _conversation(scenario: Scenario, stream: bool) -> dict[str, Any]:
    return {
        "prompts": [scenario.name, *["again"] * (len(scenario.turns) - 1)],
        "tools": scenario.offers,
        "stream": stream,
        "leaves": scenario.leaves,
    }


def _judge_leaving(server: Server) -> str:
    try:
        outcome = server.outcomes.get(timeout=_NOTICE)
    except queue.Empty:
        return "the server never noticed that the client left"
    return "" if outcome == "disconnected" else f"the stream's outcome was {outcome!r}"
