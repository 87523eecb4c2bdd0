"""LangChain's messages, and LangGraph's streams of a real graph whose model is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest

from asgi_llmstream.chunks import (
    Finish,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from tests.support.providers import message_of, module, read, through_openai

ADDED: dict[str, Any] = {
    "input_tokens": 10,
    "output_tokens": 1,
    "total_tokens": 11,
    "input_token_details": {"cache_read": 4, "audio": 0},
    "output_token_details": {"reasoning": 2},
}
MORE: dict[str, Any] = {"input_tokens": 0, "output_tokens": 6, "total_tokens": 6}


def piece(index: Any, args: str | None, id: str | None = None, name: str | None = None) -> Any:
    return {"type": "tool_call_chunk", "index": index, "args": args, "id": id, "name": name}


def stream(reason: str | None, *chunks: dict[str, Any]) -> list[dict[str, Any]]:
    """Chunks whose last one says why they ended."""
    return [*chunks, {"content": "", "response_metadata": {"finish_reason": reason}}]


STREAMS: dict[str, list[dict[str, Any]]] = {
    "text": stream("stop", {"content": ""}, {"content": "Hel"}, {"content": "lo"}),
    "text in blocks": stream(
        "stop",
        {"content": [{"type": "text", "text": "Hel", "index": 0}]},
        {"content": [{"type": "text", "text": "lo", "index": 0}]},
    ),
    "parallel tool calls": stream(
        "tool_calls",
        {"content": "I look."},
        {"content": "", "tool_call_chunks": [piece(0, "", "call_a", "weather")]},
        {"content": "", "tool_call_chunks": [piece(0, '{"city": ')]},
        {"content": "", "tool_call_chunks": [piece(1, "{}", "call_b", "time")]},
        {"content": "", "tool_call_chunks": [piece(0, '"Oslo"}')]},
    ),
    "calls without an index": stream(
        "STOP",
        {"content": "", "tool_call_chunks": [piece(None, '{"x": 1}', "call_a", "f")]},
        {"content": "", "tool_call_chunks": [piece(None, "{}", "call_b", "f")]},
    ),
    "calls in anthropic's blocks": stream(
        "tool_use",
        {
            "content": [{"type": "tool_use", "id": "call_a", "name": "f", "input": {}, "index": 1}],
            "tool_call_chunks": [piece(1, "", "call_a", "f")],
        },
        {
            "content": [{"type": "input_json_delta", "partial_json": '{"x":1}', "index": 1}],
            "tool_call_chunks": [piece(1, '{"x":1}')],
        },
    ),
    "usage that is added up": stream(
        "stop",
        {"content": "Hi", "usage_metadata": ADDED},
        {"content": "", "usage_metadata": MORE},
    ),
}


def chunks(stream: list[dict[str, Any]]) -> list[Any]:
    made = module("langchain_core.messages").AIMessageChunk
    return [made(**fields) for fields in stream]


@pytest.mark.parametrize(
    "written",
    [
        {"cache_creation": 5},
        {"cache_creation": 0, "ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
        {"ephemeral_5m_input_tokens": 5},
    ],
    ids=str,
)
def test_what_was_written_to_a_cache_is_counted_once(written: dict[str, Any]) -> None:
    used = ADDED | {"input_token_details": {"cache_read": 4, **written}}
    (message,) = chunks([{"content": "", "usage_metadata": used}])
    assert message_of([message]).usage == Usage(10, 1, 4, 2, 5)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_becomes_the_message_that_the_sum_of_its_chunks_is(name: str) -> None:
    items = chunks(STREAMS[name])
    theirs, ours = reduce(add, items), message_of(items)
    assert ours.text == theirs.text
    assert [(call.id, call.name, call.parse()) for call in ours.tool_calls] == [
        (call["id"], call["name"], call["args"]) for call in theirs.tool_calls
    ]
    if theirs.usage_metadata:
        assert ours.usage == Usage(10, 7, 4, 2)
        assert ours.usage.total_tokens == theirs.usage_metadata["total_tokens"]
    assert ours.native_finish_reason == theirs.response_metadata["finish_reason"]


@pytest.mark.parametrize("name", STREAMS)
def test_the_openai_client_accumulates_the_same_sum(name: str) -> None:
    items = chunks(STREAMS[name])
    theirs, completion = reduce(add, items), through_openai(items)
    message = completion.choices[0].message
    assert (message.content or "") == theirs.text
    assert [(call.id, call.function.name) for call in message.tool_calls or ()] == [
        (call["id"], call["name"]) for call in theirs.tool_calls
    ]
    assert completion.choices[0].finish_reason == ("tool_calls" if theirs.tool_calls else "stop")


def said(content: Any = "", **fields: Any) -> Any:
    return chunks([{"content": content, **fields}])[0]


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        ("", {"additional_kwargs": {"reasoning_content": "Hm."}}, [Reasoning("Hm.")]),
        (
            [{"type": "thinking", "thinking": "Hm.", "index": 0}],
            {"additional_kwargs": {"reasoning_content": "Hm."}},
            [Reasoning("Hm.")],
        ),
        (
            [{"type": "thinking", "thinking": "", "signature": "sig", "index": 0}],
            {},
            [Reasoning("", "sig")],
        ),
        (
            [{"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "sig"}}],
            {},
            [Reasoning("Hm.", "sig")],
        ),
        (
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}],
            {},
            [Reasoning("Hm.")],
        ),
        (
            [{"type": "reasoning_content", "reasoning_content": {"text": "Hm.", "signature": ""}}],
            {},
            [Reasoning("Hm.")],
        ),
        ([{"type": "refusal", "refusal": "No."}], {}, [Refusal("No.")]),
        ("", {"additional_kwargs": {"refusal": "No."}}, [Refusal("No.")]),
        (["Hi", {"type": "image", "url": "x"}], {}, [Text("Hi")]),
        (
            [
                {
                    "type": "text",
                    "text": "Hi",
                    "annotations": [
                        {"type": "citation", "url": "https://example.org", "title": "Example"}
                    ],
                }
            ],
            {},
            [Text("Hi"), Source("https://example.org", "Example")],
        ),
    ],
)
def test_content_blocks_of_every_provider_are_read(
    content: Any, fields: dict[str, Any], expected: list[object]
) -> None:
    assert read(said(content, **fields)) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"finish_reason": "stop"}, Finish("stop", "stop")),
        ({"finish_reason": "MAX_TOKENS"}, Finish("length", "MAX_TOKENS")),
        ({"stop_reason": "end_turn"}, Finish("stop", "end_turn")),
        ({"stopReason": "max_tokens"}, Finish("length", "max_tokens")),
        ({"done_reason": "stop"}, Finish(None, "stop")),
        ({"done_reason": "length"}, Finish("length", "length")),
        ({"status": "completed"}, Finish(None, "completed")),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            Finish("length", "max_output_tokens"),
        ),
    ],
)
def test_why_the_model_stopped_is_read_wherever_the_integrations_put_it(
    metadata: dict[str, Any], expected: Finish
) -> None:
    assert read(said(response_metadata=metadata)) == [expected]


def test_an_index_that_is_a_text_tells_calls_apart_too() -> None:
    first = said(tool_call_chunks=[piece(0, "", "call_a", "f")])
    named = first.model_copy(update={"tool_call_chunks": [piece("lc_tc_0", "", "call_a", "f")]})
    (begun,) = read(named)
    later = first.model_copy(update={"tool_call_chunks": [piece("lc_tc_0", "{}")]})
    (going_on,) = read(later)
    assert isinstance(begun, ToolCallDelta)
    assert isinstance(going_on, ToolCallDelta)
    assert begun.index == going_on.index


def test_a_whole_message_is_read_too() -> None:
    messages = module("langchain_core.messages")
    call = {"type": "tool_call", "id": "call_a", "name": "f", "args": {"x": 1}}
    message = messages.AIMessage("Hi", tool_calls=[call], usage_metadata=ADDED)
    assert read(message) == [
        Text("Hi"),
        ToolCall("call_a", "f", '{"x":1}'),
        Usage(10, 1, 4, 2, additive=True),
    ]


def test_a_tools_message_is_its_result_and_a_users_is_not_part_of_the_answer() -> None:
    messages = module("langchain_core.messages")
    made = messages.ToolMessage
    assert read(made("sunny", tool_call_id="a")) == [ToolResult("a", "sunny")]
    failed = made("no such city", tool_call_id="a", status="error")
    assert read(failed) == [ToolResult("a", "no such city", error=True)]
    assert read(messages.HumanMessage("hi")) == []
    assert read(messages.SystemMessage("be kind")) == []


# A real graph


def graph() -> Any:
    """An agent of two model calls with a tool between them."""
    models = module("langchain_core.language_models")
    outputs = module("langchain_core.outputs")
    tools = module("langchain_core.tools")
    langgraph = module("langgraph.graph")
    prebuilt = module("langgraph.prebuilt")
    replies = [chunks(STREAMS["parallel tool calls"]), chunks(STREAMS["usage that is added up"])]

    class Scripted(models.BaseChatModel):  # type: ignore[misc, name-defined]
        @property
        def _llm_type(self) -> str:
            return "scripted"

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

        def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            for chunk in replies[any(message.type == "tool" for message in messages)]:
                yield outputs.ChatGenerationChunk(message=chunk)

    def weather(city: str) -> str:
        """The weather."""
        return f"sunny in {city}"

    def time() -> str:
        """The time."""
        raise ValueError("the clock stands still")

    made = [tools.StructuredTool.from_function(f) for f in (weather, time)]
    model = Scripted()

    async def call_model(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = langgraph.StateGraph(langgraph.MessagesState)
    builder.add_node("model", call_model)
    builder.add_node("tools", prebuilt.ToolNode(made, handle_tool_errors=True))
    builder.add_edge(langgraph.START, "model")
    builder.add_conditional_edges("model", prebuilt.tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


ASK = {"messages": [("user", "hi")]}


def as_pairs() -> Any:
    return graph().astream(ASK, stream_mode="messages")


def as_events() -> Any:
    return graph().astream_events(ASK, version="v2")


@pytest.mark.parametrize("source", [as_pairs, as_events])
def test_an_agents_graph_becomes_the_answer_that_it_gave(source: Any) -> None:
    async def run() -> list[Any]:
        return [item async for item in source()]

    items = asyncio.run(run())
    message = message_of(items)
    assert message.text == "I look.Hi"
    assert [(call.id, call.parse()) for call in message.tool_calls] == [
        ("call_a", {"city": "Oslo"}),
        ("call_b", {}),
    ]
    results = {result.id: (result.output, result.error) for result in message.tool_results}
    assert results["call_a"] == ("sunny in Oslo", False)
    assert results["call_b"][1]  # whether it failed
    if source is as_events:
        assert results["call_b"][0] == "The tool failed."
    assert (message.finish_reason, message.usage) == ("stop", Usage(10, 7, 4, 2))
    roles = [said["role"] for said in message.to_openai()]
    assert roles == ["assistant", "tool", "tool", "assistant"]
    assert through_openai(items).choices[0].finish_reason == "stop"


def test_events_that_surround_the_model_say_nothing() -> None:
    for event in ("on_chain_start", "on_chat_model_start", "on_chat_model_end", "on_tool_start"):
        assert read({"event": event, "run_id": "1", "name": "x", "data": {}}) == []


def test_a_pair_of_anything_else_is_no_chunk() -> None:
    with pytest.raises(TypeError, match="cannot stream tuple"):
        read((said("Hi"), "no metadata"))
    assert read((said("Hi"), {"langgraph_node": "model"})) == [Text("Hi")]
