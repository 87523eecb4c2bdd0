"""The text stream: the wire, the requests, and how a client notices that an answer broke off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions, encode_stream
from asgi_llmstream.chunks import Reasoning, Refusal, Source, Text, ToolCall
from asgi_llmstream.errors import BadRequest, LLMStreamError
from asgi_llmstream.formats import TextStream
from asgi_llmstream.formats.openapi import routes
from asgi_llmstream.testing import Client, ManualClock
from tests.support.servers import serve
from tests.support.strategies import ANY_CHUNK
from tests.support.wire import wire

pytestmark = pytest.mark.anyio


def test_texts_and_refusals_go_out_as_they_are_and_nothing_else_does() -> None:
    chunks = (
        Reasoning("Hm."),
        Text("Hel"),
        Source("https://a"),
        Text("lo\r\n\u2028"),
        Refusal(" no"),
    )
    call = ToolCall("a", "f", {"x": 1})
    assert wire(TextStream(), *chunks, call) == "Hello\r\n\u2028 no".encode()


def test_half_an_emoji_is_mended() -> None:
    assert wire(TextStream(), Text("a\ud83d")) == b"a\xef\xbf\xbd"


@settings(deadline=None)
@given(st.lists(ANY_CHUNK, max_size=8))
def test_whatever_a_producer_yields_only_its_words_are_heard(chunks: list[Any]) -> None:
    said = [chunk.text for chunk in chunks if isinstance(chunk, Text | Refusal)]
    assert wire(TextStream(), *chunks).decode() == "".join(map(mended, said))


def mended(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hel"
    if request.prompt == "break":
        raise LLMStreamError("The cat sat on the GPU.")
    yield f"lo {request.prompt}"


async def ask(app: ChatApp, prompt: str) -> Any:
    async with Client(app).stream("POST", "/text", json={"prompt": prompt}) as response:
        await response.read_to_end()
    return response


async def test_an_answer_is_plain_text() -> None:
    response = await ask(ChatApp(answer), "you")
    assert (response.status, response.body, response.complete) == (200, b"Hello you", True)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"


async def test_an_answer_that_breaks_off_never_looks_finished() -> None:
    response = await ask(ChatApp(answer), "break")
    assert (response.status, response.body) == (200, b"Hel")
    assert response.aborted
    assert not response.complete


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn-asyncio", "granian"])
def test_over_a_socket_the_connection_breaks_off(kind: str) -> None:
    with serve(ChatApp(answer), kind) as url:
        got = []
        with pytest.raises(httpx.RemoteProtocolError):
            with httpx.stream("POST", f"{url}/text", json={"prompt": "break"}) as response:
                got += response.iter_text()
        assert "".join(got) in ("", "Hel")
        assert httpx.post(f"{url}/text", json={"prompt": "you"}).text == "Hello you"


async def test_a_failure_before_the_first_word_is_an_http_status() -> None:
    async def failing(request: ChatRequest) -> AsyncIterator[str]:
        raise BadRequest("No.", param="prompt")
        yield ""

    response = await ask(ChatApp(failing), "x")
    assert response.status == 400
    assert response.json() == {"code": "invalid_request", "message": "No.", "param": "prompt"}


async def test_silence_stays_silent() -> None:
    go_on = anyio.Event()

    async def silent(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hel"
        await go_on.wait()
        yield "lo"

    clock = ManualClock()
    app = ChatApp(silent, options=StreamOptions(clock=clock, heartbeat_interval=10))
    async with Client(app).stream("POST", "/text", json={"prompt": "x"}) as response:
        await response.started()
        await clock.advance(60)
        go_on.set()
        assert await response.read_to_end() == b"Hello"


async def test_an_iterator_of_bytes_raises_where_the_answer_broke_off() -> None:
    async def producer() -> AsyncIterator[str]:
        yield "Hel"
        raise RuntimeError("secret")

    got = []
    with pytest.raises(LLMStreamError, match="could not finish"):
        async for body in encode_stream(producer(), format=TextStream()):
            got.append(body)
    assert got == [b"Hel"]


def test_its_route_is_documented_as_text() -> None:
    (route,) = (route for route in routes([TextStream()]) if route.path == "/text")
    assert [*route.operation["responses"]["200"]["content"]] == ["text/plain; charset=utf-8"]
