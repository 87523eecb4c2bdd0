"""What you have → what you write, with the real packages' clients and a server to call.

The table is in the README and, with the test of each row, in docs/sources.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    LLMStream,
    Message,
    ServerSentEvent,
    ToolCall,
    Usage,
    collect,
)
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client
from tests.support.providers import module
from tests.support.servers import serve

ROOT = Path(__file__).parents[2]
ASK: Any = [{"role": "user", "content": "hi"}]


async def provider(request: ChatRequest) -> AsyncIterator[Any]:
    """Speaks the protocols of OpenAI and Anthropic."""
    yield "Hel"
    yield "lo"
    yield ToolCall("call_a", "weather", {"city": "Oslo"}, by="client")  # unasked
    yield Usage(input_tokens=3, output_tokens=7)
    yield Finish("tool_calls")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(Starlette(routes=[Mount("/v1", ChatApp(provider))])) as url:
        yield url


@asynccontextmanager
async def openai_client(url: str) -> AsyncIterator[Any]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        yield module("openai").AsyncOpenAI(
            base_url=f"{url}/v1", api_key="-", max_retries=0, http_client=http
        )


@asynccontextmanager
async def anthropic_client(url: str) -> AsyncIterator[Any]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        # The SDK adds /v1 to the address.
        yield module("anthropic").AsyncAnthropic(
            base_url=url, api_key="-", max_retries=0, http_client=http
        )


async def openai_chat(url: str) -> Message:
    async with openai_client(url) as client:
        usage = {"include_usage": True}
        return await collect(
            client.chat.completions.create(
                model="m", messages=ASK, stream=True, stream_options=usage
            )
        )


async def openai_chat_helper(url: str) -> Message:
    async with openai_client(url) as client:
        usage = {"include_usage": True}
        return await collect(
            client.chat.completions.stream(model="m", messages=ASK, stream_options=usage)
        )


async def openai_responses(url: str) -> Message:
    async with openai_client(url) as client:
        return await collect(client.responses.create(model="m", input="hi", stream=True))


async def openai_responses_helper(url: str) -> Message:
    async with openai_client(url) as client:
        return await collect(client.responses.stream(model="m", input="hi"))


async def anthropic_raw(url: str) -> Message:
    async with anthropic_client(url) as client:
        return await collect(
            client.messages.create(model="m", max_tokens=9, messages=ASK, stream=True)
        )


async def anthropic_helper(url: str) -> Message:
    async with anthropic_client(url) as client:
        return await collect(client.messages.stream(model="m", max_tokens=9, messages=ASK))


async def langchain(url: str) -> Message:
    chat = module("langchain_openai").ChatOpenAI
    async with httpx2.AsyncClient(trust_env=False) as http:
        model = chat(
            model="m", base_url=f"{url}/v1", api_key="-", stream_usage=True, http_async_client=http
        )
        return await collect(model.astream("hi"))


async def langchain_events(url: str) -> Message:
    chat = module("langchain_openai").ChatOpenAI
    async with httpx2.AsyncClient(trust_env=False) as http:
        model = chat(
            model="m", base_url=f"{url}/v1", api_key="-", stream_usage=True, http_async_client=http
        )
        return await collect(model.astream_events("hi", version="v2"))


@pytest.mark.parametrize(
    "write",
    [
        openai_chat,
        openai_chat_helper,
        openai_responses,
        openai_responses_helper,
        anthropic_raw,
        anthropic_helper,
        langchain,
        langchain_events,
    ],
)
def test_a_providers_stream_is_handed_over_as_its_client_gives_it(
    url: str, write: Callable[[str], Awaitable[Message]]
) -> None:
    async def run() -> Message:
        return await write(url)

    message = anyio.run(run)
    assert message.text == "Hello"
    (call,) = message.tool_calls
    assert (call.id, call.name, call.parse()) == ("call_a", "weather", {"city": "Oslo"})
    assert message.usage == Usage(input_tokens=3, output_tokens=7)
    assert message.finish_reason == "tool_calls"


async def google(scope: Any, receive: Any, send: Any) -> None:
    """A server that streams as google-genai's does."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass

    def says(text: str, **fields: Any) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        return {"candidates": [{"content": content, "index": 0, **fields}]}

    used = {"promptTokenCount": 3, "candidatesTokenCount": 7, "totalTokenCount": 10}
    answer = [says("Hel"), {**says("lo", finishReason="STOP"), "usageMetadata": used}]
    body = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in answer)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def test_googles_stream_is_handed_over_as_its_client_gives_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    genai = module("google.genai")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def run(url: str) -> Message:
        async with genai.Client(api_key="-", http_options={"base_url": url}).aio as client:
            return await collect(client.models.generate_content_stream(model="m", contents="hi"))

    with serve(google) as url:
        message = anyio.run(run, url)
    assert (message.text, message.finish_reason) == ("Hello", "stop")
    assert message.usage == Usage(input_tokens=3, output_tokens=7)


def sse_starlettes_dicts() -> list[Any]:
    return [{"event": "tick", "id": "1", "data": "one"}]


def sse_starlettes_events() -> list[Any]:
    return [module("sse_starlette").ServerSentEvent("one", event="tick", id="1")]


def fastapis_events() -> list[Any]:
    return [module("fastapi.sse").ServerSentEvent(raw_data="one", event="tick", id="1")]


def litestars_events() -> list[Any]:
    sse = module("litestar.response.sse")
    return [sse.ServerSentEventMessage(data="one", event="tick", id="1")]


def our_events() -> list[Any]:
    return [ServerSentEvent("one", event="tick", id="1")]


@pytest.mark.parametrize(
    "have",
    [
        our_events,
        sse_starlettes_dicts,
        sse_starlettes_events,
        fastapis_events,
        litestars_events,
    ],
)
def test_server_sent_events_go_out_on_the_plain_format_as_they_are(
    have: Callable[[], list[Any]],
) -> None:
    async def producer() -> AsyncIterator[Any]:
        for event in have():
            yield event

    async def run() -> bytes:
        stream = LLMStream(producer(), format=Events())
        return (await Client(stream).request("GET", "/")).body

    assert b"id: 1\nevent: tick\ndata: one\n\n" in anyio.run(run)


# The documents.


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the page's table that begins with this heading, without their code marks."""
    text = (ROOT / page).read_text()
    table = text[text.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table]


def test_the_readme_and_the_page_of_sources_have_the_same_rows() -> None:
    short, long = rows("README.md", "you have"), rows("docs/sources.md", "you have")
    assert [row[:2] for row in long] == short


def test_every_row_names_the_test_that_holds_it() -> None:
    for have, _write, held_by in rows("docs/sources.md", "you have"):
        named = re.findall(r"`(\w+\.py)::(\w+)`", held_by)
        scripts = re.findall(r"\((\.\./tests/by_command/\w+\.py)\)", held_by)
        assert named or scripts, have
        for script in scripts:
            assert (ROOT / "docs" / script).is_file(), have
