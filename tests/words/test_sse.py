"""`ServerSentEvent` byte by byte, and what conforming parsers make of it."""

from __future__ import annotations

import pickle
import re
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgi_llmstream.sse import HEARTBEAT, Decoder, ServerSentEvent, last_event_id


class Dispatched(NamedTuple):
    type: str
    data: str
    last_event_id: str


class Parser:
    """The algorithm of WHATWG HTML section 9.2.6, step by step."""

    def __init__(self) -> None:
        self.dispatched: list[Dispatched] = []
        self.reconnection_time: int | None = None
        self._data = self._type = self._id = ""

    def parse(self, stream: bytes) -> list[Dispatched]:
        text = stream.decode("utf-8").removeprefix("\ufeff")
        *lines, _incomplete = re.split(r"\r\n|\r|\n", text)
        for line in lines:
            if line:
                self._field(*line.partition(":"))
            else:
                self._dispatch()
        return self.dispatched

    def _field(self, name: str, colon: str, value: str) -> None:
        if colon and not name:
            return  # a comment
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data += value + "\n"
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.reconnection_time = int(value)

    def _dispatch(self) -> None:
        if self._data:
            event = Dispatched(self._type or "message", self._data.removesuffix("\n"), self._id)
            self.dispatched.append(event)
        self._data = self._type = ""


def parse(stream: bytes) -> list[Dispatched]:
    return Parser().parse(stream)


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (ServerSentEvent("hello"), b"data: hello\n\n"),
        (ServerSentEvent(), b""),
        (ServerSentEvent(""), b"data: \n\n"),
        (ServerSentEvent(" padded "), b"data:  padded \n\n"),
        (ServerSentEvent("a\nb"), b"data: a\ndata: b\n\n"),
        (ServerSentEvent("a\rb"), b"data: a\ndata: b\n\n"),
        (ServerSentEvent("a\r\nb"), b"data: a\ndata: b\n\n"),
        (ServerSentEvent("a\n\rb"), b"data: a\ndata: \ndata: b\n\n"),
        (ServerSentEvent("\r\n"), b"data: \ndata: \n\n"),
        (ServerSentEvent("a\n\n"), b"data: a\ndata: \ndata: \n\n"),
        (ServerSentEvent("a\0b"), b"data: a\0b\n\n"),
        (ServerSentEvent("\ufeff"), b"data: \xef\xbb\xbf\n\n"),
        (ServerSentEvent("Tromsø 🌈"), b"data: Troms\xc3\xb8 \xf0\x9f\x8c\x88\n\n"),
        # Line ends for Python, not for SSE.
        (ServerSentEvent("a\x0b\x0c\x85\u2028b"), b"data: a\x0b\x0c\xc2\x85\xe2\x80\xa8b\n\n"),
        (ServerSentEvent("half an emoji \ud83d"), b"data: half an emoji ?\n\n"),
        (ServerSentEvent("x", "update"), b"event: update\ndata: x\n\n"),
        (ServerSentEvent("x", "größer: ja"), b"event: gr\xc3\xb6\xc3\x9fer: ja\ndata: x\n\n"),
        (ServerSentEvent("x", ""), b"data: x\n\n"),
        (ServerSentEvent("x", id="7"), b"id: 7\ndata: x\n\n"),
        (ServerSentEvent("x", id=""), b"id: \ndata: x\n\n"),
        (ServerSentEvent("x", retry=0), b"retry: 0\ndata: x\n\n"),
        # Without data it is no event, and a block that has none breaks clients.
        (ServerSentEvent(retry=3000), b""),
        (ServerSentEvent(event="ready", id="7"), b""),
        (ServerSentEvent(comment="a\r\nb", event="ready"), b": a\n: b\n"),
        (ServerSentEvent("x", comment="a\u2028data: b"), b": a\n: data: b\ndata: x\n\n"),
        (ServerSentEvent("", "ready"), b"event: ready\ndata: \n\n"),
        (
            ServerSentEvent("a\nb", "e", "7", 10),
            b"id: 7\nevent: e\nretry: 10\ndata: a\ndata: b\n\n",
        ),
    ],
)
def test_an_event_is_written_exactly_like_this(event: ServerSentEvent, encoded: bytes) -> None:
    assert event.encode() == encoded


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb", "a\0b", "\n", "\0", "a\n\ndata: x"])
def test_a_line_end_or_nul_in_event_or_id_is_a_value_error(field: str, value: str) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=f"^{field} must not contain CR, LF or NUL"):
        ServerSentEvent("x", **fields)


@pytest.mark.parametrize("value", ["é", "\uff17", "a\u2028"])
def test_an_id_that_is_not_ascii_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"^id must be ASCII"):
        ServerSentEvent("x", id=value)


def test_a_negative_retry_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^retry must not be negative: -1"):
        ServerSentEvent("x", retry=-1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", b"x"),
        ("data", {"a": 1}),
        ("event", b"x"),
        ("event", 1),
        ("id", 7),
        ("id", b"7"),
        ("retry", "10"),
        ("retry", 1.5),
        ("retry", True),
        ("comment", 1),
    ],
)
def test_a_field_of_another_type_is_a_type_error_that_names_it(field: str, value: object) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(TypeError, match=f"^{field} must be an? (str|int), not "):
        ServerSentEvent(**fields)


INJECTIONS = [
    "x\nevent: evil",
    "x\r\nid: evil",
    "x\rretry: 1",
    "x\n\ndata: evil",
    "x\r\r: evil",
    "event: evil",
    ": evil",
    "x\n\n\n",
]


@pytest.mark.parametrize("data", INJECTIONS)
def test_data_can_create_no_other_field_and_no_other_event(data: str) -> None:
    parser = Parser()
    events = parser.parse(ServerSentEvent(data, "mine", "1").encode())
    assert [(event.type, event.last_event_id) for event in events] == [("mine", "1")]
    assert events[0].data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert parser.reconnection_time is None


def test_the_heartbeat_is_one_comment_line_and_dispatches_nothing() -> None:
    assert HEARTBEAT == b": ping\n"
    assert parse(HEARTBEAT * 3) == []
    event = ServerSentEvent("x", "e", "1").encode()
    assert parse(event + HEARTBEAT + event) == parse(event + event)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"host", b"x")], None),
        ([(b"last-event-id", b"run:7")], "run:7"),
        ([(b"Last-Event-ID", b"7")], "7"),
        ([(b"host", b"x"), (b"last-event-id", b"")], ""),
        ([(b"last-event-id", "ü".encode())], "ü"),
        ([(b"last-event-id", b"\xff")], "\ufffd"),
        ([(b"x-last-event-id", b"7")], None),
    ],
)
def test_last_event_id_is_read_from_the_headers(
    headers: list[tuple[bytes, bytes]], expected: str | None
) -> None:
    assert last_event_id(headers) == expected


# Round trips


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=8)
DATA = st.lists(
    LINE | st.sampled_from(["\r", "\n", "\r\n", " ", ":", "data:", "event: x", "\0", "\ufeff"]),
    max_size=6,
).map("".join)
EVENTS = st.builds(
    ServerSentEvent,
    DATA,
    st.none() | LINE,
    st.none() | st.text(st.characters(max_codepoint=127, exclude_characters="\r\n\0"), max_size=5),
    st.none() | st.integers(0, 10**6),
)


def _expected(events: list[ServerSentEvent]) -> list[Dispatched]:
    last_id, expected = "", []
    for event in events:
        last_id = last_id if event.id is None else event.id
        data = event.data.replace("\r\n", "\n").replace("\r", "\n")
        expected.append(Dispatched(event.event or "message", data, last_id))
    return expected


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=5))
def test_a_conforming_parser_reads_back_what_was_written(events: list[ServerSentEvent]) -> None:
    parser = Parser()
    assert parser.parse(b"".join(e.encode() + HEARTBEAT for e in events)) == _expected(events)
    retries = [event.retry for event in events if event.retry is not None]
    assert parser.reconnection_time == (retries[-1] if retries else None)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=5))
def test_httpx_sse_reads_back_what_was_written(events: list[ServerSentEvent]) -> None:
    decoders = pytest.importorskip("httpx_sse._decoders")
    lines, decoder = decoders.SSELineDecoder(), decoders.SSEDecoder()
    stream = b"".join(event.encode() for event in events).decode()
    read = [sse for line in lines.decode(stream) if (sse := decoder.decode(line)) is not None]
    assert [Dispatched(sse.event, sse.data, sse.id) for sse in read] == _expected(events)
    assert [sse.retry for sse in read] == [event.retry for event in events]


STREAM_PIECES = st.lists(
    st.sampled_from([b"data: a", b": c", b"\r", b"\n", b"\r\n", b"id", b"\xef\xbb\xbf", b""])
)


@settings(deadline=None)
@given(pieces=STREAM_PIECES)
@example(pieces=[b"data: a", b"\r\n", b"\n"])
def test_boundaries_do_not_depend_on_how_a_stream_is_cut(pieces: list[bytes]) -> None:
    whole, cut, bytewise, skipping = Decoder(), Decoder(), Decoder(), Decoder()
    stream = b"".join(pieces)
    events = whole.feed(stream)
    assert [event for piece in pieces for event in cut.feed(piece)] == events
    for byte in stream:
        bytewise.feed(bytes([byte]))
        skipping.skip(bytes([byte]))
        assert bytewise.between_events is skipping.between_events
    assert whole.between_events is cut.between_events is bytewise.between_events


def test_who_only_looks_for_boundaries_keeps_one_byte_of_a_line() -> None:
    decoder = Decoder()
    for _ in range(3):
        decoder.skip(b"data: " + b"x" * 1000)
    assert len(pickle.dumps(decoder)) < 1000
    decoder.skip(b"\n\n")
    assert decoder.between_events
    decoder.skip(b"id: \xc3\xa9\ndata: nobody reads this\n\n: comment")
    assert not decoder.between_events


@settings(deadline=None)
@given(pieces=STREAM_PIECES)
def test_a_comment_at_a_boundary_changes_no_event(pieces: list[bytes]) -> None:
    decoder = Decoder()
    with_comments, stream = b"", b"".join(pieces)
    for byte in stream:
        with_comments += bytes([byte])
        decoder.skip(bytes([byte]))
        # Behind a lone CR an LF may come, which would be a line end of its own then; a blank
        # line more, where no event is open, says nothing.
        if decoder.between_events:
            with_comments += HEARTBEAT
    if not stream.startswith(b"\xef"):
        assert Parser().parse(with_comments) == Parser().parse(stream)
