"""The demo answers its own page and programs, and no page of another site."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from asgi_llmstream import ChatRequest
from asgi_llmstream.demo.app import Demo
from asgi_llmstream.testing import Client, Response
from tests.support.services import running_demo

EVENTS = "/v1/events?prompt=hi"


async def hello(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hello"


async def ask(path: str, *names: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    demo = Demo(hello, names=names)
    async with demo.lifespan():
        return await Client(demo).request("GET", path, headers=named)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.5", "0.0.0.0:1"],
)
@pytest.mark.parametrize("path", ["/", EVENTS])
async def test_localhost_and_addresses_are_its_own(path: str, host: str) -> None:
    assert (await ask(path, host=host)).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "[::1", ""],
)
@pytest.mark.parametrize("path", ["/", EVENTS, "/v1/models", "/nothing"])
async def test_a_name_that_only_leads_here_is_a_403_that_says_what_to_do(
    path: str, host: str
) -> None:
    response = await ask(path, host=host)
    assert response.status == 403
    assert b"--allow-host" in response.body


@pytest.mark.anyio
async def test_a_name_that_was_allowed_is_its_own() -> None:
    assert (await ask(EVENTS, "Demo.example", host="demo.example:8000")).status == 200
    assert (await ask(EVENTS, "demo.example", host="other.example")).status == 403


@pytest.mark.anyio
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:8000",
        "null",
        "",
    ],
)
async def test_a_page_of_another_origin_may_not_ask(origin: str) -> None:
    response = await ask(EVENTS, host="localhost:8000", origin=origin)
    assert response.status == 403
    assert b"Open its own page" in response.body


@pytest.mark.anyio
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_nor_may_one_that_hides_its_origin(site: str) -> None:
    response = await ask(EVENTS, host="localhost:8000", sec_fetch_site=site)
    assert response.status == 403


@pytest.mark.anyio
async def test_other_sites_may_link_to_the_page() -> None:
    assert (await ask("/", host="localhost:8000", sec_fetch_site="cross-site")).status == 200


@pytest.mark.anyio
async def test_its_own_page_may_ask() -> None:
    own = {"origin": "http://localhost:8000", "sec_fetch_site": "same-origin"}
    assert (await ask(EVENTS, host="localhost:8000", **own)).status == 200
    assert (await ask(EVENTS, host="localhost:8000", sec_fetch_site="none")).status == 200


def test_the_command_refuses_other_names_and_other_sites() -> None:
    with running_demo() as demo, httpx.Client(timeout=30, trust_env=False) as client:
        own = demo.url.rstrip("/")
        models = f"{own}/v1/models"
        assert client.get(models).status_code == 200
        assert client.get(models, headers={"origin": own}).status_code == 200
        for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
            assert client.get(models, headers=headers).status_code == 403


def test_the_command_can_be_told_its_name() -> None:
    with (
        running_demo("--allow-host", "demo.example") as demo,
        httpx.Client(timeout=30, trust_env=False) as client,
    ):
        headers = {"host": "demo.example"}
        assert client.get(demo.url, headers=headers).status_code == 200
