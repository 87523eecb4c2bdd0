"""Dispatchers that pass the whole path on and set no `root_path`."""

from __future__ import annotations

import gc
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from asgi_llmstream import ChatApp, ChatRequest
from asgi_llmstream.testing import Client, check_stream

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Ada"}], "stream": True}


async def answer(request: ChatRequest) -> str:
    return "Hello"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # neither of the two runs on trio


@pytest.fixture(params=["django/asgi.py", "quart/mounted.py"])
def app(request: pytest.FixtureRequest) -> Iterator[Any]:
    framework = request.param.split("/")[0]
    pytest.importorskip(framework)
    name = f"example_of_{framework}"
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / request.param)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # Django looks for it there
    spec.loader.exec_module(module)
    yield module.app
    del sys.modules[name]
    with warnings.catch_warnings():  # Django leaves a request's body to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def test_a_chat_lives_beside_the_site_in_django_and_in_quart(app: Any) -> None:
    # Django writes its headers in capitals, which a client of ours would not let pass.
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
        assert (await client.get("/")).text in ("Django", "Quart")
        assert (await client.get("/none")).status_code == 404
        for path in ("/ai/chat/completions", "/ai/v1/chat/completions"):
            response = await client.post(path, json=CHAT)
            assert "Ada" in response.text
            check_stream(response.content, "openai")


@pytest.mark.parametrize("prefix", ["/ai", "/ai/"])
async def test_a_prefix_stands_for_a_mount(prefix: str) -> None:
    client = Client(ChatApp(answer, prefix=prefix))
    for path in ("/ai/models", "/ai/v1/models/", "/models"):
        assert (await client.request("GET", path)).status == 200, path
    for path in ("/aim/models", "/v1/ai/models"):
        assert (await client.request("GET", path)).status == 404, path


def test_a_prefix_begins_with_a_slash() -> None:
    with pytest.raises(ValueError, match=r"^prefix must begin with a slash, as '/ai'"):
        ChatApp(answer, prefix="ai")
