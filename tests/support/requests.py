"""A request of each protocol with most of what each knows, and ways to spoil it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_PART = {"type": "text", "text": "hi"}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
_USER = {"id": "m", "role": "user", "content": "hi"}
_SEES = {"id": "m", "role": "user", "content": [_PART, _IMAGE]}
_ANSWER = {"id": "n", "role": "assistant", "content": [_PART], "tool_calls": [_CALL]}
_RESULT = {"id": "o", "role": "tool", "tool_call_id": "c", "content": "1"}
_TOOL = {"name": "f", "description": "d", "parameters": {"type": "object"}}
_OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "1"}
_USED = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
_TOLD = {"type": "tool_result", "tool_use_id": "c", "content": [_PART]}
_TURNS = [
    _USER,
    {"role": "assistant", "content": [_USED]},
    {"role": "user", "content": [_TOLD]},
]
_UI = [{"id": "m", "role": "user", "parts": [_PART, {"type": "step-start"}]}]
_AGENT = {"threadId": "t", "runId": "r", "state": {}, "context": [], "forwardedProps": {}}
_CHAT = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [_SEES, _ANSWER, _RESULT, _USER],
    "tools": [{"type": "function", "function": _TOOL}],
}

_BODIES: dict[str, Any] = {
    "/chat/completions": _CHAT,
    "/responses": {"model": "m", "input": [_USER, _OUTPUT], "instructions": "i", "stream": True},
    "/messages": {
        "model": "m",
        "max_tokens": 9,
        "stream": True,
        "system": [_PART],
        "messages": _TURNS,
    },
    "/ui": {"id": "c", "trigger": "submit-message", "messages": _UI},
    "/text": {"prompt": "hi"},
    "/ag-ui": _AGENT | {"messages": [_USER], "tools": [_TOOL]},
}

EVERY_REQUEST: dict[str, bytes] = {
    **{route: json.dumps(body).encode() for route, body in _BODIES.items()},
    "/events": b"prompt=hi&model=m",
}
"""The body, or the query, by the route that answers it."""

_HOSTILE: list[Any] = [
    *(None, True, 0, -1, 2**63, 2**70, 0.5, 1e308, "", "x", "\0", "\ud83d", "\u2028", "a" * 300),
    *([], {}, [[]], [None], {"": None}, {"type": "text"}, {"type": None}, {"role": "system"}),
]


def mutated(request: bytes, dice: random.Random) -> bytes:
    """Spoil a request in its structure, in its bytes, or in both."""
    if request.startswith(b"{") and dice.random() < 0.8:
        fields = json.loads(request)
        for _ in range(dice.randrange(1, 4)):
            if fields:
                _spoil(*dice.choice([*_places(fields)]), dice)
        request = json.dumps(fields).encode()
        if dice.random() < 0.7:
            return request
    for _ in range(dice.randrange(1, 4)):
        request = _torn(request, dice)
    return request


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where something stands: a container, and its key or index."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(inner):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _spoil(container: Any, key: Any, dice: random.Random) -> None:
    value = container[key]
    match dice.randrange(5):
        case 0:
            del container[key]
        case 1:
            container[key] = [value] * dice.choice([1, 2, 50])
        case 2:
            container[key] = {"type": value, "content": value}
        case 3 if isinstance(container, dict):
            container[dice.choice(["id", "role", "type", "content", "\0"])] = container.pop(key)
        case _:
            container[key] = deepcopy(dice.choice(_HOSTILE))


def _torn(body: bytes, dice: random.Random) -> bytes:
    start, end = sorted(dice.randrange(len(body) + 1) for _ in range(2))
    noise = bytes(dice.randrange(256) for _ in range(dice.randrange(4)))
    middle = dice.choice([b"", noise, body[start:end] * 2, body[start:end][::-1]])
    return body[:start] + middle + body[end:]
