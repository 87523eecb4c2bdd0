"""A browser's own EventSource, in a real Chromium, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    LLMStream,
    RateLimited,
    ServerSentEvent,
    StreamOptions,
)
from asgi_llmstream.asgi.http import query_fields
from asgi_llmstream.formats import Events
from asgi_llmstream.sse import last_event_id
from tests.support.servers import serve
from tests.support.services import browsing

# Every event that arrives, by its type; and how often the browser connected.
LISTEN = """
prompt => new Promise(resolve => {
  const seen = [], types = ["run-started", "step-started", "part-started", "part-delta",
    "part-ended", "usage-reported", "step-ended", "run-finished", "run-failed", "run-aborted"];
  const source = new EventSource("/events?prompt=" + prompt);
  source.onmessage = e => seen.push(["message", e.data]);
  for (const type of types)
    source.addEventListener(type, e => seen.push([type, JSON.parse(e.data).text ?? ""]));
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) resolve(seen);   // a 204 ends it for good
  };
})
"""


async def send_page(send: Any, cookie: bytes | None = None) -> None:
    headers = [(b"content-type", b"text/html")]
    if cookie is not None:
        headers.append((b"set-cookie", cookie))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html><title>t</title>"})


class Site:
    """A page to run scripts on, beside an answer that is silent until heartbeats have come: a
    ChatApp's, or that of a route of one's own."""

    def __init__(self, silent_for: int, own_route: bool) -> None:
        self._silent_for = silent_for
        self._heartbeats = threading.Condition()
        self._beats = 0
        self.statuses: list[int] = []
        self.prompts: list[str] = []
        options = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
        self._chat: Any = ChatApp(self._answer, options=options, formats=[Events(retry=10)])
        if own_route:
            self._chat = self._route(options)

    def _route(self, options: StreamOptions) -> Any:
        async def route(scope: Any, receive: Any, send: Any) -> None:
            request = Events().decode(query_fields(scope))
            producer = self._answer(request)
            stream = LLMStream(producer, format=Events(retry=10), options=options)
            await stream(scope, receive, send)

        return route

    async def _answer(self, request: ChatRequest) -> AsyncIterator[str]:
        self.prompts.append(request.prompt)
        for word in ("Hel", "lo"):
            await anyio.to_thread.run_sync(self._wait_for_heartbeats)
            yield word
        if request.prompt == "break":
            raise RuntimeError("broken")

    def _wait_for_heartbeats(self) -> None:
        with self._heartbeats:
            self._beats = 0
            enough = self._heartbeats.wait_for(lambda: self._beats >= self._silent_for, 20)
        assert enough

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/":
            await send_page(send)
            return

        async def watched(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start" and scope["path"] == "/events":
                self.statuses.append(message["status"])
            if message.get("body") == b": ping\n":
                with self._heartbeats:
                    self._beats += 1
                    self._heartbeats.notify()

        await self._chat(scope, receive, watched)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


@pytest.mark.parametrize("own_route", [False, True])
@pytest.mark.parametrize(("prompt", "ending"), [("hi", "run-finished"), ("break", "run-failed")])
def test_an_event_source_sees_every_event_and_no_other_and_does_not_run_the_model_again(
    browser: Any, prompt: str, ending: str, own_route: bool
) -> None:
    site = Site(silent_for=20, own_route=own_route)
    with serve(site) as url:
        page = browser.new_page()
        page.goto(url)
        seen = page.evaluate(LISTEN, prompt)
        page.close()
    assert [text for type, text in seen if type == "part-delta"] == ["Hel", "lo"]
    assert [type for type, _ in seen if type.startswith("run-")] == ["run-started", ending]
    assert "message" not in {type for type, _ in seen}
    # It reconnects after every end, clean or not; the 204 makes it stop.
    assert site.statuses == [200, 204]
    assert site.prompts == [prompt]


# Every event until the one that is called "end", and where each came from.
FOLLOW = """
() => new Promise(resolve => {
  const seen = [], source = new EventSource("/numbers");
  source.onmessage = e => seen.push([e.lastEventId, e.data]);
  source.addEventListener("end", () => { source.close(); resolve(seen); });
})
"""


class Numbers:
    """A page, and a stream that resumes by ids of its own and breaks off at every other event."""

    def __init__(self) -> None:
        self.came_from: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/numbers":
            await send_page(send)
            return
        last = last_event_id(scope["headers"])
        self.came_from.append(last)
        producer = self._count(int(last or 0))
        await LLMStream(producer, format=Events(envelope=False))(scope, receive, send)

    async def _count(self, number: int) -> AsyncIterator[ServerSentEvent]:
        for next in (number + 1, number + 2):
            yield ServerSentEvent(f"number {next}", id=str(next), retry=10)
        if next >= 6:
            yield ServerSentEvent("", event="end")
        raise RuntimeError("broken")


def test_an_event_source_resumes_by_the_applications_own_ids(browser: Any) -> None:
    site = Numbers()
    with serve(site) as url:
        page = browser.new_page()
        page.goto(url)
        seen = page.evaluate(FOLLOW)
        page.close()
    # Neither a gap nor anything twice, although what breaks off may take with it what was not read.
    assert seen == [[str(n), f"number {n}"] for n in range(1, len(seen) + 1)]
    assert len(seen) >= 6
    first, *again = site.came_from
    assert first is None
    numbers = [int(id or 0) for id in again]
    assert numbers == sorted(numbers)
    assert len({*numbers} - {0}) >= 2


# A page of another origin, with its visitor's cookie: what its script may read.
FETCH = """
async ([url, body]) => {
  try {
    const headers = {"content-type": "application/json", "x-own": "1"};
    const response = await fetch(url, {
      method: "POST", headers, body: JSON.stringify(body), credentials: "include"});
    return [response.status, response.headers.get("retry-after"), await response.text()];
  } catch (error) { return [error.name]; }
}
"""
LISTEN_THERE = """
url => new Promise(resolve => {
  let text = "";
  const source = new EventSource(url, {withCredentials: true});
  source.addEventListener("part-delta", e => text += JSON.parse(e.data).text);
  source.addEventListener("run-finished", () => { source.close(); resolve(text); });
  source.onerror = () => { source.close(); resolve("closed: " + text); };
})
"""
CHAT = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
REFUSED = {"messages": [{"role": "user", "content": "refuse"}], "stream": True}


class Api:
    """A chat on one port, whose cookies are seen, and the pages that use it on another."""

    def __init__(self, *origins: str) -> None:
        self.cookies: list[bytes] = []
        self.sites: list[bytes] = []
        self._chat = ChatApp(self._answer, cors=origins)

    async def _answer(self, request: ChatRequest) -> AsyncIterator[str]:
        headers = dict(request.scope["headers"])
        self.cookies.append(headers.get(b"cookie", b""))
        self.sites.append(headers.get(b"sec-fetch-site", b""))
        if request.prompt == "refuse":
            raise RateLimited(retry_after=7)
        yield "Hello"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/":
            await send_page(send, cookie=b"who=Ada")
        else:
            await self._chat(scope, receive, send)


async def page_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send_page(send)


@contextmanager
def page_elsewhere(browser: Any, *, allowed: bool, host: str = "127.0.0.1") -> Iterator[Any]:
    """A page of another port, the API's address and the API; the browser has the API's cookie."""
    with serve(page_app) as there:
        there = there.replace("127.0.0.1", host)
        api = Api(there) if allowed else Api()
        with serve(api) as url:
            page = browser.new_page()
            page.goto(url)
            page.goto(there)
            yield page, url, api
            page.close()


def test_a_page_of_another_port_asks_reads_and_sends_its_visitors_cookie(browser: Any) -> None:
    with page_elsewhere(browser, allowed=True) as (page, url, api):
        status, _, body = page.evaluate(FETCH, [f"{url}/chat/completions", CHAT])
        assert (status, "Hello" in body) == (200, True)
        refused = page.evaluate(FETCH, [f"{url}/chat/completions", REFUSED])
        assert refused[:2] == [429, "7"]
        assert page.evaluate(LISTEN_THERE, f"{url}/events?prompt=hi") == "Hello"
    assert api.cookies == [b"who=Ada"] * 3
    assert api.sites == [b"same-site"] * 3


def test_a_page_of_another_site_reads_too_if_it_is_named(browser: Any) -> None:
    with page_elsewhere(browser, allowed=True, host="localhost") as (page, url, api):
        assert page.evaluate(LISTEN_THERE, f"{url}/events?prompt=hi") == "Hello"
    assert api.sites == [b"cross-site"]


def test_a_page_that_is_not_named_reads_nothing(browser: Any) -> None:
    with page_elsewhere(browser, allowed=False) as (page, url, api):
        assert page.evaluate(FETCH, [f"{url}/chat/completions", CHAT]) == ["TypeError"]
        assert page.evaluate(LISTEN_THERE, f"{url}/events?prompt=hi") == "closed: "
    # The POST was never sent. Of a page of the same site the GET was, and not shown to it.
    assert api.sites == [b"same-site"]


def test_another_sites_page_makes_no_visitor_pay(browser: Any) -> None:
    with page_elsewhere(browser, allowed=False, host="localhost") as (page, url, api):
        assert page.evaluate(LISTEN_THERE, f"{url}/events?prompt=hi") == "closed: "
        image = "url => new Promise(r => { const i = new Image(); i.onerror = r; i.src = url; })"
        page.evaluate(image, f"{url}/events?prompt=hi")
        with page.expect_navigation() as followed:  # a link
            page.evaluate("url => { location.href = url; }", f"{url}/events?prompt=hi")
        assert followed.value.status == 403
        assert api.sites == []
        # The visitor himself may type it in.
        assert page.goto(f"{url}/events?prompt=hi").status == 200
    assert api.sites == [b"none"]
