"""However large a request, an answer or a name is: what it costs has a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Reasoning,
    StreamOptions,
    encode_stream,
)
from asgi_llmstream.formats import DEFAULT_FORMATS, RequestFormat
from asgi_llmstream.testing import Client, Response

pytestmark = pytest.mark.anyio

HI = {"id": "m", "role": "user", "content": "hi", "parts": [{"type": "text", "text": "hi"}]}
# The shortest request of each protocol, without what its clients call things.
ASKING: dict[str, dict[str, Any]] = {
    "/chat/completions": {"stream": True, "messages": [HI]},
    "/responses": {"stream": True, "input": "hi"},
    "/messages": {"stream": True, "max_tokens": 9, "messages": [HI]},
    "/ui": {"messages": [HI]},
    "/text": {"prompt": "hi"},
    "/ag-ui": {"threadId": "t", "runId": "r", "messages": [HI], "tools": []},
}
LONGEST_MODEL, LONGEST_NAME = 256, 1024


async def one_word(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello"


async def ask(path: str, body: Any) -> Response:
    return await Client(ChatApp(one_word)).request("POST", path, json=body)


async def test_what_waits_together_goes_out_in_pieces_of_bytes_not_of_events() -> None:
    async def alternating() -> AsyncIterator[Any]:
        for _ in range(125):  # which cannot become one event
            yield "a"
            yield Reasoning("b")

    model, options = "m" * LONGEST_MODEL, StreamOptions(buffer_events=2000)
    stream = encode_stream(alternating, model=model, options=options)
    pieces = [piece async for piece in stream]
    assert sum(map(len, pieces)) > 90_000
    assert max(map(len, pieces)) < 66_000


@pytest.mark.parametrize(
    "format",
    [format for format in DEFAULT_FORMATS if format.route != "/ag-ui"],  # which has none
    ids=lambda it: it.route,
)
async def test_a_models_name_is_short(format: RequestFormat) -> None:
    for length, status in ((LONGEST_MODEL, 200), (LONGEST_MODEL + 1, 400)):
        model = "m" * length
        if "GET" in format.methods:
            target = f"{format.route}?prompt=hi&model={model}"
            response = await Client(ChatApp(one_word)).request("GET", target)
        else:
            response = await ask(format.route, ASKING[format.route] | {"model": model})
        assert response.status == status
        assert status == 200 or b'"model' in response.body


def calling(long: str) -> list[tuple[str, dict[str, Any], str]]:
    """Requests in which something has this name: the route, what is added, and where."""
    function = {"name": long, "arguments": "{}"}
    called = {"type": "function_call", "call_id": long, "name": "f", "arguments": "{}"}
    tool_use = {"type": "tool_use", "id": long, "name": "f", "input": {}}
    tool = {"type": "tool-f", "toolCallId": long, "state": "input-available", "input": {}}
    calls = {**HI, "role": "assistant", "toolCalls": [{"id": "c", "function": function}]}
    return [
        ("/chat/completions", {"messages": [{**HI, "name": long}]}, "messages[0].name"),
        ("/responses", {"input": [called]}, "input[0].call_id"),
        (
            "/messages",
            {"messages": [{"role": "assistant", "content": [tool_use]}]},
            "messages[0].content[0].id",
        ),
        ("/ui", {"id": long}, "id"),
        (
            "/ui",
            {"messages": [{"id": "m", "role": "assistant", "parts": [tool]}]},
            "messages[0].parts[0].toolCallId",
        ),
        ("/ag-ui", {"threadId": long}, "threadId"),
        ("/ag-ui", {"messages": [calls]}, "messages[0].toolCalls[0].function.name"),
    ]


@pytest.mark.parametrize("which", range(len(calling(""))))
async def test_names_and_ids_are_not_endless(which: int) -> None:
    for length, status in ((LONGEST_NAME, 200), (LONGEST_NAME + 1, 400)):
        path, added, where = calling("x" * length)[which]
        response = await ask(path, ASKING[path] | added)
        assert response.status == status, response.body
        assert status == 200 or where.encode() in response.body
