"""An `EventSource` asks again after every end, and must not run the model again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asgi_llmstream import LLMStream
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, check_stream

pytestmark = pytest.mark.anyio


class Route:
    """A route of one's own, and how often it ran the model."""

    def __init__(self) -> None:
        self.runs = 0
        self.client = Client(LLMStream(self._produce, format=Events()))

    async def _produce(self) -> AsyncIterator[str]:
        self.runs += 1
        yield "Hello"


async def test_who_comes_back_with_an_id_of_ours_is_told_to_stop() -> None:
    route = Route()
    first = await route.client.request("GET", "/")
    for event in check_stream(first.body, "events"):
        assert event.id is not None
        again = await route.client.request("GET", "/", headers={"last-event-id": event.id})
        assert (again.status, again.body) == (204, b"")
    assert route.runs == 1


@pytest.mark.parametrize("id", ["7", "x:3", "0123456789abcdef01234567", ""])
async def test_an_id_of_somebody_elses_is_none_of_our_business(id: str) -> None:
    route = Route()
    answer = await route.client.request("GET", "/", headers={"last-event-id": id})
    assert answer.status == 200
    assert route.runs == 1


async def test_a_post_is_a_question_of_its_own() -> None:
    route = Route()
    id = "0123456789abcdef0123456789abcdef:3"
    answer = await route.client.request("POST", "/", headers={"last-event-id": id})
    assert answer.status == 200


async def test_the_producer_that_is_not_needed_is_closed() -> None:
    async def produce() -> AsyncIterator[str]:
        yield "Hello"

    producer = produce()
    headers = {"last-event-id": "0123456789abcdef0123456789abcdef:3"}
    answer = await Client(LLMStream(producer)).request("GET", "/", headers=headers)
    assert answer.status == 204
    assert producer.ag_frame is None  # type: ignore[attr-defined]
