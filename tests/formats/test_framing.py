"""No text can break out of the event that it stands in, in any order of chunks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream.chunks import Chunk, Error, Reasoning, Refusal, Text, ToolCall
from asgi_llmstream.errors import LLMStreamError
from asgi_llmstream.formats import Events, Format, OpenAIChat
from asgi_llmstream.lifecycle import Lifecycle
from tests.support.strategies import ANY_CHUNK, ANY_TEXT
from tests.support.wire import ESCAPES, events_of, wire


@pytest.mark.parametrize(("text", "escaped"), ESCAPES, ids=ascii)
@pytest.mark.parametrize("make", [Text, Reasoning, Refusal])
def test_no_text_can_cut_the_line_that_it_stands_in(
    make: Callable[[str], Chunk], text: str, escaped: bytes
) -> None:
    assert b':"' + escaped + b'"}' in wire(OpenAIChat(), make(text))
    assert b'"text":"' + escaped + b'"}\n\n' in wire(Events(), make(text))


@pytest.mark.parametrize(("text", "escaped"), ESCAPES, ids=ascii)
def test_neither_can_a_models_name_a_tools_or_an_errors(text: str, escaped: bytes) -> None:
    lifecycle = Lifecycle(id="run", created=1, model=text)
    events = [
        *lifecycle.start(),
        *lifecycle.feed(ToolCall("a", text, text)),
        *lifecycle.fail(LLMStreamError(text, code=text, param=text)),
    ]
    for format in (OpenAIChat(), Events()):
        encode = format.encoder()
        stream = b"".join(encode(event) for event in events)
        assert stream.count(escaped) >= 5
        for line in stream.decode().splitlines():
            assert line == "" or line.startswith(("data: ", "id: ", "event: "))


ANY_CHUNKS = st.lists(ANY_CHUNK, max_size=10)
ANY_END = st.just([]) | st.builds(Error, ANY_TEXT, ANY_TEXT).map(lambda error: [error])
FORMATS = st.one_of(
    st.builds(Events, retry=st.none() | st.integers(0, 10**5)),
    st.builds(
        OpenAIChat,
        include_usage=st.booleans(),
        reasoning_field=st.sampled_from(["reasoning", "reasoning_content"]),
        done_after_error=st.booleans(),
    ),
)


@settings(deadline=None)
@given(FORMATS, ANY_CHUNKS, ANY_END)
def test_the_same_chunks_ids_and_time_give_the_same_bytes(
    format: Format, chunks: list[Chunk], end: list[Chunk]
) -> None:
    first, second = wire(format, *chunks, *end), wire(format, *chunks, *end)
    assert first == second
    assert b"chatcmpl-run" in first or b"id: run:1\n" in first


@settings(deadline=None, max_examples=200)
@given(FORMATS, ANY_CHUNKS, ANY_END)
def test_every_event_is_framed_so_that_no_known_client_chokes_on_it(
    format: Format, chunks: list[Chunk], end: list[Chunk]
) -> None:
    encode = format.encoder()
    events = events_of(*chunks, *end)
    for event in events:
        written = encode(event)
        if not written:
            continue
        text = written.decode()  # UTF-8, surrogates and all
        assert text.endswith("\n\n")
        for block in text[:-2].split("\n\n"):
            # Also for clients that split with `splitlines`, and each block has data.
            names = [line.partition(": ")[0] for line in block.splitlines()]
            assert names[-1] == "data"
            assert names.count("data") == 1
            assert set(names) <= {"id", "event", "retry", "data"}
            payload = block.splitlines()[-1].removeprefix("data: ")
            assert payload == "[DONE]" or isinstance(json.loads(payload), dict)
