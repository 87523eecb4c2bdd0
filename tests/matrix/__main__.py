"""Real clients against `ChatApp`: each is installed in a room of its own, and asked everything.

    python -m tests.matrix                      # every client
    python -m tests.matrix openai-py tanstack   # these
    python -m tests.matrix --scenario agent     # one scenario, streamed and whole

Prints what is wrong as it is found, and at the end the table. Ends with `passed`; or with 1, if a
cell is wrong that is not one of the clients' own faults (`known.py`).
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from .rooms import DEFAULT_CACHE, command, furnish
from .run import Verdict, running, verdicts
from .scenarios import SCENARIOS
from .table import CLIENTS, Row


def main() -> int:
    arguments = _arguments()
    # What producers raise here, they raise on purpose.
    logging.getLogger("asgi_llmstream").setLevel(logging.CRITICAL)
    asked = [s for s in SCENARIOS if arguments.scenario in (None, s.name)]
    table: dict[Row, list[Verdict]] = {}
    with running() as server:
        for client in CLIENTS:
            if client.name not in (arguments.clients or [client.name]):
                continue
            room = furnish(client, arguments.cache, fresh=arguments.fresh)
            for row in client.rows:
                table[row] = []
                for verdict in verdicts(row, server, command(client, room), room, asked):
                    table[row].append(verdict)
                    if verdict.complaint:
                        print(f"{row}: {verdict.complaint}", flush=True)
    _show(table)
    wrong = sum(bool(verdict.complaint) for row in table.values() for verdict in row)
    print(f"{wrong} wrong" if wrong else "passed")
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    summary = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=summary)
    parser.add_argument("clients", nargs="*", help="names of the table's; all if left out")
    parser.add_argument("--scenario", help="only this one")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the rooms are")
    parser.add_argument("--fresh", action="store_true", help="install every client anew")
    arguments = parser.parse_args()
    if unknown := set(arguments.clients) - {client.name for client in CLIENTS}:
        parser.error(f"there is no client {', '.join(sorted(unknown))}")
    return arguments


def _show(table: dict[Row, list[Verdict]]) -> None:
    """A row for each client, and a column for each scenario: two signs, streamed and whole."""
    print("\n.  right    t  the client's own fault    W  wrong    two signs: streamed, whole\n")
    for number, scenario in enumerate(SCENARIOS, 1):
        print(f"{number:4}  {scenario.name}")
    width = max(len(str(row)) for row in table)
    print(f"\n{'':{width}}", *(f"{number:2}" for number in range(1, len(SCENARIOS) + 1)))
    for row, cells in table.items():
        signs = {(v.scenario, v.stream): _sign(v) for v in cells}
        pairs = [
            signs.get((scenario.name, True), " ") + signs.get((scenario.name, False), " ")
            for scenario in SCENARIOS
        ]
        print(f"{row!s:{width}}", *pairs)
    print()


def _sign(verdict: Verdict) -> str:
    if verdict.complaint:
        return "W"
    return "t" if verdict.excuse else "."


if __name__ == "__main__":
    sys.exit(main())
