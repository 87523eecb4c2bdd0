"""`accumulate`: chunks pass through unchanged, and the message is there at the end."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from asgi_llmstream import LLMStream, LLMStreamError, StreamResult, collect
from asgi_llmstream.chunks import Error, Finish, Step, Text, ToolCall, ToolResult, Usage
from asgi_llmstream.message import MessageToolCall
from asgi_llmstream.producers.accumulate import accumulate
from asgi_llmstream.testing import Client, settle
from tests.support.shapes import SHAPES, WORDS, Log

pytestmark = pytest.mark.anyio


class Source:
    """An async iterable that notes how it was used."""

    def __init__(self, *items: object) -> None:
        self.items = items
        self.notes: list[str] = []

    async def __aiter__(self) -> AsyncIterator[object]:
        try:
            for item in self.items:
                yield item
        finally:
            self.notes.append("ended")

    async def close(self) -> None:
        await anyio.lowlevel.checkpoint()  # works also after a cancellation
        self.notes.append("closed")


async def test_chunks_pass_unchanged_and_the_message_builds_up_meanwhile() -> None:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "lo"}}]}
    items = ["Hel", chunk, Finish("length"), Usage(1, 2)]
    answer = accumulate(Source(*items))
    seen, texts = [], []
    async for item in answer:
        seen.append(item)
        texts.append(answer.message.text)
    assert [id(item) for item in seen] == [id(item) for item in items]
    assert texts == ["Hel", "Hello", "Hello", "Hello"]
    assert (answer.message.finish_reason, answer.message.usage) == ("length", Usage(1, 2))


def as_iterable(source: Source) -> Any:
    return source


async def as_awaitable(source: Source) -> Any:
    await anyio.lowlevel.checkpoint()
    return source


def as_function(source: Source) -> Any:
    return lambda: source


class as_context_manager:
    """As `client.messages.stream(...)` is one."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def __aenter__(self) -> Source:
        return self.source

    async def __aexit__(self, *raised: object) -> None:
        self.source.notes.append("left")


@pytest.mark.parametrize("shape", [as_iterable, as_awaitable, as_function, as_context_manager])
async def test_whatever_a_stream_can_be_made_of_is_opened_read_and_closed(shape: Any) -> None:
    source = Source("a", "b")
    answer = accumulate(shape(source))
    assert [item async for item in answer] == ["a", "b"]
    assert answer.message.text == "ab"
    left = ["left"] if shape is as_context_manager else []
    assert source.notes == ["ended", "closed", *left]


async def test_a_sync_generator_is_a_source_too() -> None:
    def produce() -> Iterator[str]:
        yield "a"
        yield "b"

    answer = accumulate(produce())
    assert [item async for item in answer] == ["a", "b"]
    assert answer.message.text == "ab"


async def test_closing_the_answer_closes_its_source() -> None:
    source = Source("a", "b")
    async with aclosing(accumulate(source)) as answer:
        async for _item in answer:
            break
    assert source.notes == ["ended", "closed"]
    assert answer.message.text == "a"


# trio closes it too, but warns that it should have been done in time.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaving_the_loop_and_dropping_the_answer_closes_its_source_without_a_cycle() -> None:
    source = Source("a", "b")
    gc.disable()
    try:
        answer = accumulate(source)
        async for _item in answer:
            break
        del answer
        await anyio.wait_all_tasks_blocked()
    finally:
        gc.enable()
    assert "ended" in source.notes


async def test_an_answer_that_is_closed_before_its_first_step_leaves_no_coroutine_unawaited() -> (
    None
):
    source = Source("a")
    answer = accumulate(as_awaitable(source))
    await answer.aclose()
    await answer.aclose()
    assert [item async for item in answer] == []
    assert source.notes == []


async def test_a_cancelled_answer_closes_its_source_before_it_lets_go() -> None:
    class Stuck(Source):
        async def __aiter__(self) -> AsyncIterator[object]:
            yield "a"
            await anyio.sleep_forever()

    source = Stuck()
    answer = accumulate(source)
    with anyio.CancelScope() as scope:
        async for _item in answer:
            scope.cancel()
    assert source.notes == ["closed"]
    assert answer.message.text == "a"


async def test_what_the_source_raises_comes_through_after_it_was_closed() -> None:
    class Broken(Source):
        async def __aiter__(self) -> AsyncIterator[object]:
            yield "half"
            raise LLMStreamError("broken")

    source = Broken()
    answer = accumulate(source)
    with pytest.raises(LLMStreamError, match="broken"):
        async for _item in answer:
            pass
    assert source.notes == ["closed"]
    assert (answer.message.text, answer.message.finish_reason) == ("half", None)


async def test_an_error_chunk_passes_and_ends_the_answer() -> None:
    source = Source("half", Error("broken"), Error("again"), "more")
    answer = accumulate(source)
    assert [item async for item in answer] == ["half", Error("broken")]
    assert source.notes == ["ended", "closed"]
    assert answer.message.text == "half"


async def test_a_chunk_that_nobody_knows_is_a_type_error_and_closes_the_source() -> None:
    source = Source("a", 5)
    answer = accumulate(source)
    with pytest.raises(TypeError, match="cannot stream int"):
        async for _item in answer:
            pass
    assert source.notes == ["ended", "closed"]


async def test_nothing_to_iterate_over_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="cannot stream from int"):
        async for _item in accumulate(5):  # type: ignore[arg-type]
            pass


async def test_what_is_thrown_into_the_answer_lands_in_the_source() -> None:
    caught: list[BaseException] = []

    async def patient() -> AsyncIterator[str]:
        try:
            yield "a"
        except ValueError as error:
            caught.append(error)
            yield "b"

    chunks: Any = aiter(accumulate(patient()))
    assert await anext(chunks) == "a"
    error = ValueError("for the source")
    assert await chunks.athrow(error) == "b"
    assert caught == [error]
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


async def test_a_timeout_that_the_source_holds_while_the_answer_is_read_is_its_own() -> None:
    async def impatient() -> AsyncIterator[str]:
        with anyio.move_on_after(0.01):
            yield "a"
            await anyio.sleep_forever()
        yield "b"

    answer = accumulate(impatient())
    assert (await collect(answer)).text == "ab"
    assert answer.message.text == "ab"


async def test_an_agents_loop_has_each_models_answer_for_the_next_step() -> None:
    histories: list[Any] = []

    def model(history: list[Any]) -> Source:
        histories.append([*history])
        if len(history) > 1:
            return Source("It rains.", Finish("stop"))
        return Source(
            "I look.", ToolCall("call_a", "weather", {"city": "Oslo"}), Finish("tool_calls")
        )

    async def agent() -> AsyncIterator[object]:
        history: list[Any] = [{"role": "user", "content": "hi"}]
        while True:
            answer = accumulate(model(history))
            async for chunk in answer:
                yield chunk
            if not answer.message.tool_calls:
                return
            for call in answer.message.tool_calls:
                result = ToolResult(call.id, {"rain": True})
                answer.message += result
                yield result
            history += answer.message.to_openai()
            yield Step()

    message = await collect(agent())
    assert message.text == "I look.It rains."
    assert message.tool_calls == [MessageToolCall("call_a", "weather", '{"city":"Oslo"}')]
    assert histories[1][1:] == message.to_openai()[:2]
    assert [said["role"] for said in message.to_openai()] == ["assistant", "tool", "assistant"]


async def test_an_answer_is_a_producer_itself() -> None:
    answer = accumulate(Source("a", Text("b")))
    assert (await collect(answer)).text == answer.message.text == "ab"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", range(1, len(WORDS) + 1))
async def test_every_shape_is_closed_once_wherever_the_answer_is_left(shape: str, cut: int) -> None:
    make, closes = SHAPES[shape]
    log = Log()
    seen = []
    async with aclosing(accumulate(make(log))) as answer:
        async for item in answer:
            seen.append(item)
            if len(seen) == cut:
                break
    await settle()
    assert log.closed == closes
    assert answer.message.text == "".join(WORDS[:cut])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", range(1, len(WORDS)))
async def test_every_shape_is_closed_once_wherever_the_client_leaves_an_agent(
    shape: str, cut: int
) -> None:
    make, closes = SHAPES[shape]
    log = Log()

    async def agent() -> AsyncIterator[Any]:
        async with aclosing(accumulate(make(log))) as answer:
            async for chunk in answer:
                yield chunk

    results: list[StreamResult] = []
    stream = LLMStream(agent(), on_finish=results.append)
    async with Client(stream).stream("GET", "/") as response:
        response.disconnect_after(cut)
        await response.returned()
    assert log.closed == closes
    assert "".join(WORDS).startswith(results[0].message.text)
