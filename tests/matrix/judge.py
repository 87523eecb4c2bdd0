"""The judgement of what a client was told."""

from __future__ import annotations

import json
from typing import Any

from .scenarios import CUT, SECRET, Scenario, Turn

__all__ = ["judge"]


def judge(scenario: Scenario, stream: bool, told: dict[str, Any]) -> str:
    """Say what is wrong with what a client told of a scenario; empty if nothing is."""
    if SECRET in json.dumps(told):
        return "a secret was shown"
    error = told["error"]
    if scenario.status is not None:
        return _judge_error(scenario, stream, told)
    if error is not None and scenario.says and scenario.says in error["message"]:
        return ""
    if error is not None:
        return f"raised {error['type']}: {error['message']}"
    ran = [[name, arguments] for name, arguments in scenario.ran]
    if sorted(told["ran"]) != sorted(ran):
        return f"ran {told['ran']}, not {ran}"
    if len(told["turns"]) != len(scenario.turns):
        return f"told {len(told['turns'])} turns of {len(scenario.turns)}"
    return "; ".join(filter(None, map(_judge_turn, scenario.turns, told["turns"])))


def _judge_error(scenario: Scenario, stream: bool, told: dict[str, Any]) -> str:
    error = told["error"]
    if error is None:
        return f"did not raise, but told {told['turns']}"
    if error["type"] in ("Hung", "Died", "TimeoutError"):
        return f"{error['type']}: {error['message']}"
    if told["ran"]:
        return f"ran {told['ran']}"
    if (scenario.late and stream) or error.get("status") in (None, scenario.status):
        return ""
    return f"raised {error['type']} of status {error['status']}, not {scenario.status}"


def _judge_turn(turn: Turn, told: dict[str, Any]) -> str:
    """Keys that are missing or None are what this client has no words for."""
    said = (told.get("text") or "") + (told.get("refusal") or "")
    if said != turn.text:
        return f"said {said!r}, not {turn.text!r}"
    if turn.reasoning and told.get("reasoning") not in (None, turn.reasoning):
        return f"reasoned {told['reasoning']!r}, not {turn.reasoning!r}"
    finish = told.get("finish")
    if finish is not None and (finish in CUT) != turn.cut:
        return f"finished with {finish!r}"
    if turn.usage and told.get("usage") not in (None, list(turn.usage)):
        return f"used {told['usage']} tokens, not {list(turn.usage)}"
    return ""
