"""The official clients as upstream: when our client leaves, the provider sees it at once."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from asgi_llmstream import ChatApp, ChatRequest
from tests.support.servers import serve

ASK = {"messages": [{"role": "user", "content": "hi"}], "stream": True}

OPENAI_CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}],
}
ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
]


class Provider:
    """A provider that says so much, then falls silent until its own client has left."""

    def __init__(self, says: bytes | None) -> None:
        self._says = says
        self.asked = threading.Event()
        self.left = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.asked.set()
        if self._says is not None:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self._says, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


def openai_events() -> bytes:
    return b"data: " + json.dumps(OPENAI_CHUNK).encode() + b"\n\n"


def anthropic_events() -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in ANTHROPIC_EVENTS
    )


def pool() -> Any:
    """An HTTP client that keeps no idle connections, since nobody closes it."""
    return httpx2.AsyncClient(limits=httpx2.Limits(max_keepalive_connections=0))


Proxy = Callable[[str], Callable[[ChatRequest], Any]]


def openai_unawaited(url: str) -> Callable[[ChatRequest], Any]:
    client = openai.AsyncOpenAI(base_url=url, api_key="-", max_retries=0, http_client=pool())

    def proxy(request: ChatRequest) -> Any:
        messages: Any = request.to_openai()
        return client.chat.completions.create(model="m", messages=messages, stream=True)

    return proxy


def openai_in_a_generator(url: str) -> Callable[[ChatRequest], Any]:
    client = openai.AsyncOpenAI(base_url=url, api_key="-", max_retries=0, http_client=pool())

    async def proxy(request: ChatRequest) -> AsyncIterator[Any]:
        messages: Any = request.to_openai()
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        async with stream:
            async for chunk in stream:
                yield chunk

    return proxy


def anthropic_raw(url: str) -> Callable[[ChatRequest], Any]:
    client = anthropic.AsyncAnthropic(base_url=url, api_key="-", max_retries=0, http_client=pool())

    def proxy(request: ChatRequest) -> Any:
        messages: Any = request.to_openai()
        return client.messages.create(model="m", max_tokens=9, messages=messages, stream=True)

    return proxy


def anthropic_helper(url: str) -> Callable[[ChatRequest], Any]:
    client = anthropic.AsyncAnthropic(base_url=url, api_key="-", max_retries=0, http_client=pool())

    def proxy(request: ChatRequest) -> Any:
        messages: Any = request.to_openai()
        return client.messages.stream(model="m", max_tokens=9, messages=messages)

    return proxy


PROXIES: list[tuple[Proxy, Callable[[], bytes]]] = [
    (openai_unawaited, openai_events),
    (openai_in_a_generator, openai_events),
    (anthropic_raw, anthropic_events),
    (anthropic_helper, anthropic_events),
]


@contextmanager
def asking(url: str) -> Iterator[httpx.Response]:
    with httpx.Client(timeout=20) as client:
        with client.stream("POST", f"{url}/chat/completions", json=ASK) as response:
            yield response


@pytest.mark.parametrize(("proxy", "events"), PROXIES)
def test_the_provider_sees_at_once_that_our_client_has_left(
    proxy: Proxy, events: Callable[[], bytes]
) -> None:
    provider = Provider(events())
    with serve(provider) as upstream, serve(ChatApp(proxy(upstream))) as url:
        with asking(url) as response:
            assert any('"Hel"' in line for line in response.iter_lines())
        assert provider.left.wait(10)


@pytest.mark.parametrize(("proxy", "events"), PROXIES)
def test_the_provider_sees_it_also_before_it_has_sent_a_byte(
    proxy: Proxy, events: Callable[[], bytes]
) -> None:
    provider = Provider(None)
    with serve(provider) as upstream, serve(ChatApp(proxy(upstream))) as url:
        with httpx.Client() as client:
            request = client.build_request("POST", f"{url}/chat/completions", json=ASK)

            def ask_and_leave() -> None:
                with pytest.raises(httpx.ReadTimeout):
                    client.send(request, stream=True)

            request.extensions["timeout"] = {"connect": 5, "read": 0.3, "write": 5, "pool": 5}
            ask_and_leave()
        assert provider.asked.wait(10)
        assert provider.left.wait(10)


@pytest.mark.parametrize(
    ("proxy", "status"),
    [
        (openai_unawaited, 429),
        (anthropic_raw, 429),
        (anthropic_helper, 529),
        (openai_unawaited, 400),
        (openai_unawaited, 401),
    ],
)
def test_the_providers_refusal_becomes_ours_without_its_text(proxy: Proxy, status: int) -> None:
    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"retry-after", b"3"), (b"content-type", b"application/json")]
            body = b'{"error": {"message": "key sk-secret", "type": "x"}}'
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    with serve(refuses) as upstream, serve(ChatApp(proxy(upstream))) as url:
        response = httpx.post(f"{url}/chat/completions", json=ASK)
    assert response.status_code == {429: 429, 529: 503, 400: 400, 401: 502}[status]
    assert "sk-secret" not in response.text
    if status == 429:
        assert response.headers["retry-after"] == "3"
    assert (response.headers.get("x-should-retry") == "false") == (status == 401)


def test_a_client_asks_once_where_a_retry_is_pointless() -> None:
    asked: list[str] = []

    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.append(scope["path"])
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})

    with serve(refuses) as upstream, serve(ChatApp(openai_unawaited(upstream))) as url:
        with openai.OpenAI(base_url=url, api_key="-") as client:
            with pytest.raises(openai.InternalServerError):
                client.chat.completions.create(**ASK, model="m")  # type: ignore[call-overload]
    assert len(asked) == 1
