"""Clients that leave in mid-answer and come back, unchanged, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.support.kept_chat import KeptChat
from tests.support.node import Run, node
from tests.support.servers import serve
from tests.support.services import browsing

__all__ = ["node"]


def cookie_of(scope: Any) -> str | None:
    """Whoever the browser's cookie says."""
    return dict(scope["headers"]).get(b"cookie", b"").decode() or None


class Site:
    """A page, a chat, and `POST /say?n=N`, which lets it say so many more words.

    Args:
        cut_after: the line breaks behind the first message of a body that has this.
        settings: of the chat.

    Attributes:
        asked: which requests the chat had, and where each came from.
        statuses: what it answered.
    """

    def __init__(self, cut_after: bytes = b"", **settings: Any) -> None:
        self.chat = KeptChat(**settings)
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.statuses: list[int] = []
        self._cut_after = cut_after

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/say":
            self.chat.say(int(parse_qs(scope["query_string"].decode())["n"][0]))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif scope.get("path") in ("/", "/ada", "/favicon.ico"):
            headers = [(b"content-type", b"text/html")]
            if scope["path"] == "/ada":
                headers.append((b"set-cookie", b"who=ada; Path=/"))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"<!doctype html><title>t</title>"})
        else:
            await self._chat(scope, receive, send)

    async def _chat(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            if self._cut_after and self._cut_after in message.get("body", b""):
                self._cut_after = b""
                raise OSError("cut")  # a server that notices: the app leaves without an end

        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.asked.append((scope["method"], scope["path"], headers))
        await self.chat.app(scope, receive, sending)


@contextmanager
def serving(cut_after: bytes = b"", **settings: Any) -> Iterator[tuple[str, Site]]:
    site = Site(cut_after, **settings)
    with serve(site) as url:
        yield url, site


# The AI SDK


def test_another_page_of_the_ai_sdk_gets_the_answer_whole_and_then_there_is_none(
    node: Run,
) -> None:
    with serving(identify=None) as (url, site):
        out = node("ui_resume.mjs", url, "resume")
    assert out["first"]["text"] == "One "
    assert out["second"] == {"status": "ready", "text": "One two three.", "messages": 2}
    assert out["third"] == {"status": "ready", "text": "", "messages": 1}
    again = ["GET", "/ui/chat/stream"]
    assert out["requests"] == [["POST", "/ui", 200], [*again, 200], [*again, 204]]
    assert site.chat.runs == 1


def test_the_ai_sdks_stop_is_a_disconnect_and_the_servers_ends_the_answer(node: Run) -> None:
    with serving(identify=None) as (url, site):
        out = node("ui_resume.mjs", url, "stop")
    assert (out["first"]["text"], out["first"]["status"]) == ("One ", "ready")
    assert (out["before"]["live"], out["before"]["key"]) == (True, "chat")
    assert out["stopped"]["outcome"] == "stopped"
    assert out["second"]["text"] == ""
    assert out["requests"][-1] == ["GET", "/ui/chat/stream", 204]
    assert site.chat.runs == 1


def test_the_workflow_transport_gets_the_rest_by_itself_when_it_is_cut_off(node: Run) -> None:
    with serving(b"two ", identify=None) as (url, site):
        out = node("ui_resume.mjs", url, "workflow")
    assert out["first"] == {"status": "ready", "text": "One two three.", "messages": 2}
    # start, start-step, text-start and two deltas were there already.
    assert out["requests"] == [
        ["POST", "/ui", 200],
        ["GET", f"/ui/{out['run']}/stream?startIndex=5", 200],
    ]
    assert site.chat.runs == 1


def test_the_workflow_transport_does_not_ask_for_ever_when_the_answer_was_stopped(
    node: Run,
) -> None:
    with serving(identify=None) as (url, _):
        out = node("ui_resume.mjs", url, "stopped")
    assert out["first"]["text"] == "One "
    assert [status for _, _, status in out["requests"]] == [200, 204]


def test_the_workflow_transport_reads_from_before_the_end_and_knows_where_that_is(
    node: Run,
) -> None:
    with serving(b"two ", identify=None) as (url, site):
        out = node("ui_resume.mjs", url, "tail")
    words = ["One ", "two ", "three."]
    assert out["parts"] == ["text-start", *words, "text-end", "finish-step", "finish"]
    again = "/ui/chat/stream?startIndex="
    assert [path for _, path, _ in out["requests"]] == ["/ui", f"{again}-2", f"{again}5"]
    assert site.chat.runs == 1


# TanStack AI


def test_tanstacks_client_sends_its_post_again_and_follows_instead_of_asking(node: Run) -> None:
    with serving(b'"two "', identify=None) as (url, site):
        out = node("tanstack_resume.mjs", url)
    assert "error" not in out
    assert out["deltas"] == ["One ", "two ", "three."]
    assert (out["text"], out["ends"]) == ("One two three.", 1)
    (first, _, said), (again, _, had) = [a for a in site.asked if a[1] == "/ag-ui"]
    assert (first, again) == ("POST", "POST")
    assert had["x-run-id"] == said["x-run-id"]
    assert "last-event-id" not in said
    assert had["last-event-id"]
    assert site.chat.runs == 1


# EventSource

# All events with their ids, until the browser is told to stop.
LISTEN = """
path => new Promise(resolve => {
  const seen = [], source = new EventSource(path);
  for (const type of ["run-started", "step-started", "part-started", "part-delta", "part-ended",
      "step-ended", "run-finished", "caught-up"])
    source.addEventListener(type, e => {
      seen.push([type, e.lastEventId, JSON.parse(e.data).text ?? ""]);
      if (type === "part-delta") fetch("/say?n=1", {method: "POST"});
    });
  source.onmessage = e => seen.push(["message", e.lastEventId, e.data]);
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) resolve(seen);
  };
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


def test_an_event_source_that_is_cut_off_gets_what_it_misses_and_stops_at_the_end(
    browser: Any,
) -> None:
    with serving(b'"two "', identify=cookie_of, says=1) as (url, site):
        page = browser.new_page()
        page.goto(f"{url}/ada")
        seen = page.evaluate(LISTEN, "/events?prompt=hi")
        page.close()
    numbers = [int(id.rpartition(":")[2]) for type, id, _ in seen if type != "caught-up"]
    assert numbers == [*range(1, len(numbers) + 1)], "each once, and in order"
    assert [text for type, _, text in seen if type == "part-delta"] == ["One ", "two ", "three."]
    assert seen[-1][0] == "run-finished"
    assert site.statuses == [200, 200, 204]
    first, second, third = [headers.get("last-event-id") for _, _, headers in site.asked]
    # What breaks off may take with it what was not read.
    assert second in [id for _, id, text in seen if text in ("One ", "two ")]
    assert (first, third) == (None, seen[-1][1])
    assert site.chat.runs == 1


# The text as it grows, and whether there was an end.
FOLLOW = """
path => new Promise(resolve => {
  let text = "";
  const source = new EventSource(path);
  source.addEventListener("part-delta", e => {
    text += JSON.parse(e.data).text;
    document.title = text;
  });
  source.addEventListener("run-finished", () => { source.close(); resolve(text); });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) resolve("refused");
  };
})
"""


def test_a_second_tab_of_the_same_owner_follows_and_another_visitors_does_not(
    browser: Any,
) -> None:
    with serving(identify=cookie_of) as (url, site):
        ada, bob = browser.new_context(), browser.new_context()
        first, second, other = ada.new_page(), ada.new_page(), bob.new_page()
        first.goto(f"{url}/ada")
        second.goto(url)
        other.goto(url)
        first.evaluate(f"() => {{ window.told = ({FOLLOW})('/events?prompt=hi'); }}")
        site_says(first, 1)
        first.wait_for_function("document.title === 'One'")
        listed = second.evaluate("async () => (await (await fetch('/streams')).json()).streams")
        path = f"/streams/{listed[0]['id']}"
        second.evaluate(f"path => {{ window.told = ({FOLLOW})(path); }}", path)
        second.wait_for_function("document.title === 'One'")
        assert other.evaluate(FOLLOW, path) == "refused"
        site_says(second, 2)
        for page in (first, second):
            assert page.evaluate("() => window.told") == "One two three."
        ada.close()
        bob.close()
    assert site.chat.runs == 1


def site_says(page: Any, words: int) -> None:
    page.evaluate(f"() => fetch('/say?n={words}', {{method: 'POST'}})")
