"""`encode_stream` pulls from the same feed as a delivery does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from asgi_llmstream import StreamOptions, StreamResult, encode_stream
from asgi_llmstream.errors import LimitExceeded
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import check_stream

pytestmark = pytest.mark.anyio


async def babble() -> AsyncIterator[str]:
    while True:
        yield "word "
        await anyio.lowlevel.checkpoint()


async def test_what_is_larger_than_max_stream_size_ends_with_a_visible_error() -> None:
    results: list[StreamResult] = []
    options = StreamOptions(max_stream_size=2000)
    stream = encode_stream(babble(), format=Events(), options=options, on_finish=results.append)
    with anyio.fail_after(5):
        pieces = [piece async for piece in stream]
    events = check_stream(b"".join(pieces), "events")
    assert events[-1].event == "run-failed"
    # Of what passed the limit there is one piece, and the end.
    assert len(b"".join(pieces[:-2])) <= 2000 < len(b"".join(pieces))
    assert [result.outcome for result in results] == ["error"]
    assert isinstance(results[0].error, LimitExceeded)


async def test_deltas_that_wait_together_are_yielded_as_one() -> None:
    async def burst() -> AsyncIterator[str]:
        for word in ("Hel", "lo, ", "you"):
            yield word

    body = b"".join([piece async for piece in encode_stream(burst(), format=Events())])
    assert [event.event for event in check_stream(body, "events")].count("part-delta") == 1
