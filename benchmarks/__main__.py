"""`python -m benchmarks`: one interleaved run, and a table of ratios. See README.md."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections import defaultdict
from statistics import median, quantiles

from .contestants import CONTESTANTS, WORKLOADS
from .settings import Measure, Measured, in_process, over_socket

SETTINGS = {"in-process": in_process, "socket": over_socket}
# The project's targets over the socket: how many times the floor's CPU time at most.
TARGETS = {"token by token": 1.5, "burst": 1.0}

Results = dict[str, list[Measured]]


def main() -> int:
    args = parse()
    print(f"{args.rounds} rounds of {args.tokens} tokens a stream, on {args.loop}")
    missed = False
    for name in [*SETTINGS] if args.setting == "both" else [args.setting]:
        with SETTINGS[name](args.loop) as measure:
            for workload in WORKLOADS:
                print(f"\n{name}, {workload}")
                results = run(measure, workload, args.rounds, args.tokens)
                report(results, args.tokens)
                if args.check:
                    ratio = median(against_floor("asgi-llmstream", results))
                    verdict = "held" if ratio <= TARGETS[workload] else "MISSED"
                    missed = missed or verdict == "MISSED"
                    print(f"  target {TARGETS[workload]} x floor: {verdict} at {ratio:.2f}")
    return int(missed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    have = all(importlib.util.find_spec(name) for name in ("uvloop", "httptools"))
    loop = "uvloop" if have else "asyncio"
    parser.add_argument("--rounds", type=int, default=25, help="25 unless told")
    parser.add_argument("--tokens", type=int, default=2000, help="in each stream; 2000")
    parser.add_argument("--setting", choices=[*SETTINGS, "both"], default="both")
    parser.add_argument(
        "--loop",
        choices=["uvloop", "asyncio"],
        default=loop,
        help=f"uvloop goes with httptools, asyncio with h11; here {loop} unless told",
    )
    parser.add_argument("--check", action="store_true", help="socket: exit 1 if over a target")
    args = parser.parse_args()
    if args.rounds < 2 or args.tokens < 1:
        parser.error("at least 2 rounds and 1 token")
    if args.check:
        args.setting = "socket"
    return args


def run(measure: Measure, workload: str, rounds: int, tokens: int) -> Results:
    """Everybody once a round, beginning with another one each time, after one that warms up."""
    names = list(CONTESTANTS)
    results: Results = defaultdict(list)
    for name in names:
        measure(name, workload, tokens)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(measure(name, workload, tokens))
    return results


def against_floor(name: str, results: Results) -> list[float]:
    """Each round's ratio of CPU time: drift of the machine hits both and cancels."""
    return [m.cpu / floor.cpu for m, floor in zip(results[name], results["floor"], strict=True)]


def report(results: Results, tokens: int) -> None:
    print(f"  {'':15} {'CPU':>7} {'x floor':>8} {'quartiles':>11} {'wall':>7} {'sends':>6}")
    for name in CONTESTANTS:
        cpus, walls, sends = map(median, zip(*results[name], strict=True))
        ratios = against_floor(name, results)
        low, middle, high = quantiles(ratios, n=4)
        print(
            f"  {name:15} {cpus / tokens * 1e6:7.2f} {middle:8.2f} {low:6.2f}-{high:4.2f} "
            f"{walls / tokens * 1e6:7.2f} {sends:6.0f}"
        )


if __name__ == "__main__":
    sys.exit(main())
