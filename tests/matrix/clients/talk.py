"""Conversations in, what the client was told of them out: shared by all scripts in Python.

A script is run with an API's name and the server's address. Each line on its standard input is a
conversation, and each line that it prints is what the client made of that:

    {"prompts": ["call", "again"], "tools": true, "stream": true, "leaves": false}
    {"turns": [{"text": "3"}, …], "ran": [["add", {"x": 1, "y": 2}]], "error": null}

A script calls `serve(talk)`. `talk(ask)` is an async generator that holds the conversation, and
yields what it was told of each turn: `text`, and if the client has words for them `reasoning`,
`refusal`, `finish` and `usage` (tokens in and out). It runs the client's tools, and no others,
through `ask.run`. It raises what its client raises.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, TextIO

# Seconds after which a conversation has hung.
_PATIENCE = 20

_NUMBERS = {"x": {"type": "integer"}, "y": {"type": "integer"}}
PARAMETERS: dict[str, dict[str, Any]] = {
    "add": {"type": "object", "properties": _NUMBERS, "required": ["x", "y"]},
    "sub": {"type": "object", "properties": _NUMBERS, "required": ["x", "y"]},
    "now": {"type": "object", "properties": {}},
}
"""The client's tools: their names, and the JSON Schemas of their arguments."""


def add(x: int, y: int) -> str:
    """Add two numbers."""
    return str(x + y)


def sub(x: int, y: int) -> str:
    """Subtract the second number from the first."""
    return str(x - y)


def now() -> str:
    """Tell the hour."""
    return "12"


TOOLS: dict[str, Callable[..., str]] = {"add": add, "sub": sub, "now": now}


class Ask:
    """A conversation to hold.

    Attributes:
        api: what to speak.
        url: the server's address; below it is also `/v1`.
        prompts: what to say, a turn each.
        tools: the names of the client's tools to offer.
        stream: whether to ask for streams.
        leaves: go away after the first words, and tell them.
        ran: the tools that ran, with their arguments.
    """

    def __init__(self, api: str, url: str, asked: dict[str, Any]) -> None:
        self.api = api
        self.url = url
        self.prompts: list[str] = asked["prompts"]
        self.tools: list[str] = list(TOOLS) if asked["tools"] else []
        self.stream: bool = asked["stream"]
        self.leaves: bool = asked["leaves"]
        self.ran: list[tuple[str, Any]] = []

    def run(self, name: str, arguments: str | dict[str, Any]) -> str:
        """Run a tool, as the client's own loop would.

        Raises:
            LookupError: if it was not offered.
            ValueError: if the arguments are not JSON.
        """
        self.ran.append((name, arguments))
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
        self.ran[-1] = (name, given)
        if name not in self.tools:
            raise LookupError(f"no tool {name!r} was offered")
        return TOOLS[name](**given)

    def callables(self) -> list[Callable[..., str]]:
        """The tools as functions, for frameworks that run them themselves."""
        return [_noted(self, TOOLS[name]) for name in self.tools]


def _noted(ask: Ask, tool: Callable[..., str]) -> Callable[..., str]:
    from functools import wraps

    @wraps(tool)
    def noting(*args: Any, **kwargs: Any) -> str:
        names = PARAMETERS[tool.__name__]["properties"]
        return ask.run(tool.__name__, {**dict(zip(names, args, strict=False)), **kwargs})

    return noting


def serve(talk: Callable[[Ask], AsyncIterator[dict[str, Any]]]) -> None:
    """Hold every conversation that comes on standard input."""
    # What a client prints must not stand among the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    asyncio.run(_serve(talk, out))


async def _serve(talk: Callable[[Ask], AsyncIterator[dict[str, Any]]], out: TextIO) -> None:
    api, url = sys.argv[1:]
    # Read in a thread: what a client leaves to the event loop goes on meanwhile.
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = await _hold(talk, Ask(api, url, json.loads(line)))
        print(json.dumps(told), file=out, flush=True)


async def _hold(talk: Callable[[Ask], AsyncIterator[dict[str, Any]]], ask: Ask) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    error = None
    try:
        async with asyncio.timeout(_PATIENCE):
            async for turn in talk(ask):
                turns.append(turn)
    except Exception as raised:
        error = _described(raised)
    if ask.leaves:
        gc.collect()  # some clients leave a connection only when nothing knows it
    return {"turns": turns, "ran": ask.ran, "error": error}


def _described(error: BaseException) -> dict[str, Any]:
    """The error, and the HTTP status that it or what caused it knows."""
    described = {"type": type(error).__name__, "message": str(error)[:500], "status": None}
    cause: BaseException | None = error
    while cause is not None and described["status"] is None:
        status = getattr(cause, "status_code", None)
        described["status"] = status if isinstance(status, int) else None
        cause = cause.__cause__ or cause.__context__
    return described
