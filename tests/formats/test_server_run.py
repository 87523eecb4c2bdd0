"""An agent that runs tools itself: no client is asked for what it did not offer, streamed and
whole, and what it sends back in its next request is a history that providers take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    StreamResult,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    collect,
)
from asgi_llmstream.formats import (
    AGUI,
    AnthropicMessages,
    Events,
    OpenAIChat,
    OpenAIResponses,
    RequestFormat,
    UIMessages,
)
from asgi_llmstream.testing import Client
from tests.formats.test_every_format import ASK, asking, hear
from tests.support.history import check_anthropic, check_openai
from tests.support.providers import module
from tests.support.servers import serve
from tests.support.tools import for_anthropic, for_chat, for_responses

NAMED = [OpenAIChat(), OpenAIResponses(), AnthropicMessages()]
every_named = pytest.mark.parametrize("format", NAMED, ids=lambda f: f.route)
offering = pytest.mark.parametrize("offered", [(), ("mine",)], ids=["nothing", "one tool"])
piecewise = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])

OWN: list[Any] = [
    "I look. ",
    ToolCallDelta(0, "a", "search", '{"q":'),
    ToolCallDelta(1, "b", "weather"),
    ToolCallDelta(0, arguments="1}"),
    Finish("tool_calls", "tool_use"),
    ToolResult("b", "down", error=True),
    ToolResult("a", {"found": 2}),
]
MINE = [ToolCall("c", "mine", {"x": 1}), Finish("tool_calls", "tool_use")]
WORDS = ["It is cold.", Finish("stop", "end_turn")]


async def agent(request: ChatRequest) -> AsyncIterator[Any]:
    """Runs two tools, then asks for the client's if there is one, and answers."""
    requests.append(request)
    if request.prompt == "Thanks.":
        yield "Yes."
        return
    if request.messages[-1].role != "tool":
        for chunk in OWN:
            yield chunk
        if request.tools:
            for chunk in MINE:
                yield chunk
            return
    for chunk in WORDS:
        yield chunk


requests: list[ChatRequest] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    requests.clear()


TOOLS = {OpenAIChat: for_chat, OpenAIResponses: for_responses, AnthropicMessages: for_anthropic}


async def answered(format: RequestFormat, offered: tuple[str, ...], **more: Any) -> bytes:
    body = {**ASK[type(format)], "tools": TOOLS[type(format)](*offered), **more}
    response = await Client(ChatApp(agent)).request(**asking(format, body))
    assert response.status == 200
    return response.body


@every_named
@pytest.mark.anyio
async def test_a_message_that_is_passed_on_keeps_who_ran_what(format: RequestFormat) -> None:
    async def passing(request: ChatRequest) -> AsyncIterator[Any]:
        yield await collect(agent_of_own())

    async def agent_of_own() -> AsyncIterator[Any]:
        yield ToolCall("a", "f", by="provider")
        yield ToolCall("b", "f", by="server")
        yield ToolCall("c", "f")

    heard = hear(format, (await Client(ChatApp(passing)).request(**asking(format))).body)
    assert heard.calls == [("c", "f", "{}")]


@every_named
@offering
@pytest.mark.anyio
async def test_a_streamed_answer_asks_only_for_the_tool_that_was_offered(
    format: RequestFormat, offered: tuple[str, ...]
) -> None:
    heard = hear(format, await answered(format, offered))
    assert heard.said == "I look. " + ("" if offered else "It is cold.")
    assert heard.calls == [("c", "mine", '{"x":1}')] * len(offered)
    shown = [("search", '{"q":1}', '{"found":2}'), ("weather", "{}", "down")]
    assert heard.ran == (shown if isinstance(format, OpenAIResponses) else [])
    assert not heard.results


@offering
@pytest.mark.anyio
async def test_chat_ends_as_its_last_model_call_did(offered: tuple[str, ...]) -> None:
    stream = (await answered(OpenAIChat(), offered)).decode()
    chunks = [json.loads(line[6:]) for line in stream.split("\n") if line.startswith("data: {")]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == ("tool_calls" if offered else "stop")
    assert reasons[:-1] == [None] * (len(reasons) - 1)
    whole = json.loads(await answered(OpenAIChat(), offered, stream=False))
    (choice,) = whole["choices"]
    assert choice["finish_reason"] == reasons[-1]
    assert [call["id"] for call in choice["message"].get("tool_calls", [])] == ["c"] * len(offered)


@offering
@piecewise
@pytest.mark.anyio
async def test_messages_end_as_their_last_model_call_did(
    offered: tuple[str, ...], stream: bool
) -> None:
    body = await answered(AnthropicMessages(), offered, stream=stream)
    if stream:
        (last,) = [line for line in body.decode().split("\n") if '"message_delta"' in line]
        reason = json.loads(last.removeprefix("data: "))["delta"]["stop_reason"]
    else:
        message = json.loads(body)
        reason = message["stop_reason"]
        kinds = [block["type"] for block in message["content"]]
        assert kinds == (["text", "tool_use"] if offered else ["text", "text"])
    assert reason == ("tool_use" if offered else "end_turn")


@pytest.mark.anyio
async def test_a_whole_response_holds_what_the_server_ran_with_its_output() -> None:
    response = json.loads(await answered(OpenAIResponses(), (), stream=False))
    first, search, weather, last = response["output"]
    assert (first["type"], last["type"]) == ("message", "message")
    shown = {"type": "mcp_call", "name": "search", "server_label": "server", "status": "completed"}
    assert shown.items() <= search.items()
    assert (search["arguments"], search["output"]) == ('{"q":1}', '{"found":2}')
    assert (weather["status"], weather["output"]) == ("failed", None)
    assert weather["error"]["content"] == [{"type": "text", "text": "down"}]


@pytest.mark.parametrize("reason", ["length", "stop"])
@pytest.mark.anyio
async def test_a_response_ends_with_no_call_open_that_nobody_answered(reason: Any) -> None:
    async def silent(request: ChatRequest) -> AsyncIterator[Any]:
        yield ToolCall("a", "search")
        yield Finish(reason)

    response = await Client(ChatApp(silent)).request(**asking(OpenAIResponses()))
    heard = hear(OpenAIResponses(), response.body)
    assert heard.ran == [("search", "{}", None)]


@pytest.mark.anyio
async def test_on_finish_is_told_of_all_calls_and_who_ran_them() -> None:
    results: list[StreamResult] = []
    body = {**ASK[OpenAIChat], "tools": for_chat("mine")}
    app = ChatApp(agent, on_finish=results.append)
    await Client(app).request(**asking(OpenAIChat(), body))
    message = results[0].message
    assert [(call.id, call.by) for call in message.tool_calls] == [
        ("a", "server"),
        ("b", "server"),
        ("c", "client"),
    ]
    assert message.finish_reason == "tool_calls"


@pytest.mark.parametrize("format", [UIMessages(), Events()], ids=lambda f: f.route)
@pytest.mark.anyio
async def test_where_requests_name_no_tools_all_calls_are_shown_as_the_clients(
    format: RequestFormat,
) -> None:
    response = await Client(ChatApp(agent)).request(**asking(format))
    heard = hear(format, response.body)
    assert [id for id, _, _ in heard.calls] == ["a", "b"]
    assert heard.ran == []
    assert [id for id, _ in heard.results or ()] == ["b", "a"]


@pytest.mark.anyio
async def test_ag_ui_shows_all_calls_with_their_results() -> None:
    response = await Client(ChatApp(agent)).request(**asking(AGUI()))
    heard = hear(AGUI(), response.body)
    assert [id for id, _, _ in heard.calls] == ["a", "b", "c"]
    assert heard.results == [("b", "down"), ("a", '{"found":2}')]


@pytest.mark.parametrize("by", ["server", "provider"])
@pytest.mark.anyio
async def test_the_producers_own_word_makes_a_call_the_pages_provider_executed(by: Any) -> None:
    async def own(request: ChatRequest) -> AsyncIterator[Any]:
        yield ToolCall("a", "search", by=by)
        yield ToolResult("a", 1)
        yield ToolCall("b", "search", "no JSON", by=by)
        yield ToolCall("c", "mine")

    response = await Client(ChatApp(own)).request(**asking(UIMessages()))
    heard = hear(UIMessages(), response.body)  # which holds each of their chunks to it
    assert [name for name, _, _ in heard.ran] == ["search", "search"]
    assert heard.calls == [("c", "mine", "{}")]


def test_the_names_that_a_request_offers_are_those_of_all_kinds_of_tools() -> None:
    tools: list[Any] = [
        {"type": "function", "function": {"name": "a"}},
        {"type": "custom", "custom": {"name": "b"}},
        {"type": "custom", "name": "c"},
        {"type": "bash_20250124", "name": "d"},
        {"type": "namespace", "name": "e", "tools": [{"type": "function", "name": "f"}]},
        {"type": "web_search"},
        {"type": "function", "function": "?", "tools": ["?"]},
        {"name": 7},
    ]
    assert ChatRequest(messages=[], tools=tools).offered == {*"abcdef"}


# The second turn, with the official clients.


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(Starlette(routes=[Mount("/v1", ChatApp(agent))])) as address:
        yield address


def check_last(expected: list[str]) -> None:
    """Hold the last request's history against what providers take."""
    history = requests[-1].to_openai()
    check_openai(history)
    check_anthropic(requests[-1].to_anthropic()["messages"])
    assert [message["role"] for message in history] == expected


@offering
@piecewise
def test_the_second_turn_of_openais_chat_client(
    url: str, offered: tuple[str, ...], stream: bool
) -> None:
    openai = module("openai")
    history: list[Any] = [{"role": "user", "content": "hi"}]
    tools = {"tools": for_chat(*offered)} if offered else {}
    with openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0, timeout=10) as client:

        def turn() -> Any:
            ask = {"model": "m", "messages": history, **tools}
            if not stream:
                return client.chat.completions.create(**ask).choices[0].message
            with client.chat.completions.stream(**ask) as events:
                return events.get_final_completion().choices[0].message

        said = turn()
        history.append({k: v for k, v in said.to_dict().items() if k in ("role", "content")})
        if offered:
            (call,) = said.tool_calls
            assert call.function.name == "mine"
            function = {"name": call.function.name, "arguments": call.function.arguments}
            history[-1]["tool_calls"] = [{"id": call.id, "type": "function", "function": function}]
            history.append({"role": "tool", "tool_call_id": call.id, "content": "7"})
            said = turn()
            check_last(["user", "assistant", "tool"])
            history.append({"role": "assistant", "content": said.content})
        else:
            assert not said.tool_calls
        assert said.content.endswith("It is cold.")
        history.append({"role": "user", "content": "Thanks."})
        assert turn().content == "Yes."
    check_last(["user", *["assistant", "tool"] * len(offered), "assistant", "user"])


@offering
@piecewise
def test_the_second_turn_of_openais_responses_client(
    url: str, offered: tuple[str, ...], stream: bool
) -> None:
    openai = module("openai")
    history: list[Any] = [{"role": "user", "content": "hi"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0, timeout=10) as client:

        def turn() -> Any:
            ask = {"model": "m", "input": history, "tools": for_responses(*offered)}
            if not stream:
                return client.responses.create(**ask)
            with client.responses.stream(**ask) as events:
                return events.get_final_response()

        said = turn()
        history += said.output
        calls = [item for item in said.output if item.type == "function_call"]
        assert [call.name for call in calls] == [*offered]
        for call in calls:
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
            history.append(output)
            said = turn()
            history += said.output
        assert said.output_text.endswith("It is cold.")
        history.append({"role": "user", "content": "Thanks."})
        assert turn().output_text == "Yes."
    ran = ["assistant", "tool", "assistant", "tool"]
    check_last(["user", *ran, *["assistant", "tool"] * len(offered), "assistant", "user"])
    outputs = [m["content"] for m in requests[-1].to_openai() if m["role"] == "tool"]
    assert outputs[0] == '{"found":2}'
    assert "down" in outputs[1]


@offering
@piecewise
def test_the_second_turn_of_anthropics_client(
    url: str, offered: tuple[str, ...], stream: bool
) -> None:
    anthropic = module("anthropic")
    history: list[Any] = [{"role": "user", "content": "hi"}]
    with anthropic.Anthropic(base_url=url, api_key="-", max_retries=0, timeout=10) as client:

        def turn() -> Any:
            tools = for_anthropic(*offered)
            ask = {"model": "m", "max_tokens": 9, "messages": history, "tools": tools}
            if not stream:
                return client.messages.create(**ask)
            with client.messages.stream(**ask) as events:
                return events.get_final_message()

        said = turn()
        history.append({"role": "assistant", "content": said.content})
        calls = [block for block in said.content if block.type == "tool_use"]
        assert [call.name for call in calls] == [*offered]
        for call in calls:
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "7"}
            history.append({"role": "user", "content": [result]})
            said = turn()
            history.append({"role": "assistant", "content": said.content})
        assert said.content[-1].text == "It is cold."
        history.append({"role": "user", "content": "Thanks."})
        assert turn().content[0].text == "Yes."
    check_last(["user", *["assistant", "tool"] * len(offered), "assistant", "user"])
