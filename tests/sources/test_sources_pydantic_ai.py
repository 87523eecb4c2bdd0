"""Pydantic AI's events, of a real agent whose model is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from asgi_llmstream import collect
from asgi_llmstream.chunks import (
    Approval,
    Finish,
    Reasoning,
    Text,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.message import Message
from asgi_llmstream.producers.accumulate import accumulate
from tests.support.providers import (
    message_of,
    module,
    ran_by_provider,
    read,
    through_openai,
)


def agent(*replies: list[Any], **settings: Any) -> Any:
    """An agent whose model says the next of `replies` at each call."""
    function = module("pydantic_ai.models.function")
    said = iter(replies)

    async def speak(messages: Any, info: Any) -> AsyncIterator[Any]:
        for delta in next(said):
            yield delta

    model = function.FunctionModel(stream_function=speak)
    return module("pydantic_ai").Agent(model, **settings)


def weather_agent() -> Any:
    function = module("pydantic_ai.models.function")
    thought, call = function.DeltaThinkingPart, function.DeltaToolCall
    made = agent(
        [
            {0: thought(content="Let me ")},
            {0: thought(content="see.")},
            {1: call(name="weather", json_args='{"city":', tool_call_id="call_a")},
            {2: call(name="broken", json_args="{}", tool_call_id="call_b")},
            {1: call(json_args='"Oslo"}')},
        ],
        ["It ", "rains."],
    )

    @made.tool_plain  # type: ignore[untyped-decorator]
    def weather(city: str) -> dict[str, object]:
        return {"city": city, "rain": True}

    @made.tool_plain(retries=2)  # type: ignore[untyped-decorator]
    def broken() -> str:
        raise module("pydantic_ai").ModelRetry("Try again.")

    return made


def events(agent: Any) -> list[Any]:
    async def run() -> list[Any]:
        async with agent.run_stream_events("hi") as stream:
            return [event async for event in stream]

    return asyncio.run(run())


def responses(result: Any) -> list[Any]:
    """The model's answers, as Pydantic AI itself put them together."""
    return [m for m in result.all_messages() if m.kind == "response"]


def test_a_run_becomes_the_message_that_the_agent_makes_of_it() -> None:
    seen = events(weather_agent())
    result = seen[-1].result
    message = message_of(seen)
    parts = [part for response in responses(result) for part in response.parts]
    assert message.text == result.output == "It rains."
    assert message.reasoning == parts[0].content == "Let me see."
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == [
        (part.tool_call_id, part.tool_name, part.args)
        for part in parts
        if part.part_kind == "tool-call"
    ]
    # The tools run beside each other: whose result is first is chance.
    assert sorted(message.tool_results, key=lambda result: result.id) == [
        ToolResult("call_a", {"city": "Oslo", "rain": True}),
        ToolResult("call_b", "Try again.", error=True),
    ]
    assert message.usage == Usage(result.usage.input_tokens, result.usage.output_tokens)
    assert message.usage.output_tokens > 0
    assert message.finish_reason == "stop"


def test_what_the_cache_had_a_part_in_is_counted() -> None:
    seen = events(weather_agent())
    used = seen[-1].result.usage
    used.cache_read_tokens, used.cache_write_tokens = 4, 5
    usage = message_of(seen).usage
    assert usage is not None
    assert (usage.cached_tokens, usage.cache_write_tokens) == (4, 5)


def test_each_answer_of_the_model_is_a_step_of_its_own() -> None:
    history = message_of(events(weather_agent())).to_openai()
    assert [message["role"] for message in history] == ["assistant", "tool", "tool", "assistant"]


def test_the_openai_client_accumulates_what_the_agent_said() -> None:
    completion = through_openai(events(weather_agent()))
    choice = completion.choices[0]
    assert choice.message.content == "It rains."
    assert [call.function.arguments for call in choice.message.tool_calls] == [
        '{"city":"Oslo"}',
        "{}",
    ]
    assert choice.finish_reason == "stop"
    assert completion.usage.completion_tokens > 0


def test_a_run_can_be_handed_over_as_it_is() -> None:
    whole = asyncio.run(collect(weather_agent().run_stream_events("hi")))
    assert whole.text == "It rains."

    async def accumulated() -> Message:
        answer = accumulate(lambda: weather_agent().run_stream_events("hi"))
        assert len([event async for event in answer]) > 5
        return answer.message

    assert asyncio.run(accumulated()).text == "It rains."


def test_output_that_comes_as_a_tool_call_is_answered_by_the_runs_end() -> None:
    call = module("pydantic_ai.models.function").DeltaToolCall
    arguments = '{"response": {"a": 1}}'
    replies = [{0: call(name="final_result", json_args=arguments, tool_call_id="call_a")}]
    made = agent(replies, output_type=dict[str, int])
    message = message_of(events(made))
    assert [result.id for result in message.tool_results] == ["call_a"]
    assert message.finish_reason == "stop"


def test_signatures_are_kept_if_they_are_anthropics() -> None:
    messages = module("pydantic_ai.messages")

    def thought(provider: str | None) -> list[Any]:
        delta = messages.ThinkingPartDelta(signature_delta="sig", provider_name=provider)
        return [
            messages.PartStartEvent(index=1, part=messages.ThinkingPart("Hm.")),
            messages.PartDeltaEvent(index=1, delta=delta),
        ]

    assert [read(event) for event in thought("anthropic")] == [
        [Reasoning("Hm.")],
        [Reasoning("", "sig")],
    ]
    assert read(thought("openai")[1]) == [Reasoning("")]


def test_a_tool_that_the_provider_runs_is_nobodys_to_answer() -> None:
    messages = module("pydantic_ai.messages")
    call = messages.NativeToolCallPart("web_search", None, tool_call_id="srv_1")
    piece = messages.ToolCallPartDelta(args_delta='{"query": "x"}', tool_call_id="srv_1")
    found = messages.NativeToolReturnPart("web_search", [], tool_call_id="srv_1")
    message = message_of(
        [
            messages.PartStartEvent(index=0, part=call),
            messages.PartDeltaEvent(index=0, delta=piece),
            messages.PartStartEvent(index=1, part=found),
            messages.PartStartEvent(index=2, part=messages.TextPart("Found.")),
        ]
    )
    assert (message.text, message.tool_calls) == ("Found.", [])
    assert ran_by_provider(message) == [("srv_1", "web_search", '{"query": "x"}')]
    assert message.tool_results == [ToolResult("srv_1", [])]


def test_arguments_that_come_as_an_object_become_json() -> None:
    messages = module("pydantic_ai.messages")
    part = messages.ToolCallPart("f", {"x": "ø"}, tool_call_id="a")
    event = messages.PartStartEvent(index=1, part=part)
    assert read(event) == [ToolCallDelta(1, "a", "f", '{"x":"ø"}')]


def test_how_the_last_answer_ended_is_how_the_run_did() -> None:
    made = agent(["And then"])
    run = events(made)[-1]
    responses(run.result)[-1].finish_reason = "length"
    assert read(run)[-1] == Finish("length", "length")
    responses(run.result)[-1].finish_reason = "content_filter"
    assert read(run)[-1] == Finish("content_filter", "content_filter")


def test_events_of_other_kinds_say_nothing() -> None:
    messages = module("pydantic_ai.messages")
    assert read(messages.FinalResultEvent(tool_name=None, tool_call_id=None)) == []
    part = messages.TextPart("all of it")
    assert read(messages.PartEndEvent(index=0, part=part)) == []
    assert read(messages.FunctionToolCallEvent(messages.ToolCallPart("f"))) == []
    delta = messages.PartDeltaEvent(index=0, delta=messages.TextPartDelta("more"))
    assert read(delta) == [Text("more")]


def test_a_run_that_waits_for_approvals_asks_for_them_and_goes_on_with_the_answers() -> None:
    function, tools = module("pydantic_ai.models.function"), module("pydantic_ai.tools")
    call = function.DeltaToolCall
    replies: list[list[Any]] = [
        [
            {0: call(name="delete", json_args='{"path":"x"}', tool_call_id="call_a")},
            {1: call(name="delete", json_args='{"path":"y"}', tool_call_id="call_b")},
        ],
        ["Done."],
    ]
    made = agent(*replies, output_type=[str, tools.DeferredToolRequests])

    @made.tool_plain(requires_approval=True)  # type: ignore[untyped-decorator]
    def delete(path: str) -> str:
        return f"{path} is gone"

    seen = events(made)
    waiting = message_of(seen)
    assert waiting.approvals == [Approval("call_a"), Approval("call_b")]
    assert message_of([seen[-1].result]).approvals == waiting.approvals

    decided = {"call_a": True, "call_b": tools.ToolDenied("Not now.")}
    answers = tools.DeferredToolResults(approvals=decided)
    history = seen[-1].result.all_messages()

    async def run() -> list[Any]:
        going_on = made.run_stream_events(message_history=history, deferred_tool_results=answers)
        async with going_on as stream:
            return [event async for event in stream]

    done = message_of(asyncio.run(run()))
    assert done.text == "Done."
    assert sorted(done.tool_results, key=lambda result: result.id) == [
        ToolResult("call_a", "x is gone"),
        ToolResult("call_b", "Not now.", denied=True),
    ]
