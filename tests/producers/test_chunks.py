"""`chunks`: any provider's stream, as chunks to look at, change or leave out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from asgi_llmstream import (
    Chunk,
    Error,
    Finish,
    Message,
    Reasoning,
    Text,
    UpstreamTruncated,
    Usage,
    chunks,
    collect,
)
from asgi_llmstream.chunks import Native, Upstream
from tests.sources.test_truncation import Whole, chat, says, streams
from tests.support.shapes import SHAPES, Log

pytestmark = pytest.mark.anyio

ANSWER = [chat("c", says("Hel")), chat("c"), chat("c", says("lo")), chat("c", says(reason="stop"))]


async def of(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def only_text(source: Any) -> AsyncIterator[Chunk]:
    async for chunk in chunks(source):
        match chunk:
            case Text():
                yield chunk


async def without_reasoning(source: Any) -> AsyncIterator[Chunk]:
    async for chunk in chunks(source):
        match chunk:
            case Reasoning():
                pass
            case _:
                yield chunk


@pytest.mark.parametrize("stream", [*streams()])
def test_every_providers_stream_becomes_chunks_that_make_the_same_message(
    stream: Callable[[], Whole],
) -> None:
    items, _ = stream()
    assert fields(whole(chunks(of(items)))) == fields(whole(of(items)))


def whole(producer: Any) -> Message:
    return anyio.run(collect, producer)


def fields(message: Message) -> Any:
    """All of it but what names the run, and when it was."""
    text = json.dumps(message.to_dict() | {"created": 0, "completed": 0})
    return json.loads(text.replace(message.id, "run"))


@pytest.mark.parametrize("filtered", [only_text, without_reasoning])
@pytest.mark.parametrize("stream", [*streams()])
def test_an_answer_that_was_cut_off_is_none_whatever_a_filter_drops(
    stream: Callable[[], Whole], filtered: Any
) -> None:
    items, ends = stream()
    last = next(number for number, item in enumerate(items) if ends(item))
    whole(filtered(of(items)))
    for cut in {last // 2, last} - {0}:
        with pytest.raises(UpstreamTruncated):
            whole(filtered(of(items[:cut])))


async def test_a_filter_that_is_left_early_says_so_or_its_answer_is_cut_off() -> None:
    async def first(*also: Chunk) -> AsyncIterator[Chunk]:
        async with aclosing(chunks(of(ANSWER))) as stream:
            async for chunk in stream:
                yield chunk
                if isinstance(chunk, Text):
                    break
        for chunk in also:
            yield chunk

    with pytest.raises(UpstreamTruncated):
        await collect(first())
    assert (await collect(first(Finish("stop")))).text == "Hel"


async def test_notes_stand_where_an_answer_begins_and_ends_and_never_inside_a_text() -> None:
    seen = [type(chunk) async for chunk in chunks(of([*ANSWER, *ANSWER]))]
    once = [Upstream, Text, Text, Upstream, Finish]
    assert seen == once + once


async def test_of_two_answers_beside_each_other_the_end_of_one_is_not_the_others() -> None:
    async def both() -> AsyncIterator[Chunk]:
        async with aclosing(chunks(of(ANSWER))) as left, aclosing(chunks(of(ANSWER))) as whole:
            yield await anext(left)
            async for chunk in whole:
                if not isinstance(chunk, Finish):
                    yield chunk

    with pytest.raises(UpstreamTruncated):
        await collect(both())


async def test_a_providers_own_fields_do_not_slip_by_a_filter() -> None:
    said = chat("c", says("secret") | {"logprobs": {"content": ["secret"]}})
    seen = [chunk async for chunk in chunks(of([said, ANSWER[-1]]))]
    assert not any(isinstance(chunk, Native) for chunk in seen)


async def test_text_and_chunks_of_ours_come_as_chunks() -> None:
    assert [c async for c in chunks(of(["Hel", Usage(1)]))] == [Text("Hel"), Usage(1)]


async def test_an_error_is_the_last_chunk() -> None:
    log = Log()

    async def source() -> AsyncIterator[Any]:
        try:
            yield Error("no")
            yield "never"
        finally:
            log("source")

    assert [c async for c in chunks(source())] == [Error("no")]
    assert log.closed == ["source"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", [1, 2])
async def test_every_shape_of_source_is_closed_once_where_the_loop_is_left(
    shape: str, cut: int
) -> None:
    make, closed = SHAPES[shape]
    log = Log()
    async with aclosing(chunks(make(log))) as stream:
        for _ in range(cut):
            await anext(stream)
    assert log.closed == closed


async def test_what_is_thrown_in_lands_in_the_source_and_the_items_other_chunks_still_come() -> (
    None
):
    caught = []

    async def source() -> AsyncIterator[Any]:
        try:
            yield {"choices": [{"delta": {"reasoning": "Hm.", "content": "Hel"}}]}
        except KeyError as error:
            caught.append(error)
        yield "lo"
        yield Finish()

    stream = chunks(source())
    assert isinstance(await anext(stream), Upstream)
    assert await anext(stream) == Reasoning("Hm.")
    assert await stream.athrow(KeyError("x")) == Text("Hel")
    assert caught
    assert await anext(stream) == Text("lo")
    await stream.aclose()


async def test_a_timeout_that_the_source_holds_is_its_own() -> None:
    async def source() -> AsyncIterator[Any]:
        with anyio.move_on_after(0.01):
            yield "Hel"
            await anyio.sleep_forever()
        yield "lo"

    async def passed_on() -> AsyncIterator[Chunk]:
        async with aclosing(chunks(source())) as stream:
            async for chunk in stream:
                yield chunk

    assert (await collect(passed_on())).text == "Hello"
