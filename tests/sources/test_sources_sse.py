"""FastAPI's and Litestar's server-sent events on the plain format."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_llmstream.chunks import Raw
from asgi_llmstream.formats.events.stream import Events
from asgi_llmstream.lifecycle import Lifecycle
from tests.support.providers import module, read


def written(item: object) -> str:
    """The one event that `item` is, as it goes out."""
    (chunk,) = read(item)
    assert isinstance(chunk, Raw)
    return chunk.event.encode().decode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"data": {"a": "ø"}, "event": "e"}, 'event: e\ndata: {"a":"ø"}\n\n'),
        ({"data": "text"}, 'data: "text"\n\n'),
        ({"data": 0}, "data: 0\n\n"),
        ({"raw_data": "a\nb", "id": "7"}, "id: 7\ndata: a\ndata: b\n\n"),
        ({"comment": "ping"}, ": ping\n"),
        ({"event": "done", "retry": 5}, ""),
    ],
)
def test_fastapis_event_means_what_it_means_there(fields: dict[str, Any], expected: str) -> None:
    assert written(module("fastapi.sse").ServerSentEvent(**fields)) == expected


def test_fastapis_event_may_hold_a_pydantic_model() -> None:
    pydantic = module("pydantic")
    model = pydantic.create_model("Weather", city=str)(city="Oslo")
    sse = module("fastapi.sse")
    assert written(sse.ServerSentEvent(data=model)) == 'data: {"city":"Oslo"}\n\n'


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"data": "a\r\nb", "event": "e", "id": 7}, "id: 7\nevent: e\ndata: a\ndata: b\n\n"),
        ({"data": "ø".encode()}, "data: ø\n\n"),
        ({"data": 5, "retry": 10}, "retry: 10\ndata: 5\n\n"),
        ({"data": None, "comment": "ping"}, ": ping\n"),
    ],
)
def test_litestars_event_means_what_it_means_there(fields: dict[str, Any], expected: str) -> None:
    message = module("litestar.response.sse").ServerSentEventMessage(**fields)
    assert written(message) == expected


def test_they_go_out_on_the_plain_format_between_its_own_events() -> None:
    encode = Events().encoder()
    lifecycle = Lifecycle(id="r", created=0, model="m")
    for event in lifecycle.start():
        encode(event)
    (chunk,) = read(module("fastapi.sse").ServerSentEvent(data=1))
    wire = b"".join(encode(event) for event in lifecycle.feed(chunk))
    assert wire.endswith(b"data: 1\n\n")
