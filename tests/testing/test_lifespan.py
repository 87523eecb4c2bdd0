"""`async with Client(app)` starts and stops the application, as a server does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from asgi_llmstream import ChatApp, MemoryStore
from asgi_llmstream.request import ChatRequest
from asgi_llmstream.testing import Client

pytestmark = pytest.mark.anyio


async def test_an_app_with_a_store_answers_where_its_client_has_started_it() -> None:
    chat = ChatApp(lambda request: "Hello", store=MemoryStore())
    with pytest.raises(RuntimeError, match="lifespan"):
        await Client(chat).request("GET", "/events?prompt=hi")
    async with Client(chat) as client:
        response = await client.request("GET", "/events?prompt=hi")
        assert (response.status, b"Hello" in response.body) == (200, True)
    refused = await Client(chat).request("GET", "/events?prompt=hi")
    assert refused.status == 503


async def test_leaving_waits_until_the_runs_are_over() -> None:
    done = anyio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hel"
        await done.wait()
        yield "lo"

    results: list[str] = []
    chat = ChatApp(
        answer, store=MemoryStore(), on_finish=lambda result: results.append(result.message.text)
    )
    async with Client(chat) as client:
        async with client.stream("GET", "/events?prompt=hi") as response:
            await response.started()
        assert results == []
        done.set()
    assert results == ["Hello"]


async def test_an_app_without_a_lifespan_says_so() -> None:
    async def bare(scope: object, receive: object, send: object) -> None:
        """Return at once."""

    with pytest.raises(RuntimeError, match="knows no lifespan"):
        async with Client(bare):
            pass


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Client(ChatApp(lambda request: "Hello")):
            raise ZeroDivisionError
