"""Whatever a stored response was asked: it can be looked at, and gone on from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmstream import ChatApp, ChatRequest, ToolCall
from asgi_llmstream.stores import MemoryStore
from asgi_llmstream.testing import Client
from tests.support.fuzzing import check_answer, fuzzed
from tests.support.strategies import JSON

KINDS = [
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "mcp_call",
    "mcp_approval_request",
    "mcp_approval_response",
    "reasoning",
    "item_reference",
    "web_search_call",
]
NAMES = ["id", "role", "content", "call_id", "name", "arguments", "output", "status", "summary"]
WORDS = st.sampled_from(["user", "assistant", "call_a", "{}", "Hi"])
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("input_text"), "text": WORDS}), max_size=2)
ODD = st.sampled_from([{"a": 1}, [1], 7, None, True, ""])
VALUES = WORDS | PARTS | ODD | JSON
# Of a kind that nobody checks, with any id; or near enough to others that some are.
ITEMS = st.lists(
    st.builds(lambda id, name: {"type": "web_search_call", "id": id, "name": name}, ODD, VALUES)
    | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6).flatmap(
        lambda item: st.sampled_from(KINDS).map(lambda kind: {**item, "type": kind}) | st.just(item)
    ),
    max_size=3,
)
FURTHER = st.dictionaries(
    st.sampled_from(["store", "background", "instructions", "tools", "metadata", "text"]),
    st.booleans() | JSON,
    max_size=2,
)


async def answer(request: ChatRequest) -> AsyncIterator[Any]:
    yield f"{len(request.to_openai())} {len(request.to_anthropic())}"
    yield ToolCall("call_a", "f", {}, by="client")


@fuzzed(150)
@given(ITEMS, FURTHER, ITEMS)
def test_no_conversation_gets_a_500_or_a_hang(
    first: list[Any], further: dict[str, Any], second: list[Any]
) -> None:
    anyio.run(talk, [{"role": "user", "content": "Hi"}, *first], further, second)


async def talk(first: list[Any], further: dict[str, Any], second: list[Any]) -> None:
    app = ChatApp(answer, store=MemoryStore())
    client = Client(app)
    with anyio.fail_after(20):
        async with app.lifespan():
            body = {"input": first, **further}
            asked = await client.request("POST", "/responses", json=body)
            check_answer(asked)
            if asked.status != 200 or further.get("store") is False:
                return
            id = json.loads(asked.body)["id"]
            path = f"/responses/{id}"
            for place in (f"{path}?stream=true", path, f"{path}/input_items"):
                looked_at = await client.request("GET", place)
                check_answer(looked_at)
                assert looked_at.status == 200, looked_at.body
            body = {"input": [*second, {"role": "user", "content": "Go on."}]}
            check_answer(
                await client.request(
                    "POST", "/responses", json={**body, "previous_response_id": id}
                )
            )
            again = {"input": "Go on.", "previous_response_id": id}
            assert (await client.request("POST", "/responses", json=again)).status == 200
