"""What hypothesis draws for several tests: requests, chunks, and their order."""

from __future__ import annotations

from hypothesis import strategies as st

from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    Error,
    File,
    Finish,
    Metadata,
    Raw,
    Reasoning,
    Refusal,
    RunBy,
    Source,
    State,
    StateDelta,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.sse import ServerSentEvent

# Requests, nearly.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECT = st.dictionaries(st.text(max_size=4), JSON, max_size=3)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool"]) | JSON,
        "content": st.text(max_size=4) | st.lists(OBJECT, max_size=3) | JSON,
        "tool_calls": JSON,
        "tool_call_id": JSON,
        "name": JSON,
    },
)

# Chunks with texts that are hard to write.

ANY_TEXT = st.text(st.characters() | st.sampled_from("\u2028\u2029\x85\r\n\ud83d"), max_size=6)
ANY_OBJECT = st.dictionaries(ANY_TEXT, st.integers() | ANY_TEXT, max_size=2)
ANY_CHUNK: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(Text, ANY_TEXT),
    st.builds(Reasoning, ANY_TEXT),
    st.builds(Refusal, ANY_TEXT),
    st.builds(ToolCall, st.sampled_from("abc"), st.just("f") | ANY_TEXT, ANY_TEXT),
    st.builds(ToolCallDelta, st.integers(0, 2), st.sampled_from("abc"), st.just("g"), ANY_TEXT),
    st.builds(ToolResult, st.sampled_from("abc"), ANY_TEXT, st.booleans()),
    st.builds(Source, ANY_TEXT, st.none() | ANY_TEXT),
    st.builds(ToolCall, st.just("q"), st.just("rm"), ANY_TEXT, st.just("server")),
    st.builds(Approval, st.just("q"), st.none() | ANY_TEXT),
    st.builds(ToolResult, st.just("q"), st.none() | ANY_TEXT, denied=st.just(True)),
    st.builds(Document, ANY_TEXT, ANY_TEXT, st.none() | ANY_TEXT),
    st.builds(File, ANY_TEXT, ANY_TEXT),
    st.builds(Data, ANY_TEXT, ANY_OBJECT, st.none() | ANY_TEXT, st.booleans()),
    st.builds(Metadata, ANY_OBJECT),
    st.builds(State, ANY_OBJECT),
    st.builds(StateDelta, ANY_TEXT.map(lambda text: [{"op": "test", "path": "", "value": text}])),
    st.builds(Step, st.none() | ANY_TEXT),
    st.builds(Usage, *[st.integers(0, 99)] * 5),
    st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls", "content_filter"])),
)

# Chunks in every order.

SHORT = st.text(max_size=3)
NAMES = st.sampled_from(["f", "g"])
RUN_BY: st.SearchStrategy[RunBy | None] = st.sampled_from([None, "client", "server", "provider"])
IDS = st.none() | st.sampled_from(["a", "b", "c"])
COUNTS = st.integers(0, 100)
VALUES = (
    st.none() | st.integers() | st.text(max_size=3) | st.dictionaries(SHORT, COUNTS, max_size=2)
)

# A call that a human is asked about, and what he decides; in any order, as all of these.
ASKED: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(
        ToolCall,
        st.just("q"),
        NAMES,
        st.dictionaries(SHORT, VALUES),
        st.sampled_from(["server", "provider"]),
    ),
    st.builds(Approval, st.just("q"), st.none() | SHORT),
    st.builds(ToolResult, st.just("q"), st.none(), denied=st.just(True)),
)
OBJECTS = st.dictionaries(st.sampled_from("kl"), VALUES, max_size=2)

SINGLE: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(Text, SHORT),
    st.builds(Reasoning, SHORT),
    st.builds(Refusal, SHORT),
    st.builds(
        ToolCall, st.sampled_from("xyz"), NAMES, SHORT | st.dictionaries(SHORT, VALUES), RUN_BY
    ),
    st.builds(ToolResult, st.sampled_from("abcxyz"), VALUES, st.booleans()),
    st.builds(Source, SHORT, st.none() | SHORT),
    ASKED,
    st.builds(Document, SHORT, SHORT, st.none() | SHORT),
    st.builds(File, SHORT, SHORT),
    st.builds(Data, SHORT, VALUES, st.none() | SHORT, st.booleans()),
    st.builds(Metadata, OBJECTS),
    st.builds(State, OBJECTS),
    st.builds(StateDelta, VALUES.map(lambda value: [{"op": "add", "path": "/k", "value": value}])),
    st.builds(Raw, st.builds(ServerSentEvent, st.none() | SHORT, st.just("own"))),
    st.builds(Step, st.none() | SHORT),
    st.builds(Usage, *[COUNTS] * 5, st.booleans()),
    st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls"]), st.none() | SHORT),
)


@st.composite
def parallel_calls(draw: st.DrawFn) -> list[Chunk]:
    """Calls beside each other: each has its name before anything closes it."""
    indexes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
    chunks: list[Chunk] = []
    for index in indexes:
        call_id, name = draw(IDS), draw(NAMES)
        if draw(st.booleans()):  # the name comes late
            chunks.append(ToolCallDelta(index, call_id, None, draw(SHORT)))
            call_id = None
        chunks.append(ToolCallDelta(index, call_id, name, draw(SHORT), draw(RUN_BY)))
    for index in draw(st.lists(st.sampled_from(indexes), max_size=6)):
        chunks.append(ToolCallDelta(index, arguments=draw(SHORT)))
    return chunks


SEQUENCES = st.lists(SINGLE.map(lambda chunk: [chunk]) | parallel_calls(), max_size=12).flatmap(
    lambda groups: st.just([chunk for group in groups for chunk in group])
)

ENDINGS = st.one_of(
    st.just("finish"),
    st.just("fail"),
    st.just("abort"),
    st.builds(Error, SHORT, SHORT, st.integers(400, 599)),
)
