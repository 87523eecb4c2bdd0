"""An official client reaches a bare app by whatever address its users write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_llmstream import ChatApp, ChatRequest
from tests.support.providers import module
from tests.support.servers import serve


async def answer(request: ChatRequest) -> str:
    return "Hello"


@pytest.fixture(scope="module", params=["", "/v1", "/api"])
def mounted(request: pytest.FixtureRequest) -> Iterator[str]:
    app: Any = ChatApp(answer)
    if request.param:
        app = Starlette(routes=[Mount(request.param, app)])
    with serve(app) as url:
        yield url + request.param


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/"])
def test_openais_client_reaches_it_with_and_without_v1(mounted: str, base: str) -> None:
    with module("openai").OpenAI(base_url=mounted + base, api_key="-", max_retries=0) as client:
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        assert client.chat.completions.create(**asked).choices[0].message.content == "Hello"
        assert client.models.list().data[0].id == "default"


@pytest.mark.parametrize("base", ["", "/"])
def test_anthropics_client_which_appends_v1_reaches_it(mounted: str, base: str) -> None:
    with module("anthropic").Anthropic(
        base_url=mounted + base, api_key="-", max_retries=0
    ) as client:
        asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        assert client.messages.create(**asked).content[0].text == "Hello"
