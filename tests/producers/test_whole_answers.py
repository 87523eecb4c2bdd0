"""A whole answer is a producer too: the client gets it as it asked, as a stream or in one piece."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Chunk,
    Finish,
    LLMStream,
    LLMStreamError,
    Message,
    Source,
    Step,
    StreamResult,
    Text,
    UpstreamTruncated,
    Usage,
    accumulate,
    chunks,
    collect,
)
from asgi_llmstream.chunks import Raw
from asgi_llmstream.formats import OpenAIChat, RequestFormat
from asgi_llmstream.message import MessagePart
from asgi_llmstream.testing import Client
from tests.formats.test_every_format import ASK, asking, every_event_stream, hear
from tests.sources import test_sources_google as google
from tests.sources import test_sources_openai as openai
from tests.sources import test_sources_pydantic_ai as pydantic_ai
from tests.support.providers import message_of, module, sse
from tests.support.strategies import SEQUENCES


def own_message() -> Message:
    message = Message()
    message += "Hel"
    message += "lo"
    return message


def completion() -> Any:
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return openai.as_completion(openai.envelope(choices=[choice], object="chat.completion"))


def response(status: str = "completed", **fields: Any) -> Any:
    content = [{"type": "output_text", "text": "Hello", "annotations": []}]
    said = {"type": "message", "id": "m", "role": "assistant", "content": content}
    return module("openai.types.responses").Response.model_construct(
        id="r", object="response", status=status, output=[said], **fields
    )


def anthropics() -> Any:
    return module("anthropic.types").Message.model_validate(
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 2},
        }
    )


def langchains() -> Any:
    return module("langchain_core.messages").AIMessage("Hello")


def googles() -> Any:
    return google.chunk({"text": "Hello"}, reason="STOP")


WHOLES: dict[str, Callable[[], Any]] = {
    "str": lambda: "Hello",
    "bytes": lambda: b"Hello",
    "chunk": lambda: Text("Hello"),
    "message": own_message,
    "completion": completion,
    "completion, dict": lambda: completion().model_dump(),
    "response": response,
    "response, dict": lambda: {"object": "response", **response().model_dump()},
    "anthropic": anthropics,
    "langchain": langchains,
    "google": googles,
}


async def awaited(whole: Any) -> Any:
    return whole


async def yielded(whole: Any) -> AsyncIterator[Any]:
    yield whole


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("whole", WHOLES)
@pytest.mark.parametrize("hand_over", [lambda whole: whole, awaited, yielded])
async def test_a_whole_answer_goes_out_as_the_client_asked(
    whole: str, stream: bool, hand_over: Callable[[Any], Any]
) -> None:
    made = WHOLES[whole]()
    results: list[StreamResult] = []
    app = ChatApp(lambda request: hand_over(made), on_finish=results.append)
    asked = ASK[OpenAIChat] | {"stream": stream}
    answer = await Client(app).request(**asking(OpenAIChat(), asked))
    if stream:
        heard = hear(OpenAIChat(), answer.body)
        assert (heard.said, heard.error) == ("Hello", None)
    else:
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
    assert results[0].outcome == "finished"
    assert results[0].message.finish_reason == "stop"


@pytest.mark.anyio
@every_event_stream
async def test_every_protocol_streams_a_whole_answer(format: RequestFormat) -> None:
    async def answer(request: ChatRequest) -> Any:
        return completion()

    response = await Client(ChatApp(answer)).request(**asking(format))
    heard = hear(format, response.body)
    assert (heard.said, heard.error) == ("Hello", None)


@pytest.mark.anyio
@pytest.mark.parametrize("whole", WHOLES)
async def test_a_whole_answer_is_a_source_and_good_for_many_requests(whole: str) -> None:
    made = WHOLES[whole]()
    turn = accumulate(made)
    assert len([item async for item in turn]) == 1
    assert turn.message.text == "Hello"
    assert Text("Hello") in [chunk async for chunk in chunks(made)]
    stream = Client(LLMStream(made))
    first, second = [(await stream.request("GET", "/")).body for _ in range(2)]
    assert hear(OpenAIChat(), first).said == hear(OpenAIChat(), second).said == "Hello"


@pytest.mark.parametrize(
    "name",
    ["text", "parallel tool calls", "text and then calls", "a refusal", "too long", "filtered"],
)
def test_a_whole_response_says_what_its_stream_said(name: str) -> None:
    streamed = openai.as_events(sse(openai.RESPONSES[name]))
    last: Any = streamed[-1]
    said, whole = message_of(streamed), message_of([last.response])
    assert whole.to_openai() == said.to_openai()
    assert whole.usage == said.usage
    assert (whole.finish_reason, whole.native_finish_reason) == (
        said.finish_reason,
        said.native_finish_reason,
    )


@pytest.mark.parametrize("field", ["summary", "content"])
def test_a_whole_response_has_its_reasoning_and_its_sources(field: str) -> None:
    thought = {"type": "reasoning", "id": "r", field: [{"text": "One."}, {"text": "Two."}]}
    page = {"type": "url_citation", "url": "https://example.org", "title": "Example"}
    text = {"type": "output_text", "text": "Hello", "annotations": [page]}
    said = {"type": "message", "id": "m", "content": [text]}
    message = message_of([{"object": "response", "output": [thought, said], "status": "completed"}])
    assert message.reasoning == "One.\n\nTwo."
    assert message.text == "Hello"
    assert message.sources == [Source("https://example.org", "Example")]


@pytest.mark.anyio
async def test_a_response_that_is_not_there_yet_is_cut_off_and_one_that_failed_an_error() -> None:
    with pytest.raises(UpstreamTruncated):
        await collect(response("in_progress"))
    failed = response("failed", error={"code": "server_error", "message": "secret"})
    with pytest.raises(LLMStreamError):
        await collect(failed)


def test_an_agents_result_says_what_its_events_said() -> None:
    said = message_of(pydantic_ai.events(pydantic_ai.weather_agent()))
    result = pydantic_ai.events(pydantic_ai.weather_agent())[-1].result
    whole = asyncio.run(collect(result))
    assert whole.to_openai() == said.to_openai()
    assert whole.reasoning == said.reasoning
    assert whole.usage == said.usage
    assert whole.finish_reason == said.finish_reason == "stop"


def test_an_agents_result_whose_answer_was_cut_off_is_none() -> None:
    result = pydantic_ai.events(pydantic_ai.weather_agent())[-1].result
    result.response.state = "interrupted"
    with pytest.raises(UpstreamTruncated):
        asyncio.run(collect(result))


def essence(message: Message) -> Any:
    """All but the numbers of steps, and the ids of parts that have none of their own."""
    content = [
        # A call without arguments has "{}" once it is closed.
        (
            item.kind,
            item.text or "{}",
            item.signature,
            item.part.name,
            item.part.kind == "tool_call",
        )
        if isinstance(item, MessagePart)
        else item
        for item in message.content
    ]
    return content, message.usage, message.finish_reason, message.to_openai()


@given(SEQUENCES)
def test_a_message_comes_back_from_its_chunks(sequence: list[Chunk]) -> None:
    message = Message()
    for chunk in sequence:
        if not isinstance(chunk, Raw):
            message += chunk
    again = Message()
    for chunk in message.to_chunks():
        again += chunk
    assert essence(again) == essence(message)


def test_the_steps_of_a_message_are_told() -> None:
    message = Message()
    for chunk in ("one", Step(), "two", Usage(1, 2), Finish("length")):
        message += chunk
    assert [*message.to_chunks()] == [
        Text("one"),
        Step(),
        Text("two"),
        Usage(1, 2),
        Finish("length"),
    ]


@pytest.mark.anyio
async def test_a_dict_that_nobody_knows_is_an_error_and_not_text() -> None:
    with pytest.raises(TypeError, match="cannot stream a dict with password"):
        await collect({"password": "hunter2"})


@pytest.mark.anyio
async def test_a_stored_message_can_be_told_again() -> None:
    stored = json.loads(json.dumps(own_message().to_dict()))
    assert (await collect(Message.from_dict(stored))).text == "Hello"
