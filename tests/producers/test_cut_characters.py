"""Characters that are cut in two, by the network or by a model's tokens, arrive whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmstream import (
    Data,
    Finish,
    Message,
    Reasoning,
    Text,
    ToolCallDelta,
    ToolResult,
    Usage,
    accumulate,
    chunks,
    collect,
    encode_stream,
)
from asgi_llmstream.formats import DEFAULT_FORMATS, Format, TextStream
from tests.support.wire import wire

SMILE = "\N{SMILING FACE WITH OPEN MOUTH}"
FIRST, SECOND = "\ud83d", "\ude03"
LOST = "\N{REPLACEMENT CHARACTER}"


async def saying(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def collected(items: Sequence[Any]) -> Message:
    return await collect(saying(items))


async def added(items: Sequence[Any]) -> Message:
    message = Message()
    for item in items:
        message += item
    return message


async def through_chunks(items: Sequence[Any]) -> Message:
    return await collect(chunks(saying(items)))


async def accumulated(items: Sequence[Any]) -> Message:
    answer = accumulate(saying(items))
    heard = await collect(answer)
    assert heard.text == answer.message.text
    return answer.message


WAYS = [collected, added, through_chunks, accumulated]


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_bytes_may_be_cut_anywhere(way: Callable[[Sequence[Any]], Any], size: int) -> None:
    said = f"Tromsø, 東京, {SMILE}."
    raw = said.encode()
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    assert (await way(pieces)).text == said


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_what_leaves_a_text_open_may_stand_inside_a_character(
    way: Callable[[Sequence[Any]], Any],
) -> None:
    first, second = "ø".encode()[:1], bytearray("ø!".encode()[1:])
    message = await way([first, Data("progress", 1), Usage(1, 1), second])
    assert message.text == "ø!"


@pytest.mark.anyio
@pytest.mark.parametrize("way", [collected, through_chunks, accumulated])
@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([b"a\xc3"], "a" + LOST),
        ([b"a\xc3", "b"], f"a{LOST}b"),
        ([b"a\xc3", Text("b"), b"\xb8"], f"a{LOST}b{LOST}"),
        ([b"a\xc3", Finish("stop")], "a" + LOST),
        ([b"a\xff", b"b"], f"a{LOST}b"),
    ],
)
async def test_a_character_that_nothing_completes_is_replaced_where_it_stood(
    way: Callable[[Sequence[Any]], Any], items: Sequence[Any], text: str
) -> None:
    assert (await way(items)).text == text


@pytest.mark.anyio
async def test_every_run_has_a_decoder_of_its_own() -> None:
    assert (await collected([b"a\xc3"])).text == "a" + LOST
    assert (await collected([b"\xb8"])).text == LOST


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_halves_of_a_character_become_one(way: Callable[[Sequence[Any]], Any]) -> None:
    message = await way(["a" + FIRST, SECOND + "b", FIRST, SECOND, "."])
    assert message.text == f"a{SMILE}b{SMILE}."


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_halves_are_joined_in_each_part_by_itself(
    way: Callable[[Sequence[Any]], Any],
) -> None:
    message = await way(
        [
            Reasoning("r" + FIRST),
            Reasoning(SECOND),
            ToolCallDelta(0, "a", "f", '"' + FIRST),
            ToolCallDelta(1, "b", None, '"' + FIRST),
            ToolCallDelta(0, arguments=SECOND + '"'),
            ToolCallDelta(1, None, "g", SECOND),
            ToolCallDelta(1, arguments='"'),
        ]
    )
    assert message.reasoning == "r" + SMILE
    assert [call.arguments for call in message.tool_calls] == [f'"{SMILE}"'] * 2


@pytest.mark.anyio
@pytest.mark.parametrize("format", [*DEFAULT_FORMATS, TextStream()], ids=lambda it: it.route)
async def test_every_format_writes_them_whole_and_what_is_none_replaced(format: Format) -> None:
    async def written(*items: str) -> str:
        stream = encode_stream(saying(items), format=format)
        return b"".join([piece async for piece in stream]).decode()

    whole, lost = await written("a" + FIRST, SECOND), await written("b" + FIRST)
    assert SMILE in whole
    assert LOST not in whole
    assert LOST in lost


HALVES = st.text(st.sampled_from(["a", "ø", SMILE, FIRST, SECOND, "\udbff"]), min_size=1)


@given(pieces=st.lists(HALVES, max_size=6))
def test_what_goes_out_is_the_same_however_it_was_cut(pieces: list[str]) -> None:
    whole = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert wire(TextStream(), *map(Text, pieces)).decode() == whole


@pytest.mark.anyio
async def test_half_a_character_in_an_id_or_a_name_never_reaches_the_next_request() -> None:
    message = await collected(
        [
            ToolCallDelta(0, "call" + FIRST, "f" + FIRST, "{}", signature="s" + FIRST),
            ToolResult("call" + FIRST, {"k" + FIRST: FIRST}),
        ]
    )
    for history in (message.to_openai(), message.to_anthropic()):
        json.dumps(history, ensure_ascii=False).encode()
    said, result = message.to_openai()
    assert said["tool_calls"][0]["id"] == result["tool_call_id"] == "call" + LOST
