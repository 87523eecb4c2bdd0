"""A browser's own EventSource, in a real Chromium, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from asgi_llmstream import ChatApp, ChatRequest, LLMStream, ServerSentEvent, StreamOptions
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


async def send_page(send: Any) -> None:
    headers = [(b"content-type", b"text/html")]
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
    assert seen == [[str(n), f"number {n}"] for n in range(1, 7)]
    assert site.came_from == [None, "2", "4"]
