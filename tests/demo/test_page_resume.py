"""The demo's page when its reader leaves: loaded again, opened twice, or cut off."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from asgi_llmstream import ChatRequest
from asgi_llmstream.chunks import Chunk, Reasoning, Text, ToolCall, ToolResult
from asgi_llmstream.demo.app import Demo
from tests.support.demo_page import PATIENCE, PROTOCOLS, ask, choose, last, opened, serving, status
from tests.support.servers import serve
from tests.support.services import browsing

try:
    from playwright.sync_api import Browser, Page, expect
except ModuleNotFoundError:
    pass  # `browsing` says so

# One browser for them all, and so one process.
pytestmark = pytest.mark.xdist_group("page")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


class Halting:
    """An answer of two halves, the second of which waits to be let go.

    Attributes:
        go_on: lets it.
        asked: how often it was.
        ends: is released once an answer, whole or not.
        silent: it waits before the first half, too.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.go_on = threading.Event()
        self.asked = 0
        self.ends = threading.Semaphore(0)
        self.whole = 0
        self.silent = silent

    async def __call__(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        self.asked += 1
        try:
            if self.silent:
                await self._let_go()
            yield Reasoning("Two halves.")
            yield ToolCall("call_1", "halve", {"of": request.prompt})
            yield ToolResult("call_1", "two")
            yield Text("One, ")
            await self._let_go()
            yield Text("two.")
            self.whole += 1
        finally:
            self.ends.release()

    async def _let_go(self) -> None:
        await anyio.to_thread.run_sync(self.go_on.wait, 60, abandon_on_cancel=True)


def shows(page: Page, text: str) -> None:
    """Wait until the last answer is this."""
    expect(last(page, "answer-text")).to_have_text(text, timeout=PATIENCE)


def test_an_answer_survives_a_reload_in_every_protocol(browser: Browser) -> None:
    answer = Halting()
    with serving(answer) as url, ExitStack() as stack:
        pages = [stack.enter_context(opened(browser, url)) for _ in PROTOCOLS]
        for page, protocol in zip(pages, PROTOCOLS, strict=True):
            choose(page, protocol)
            ask(page, protocol)
            shows(page, "One, ")
            page.reload()
            expect(last(page, "said")).to_contain_text(protocol)
            shows(page, "One, ")
            expect(last(page, "reasoning-text")).to_have_text("Two halves.")
            status(page, "streaming")
        answer.go_on.set()
        for page in pages:
            status(page, "done")
            shows(page, "One, two.")
            expect(page.get_by_test_id("answer")).to_have_count(1)
    assert (answer.asked, answer.whole) == (len(PROTOCOLS), len(PROTOCOLS))


def test_a_question_survives_a_reload_before_the_server_has_said_anything(
    browser: Browser,
) -> None:
    answer = Halting(silent=True)
    with serving(answer) as url, opened(browser, url) as page:
        ask(page, "Hello")
        status(page, "waiting")
        page.reload()
        status(page, "waiting")
        answer.go_on.set()
        status(page, "done")
        shows(page, "One, two.")
    assert answer.asked == 1


@pytest.mark.parametrize("how", ["reload", "close"])
def test_an_answer_is_made_to_its_end_when_its_reader_leaves(browser: Browser, how: str) -> None:
    answer = Halting()
    with serving(answer) as url, opened(browser, url) as page:
        ask(page, "Hello")
        shows(page, "One, ")
        page.goto("about:blank") if how == "reload" else page.close()
        answer.go_on.set()
        assert answer.ends.acquire(timeout=30)
    assert answer.whole == 1


def test_the_conversation_stays_as_it_was(browser: Browser) -> None:
    answer = Halting()
    answer.go_on.set()
    with serving(answer) as url, opened(browser, url) as page:
        for prompt in ("first", "second"):
            ask(page, prompt)
            expect(last(page, "said")).to_contain_text(prompt)
            status(page, "done")
        before = page.get_by_test_id("turns").inner_text()
        unmeasured = re.sub(r"Reasoned for .*", "Reasoning", before)
        figures = last(page, "figures").text_content()
        page.reload()
        expect(page.get_by_test_id("answer")).to_have_count(2)
        assert page.get_by_test_id("turns").inner_text() == unmeasured
        expect(last(page, "tool-output")).to_have_text("two")
        expect(last(page, "figures")).to_have_text(figures or "")
        assert page.evaluate("page.conversation.map(({ content }) => content)") == [
            "first",
            "One, two.",
            "second",
            "One, two.",
        ]
        page.get_by_role("button", name="New", exact=True).click()
        page.reload()
        expect(page.get_by_test_id("welcome")).to_be_visible()
        expect(page.get_by_test_id("answer")).to_have_count(0)
    assert answer.asked == 2


def second_tab(page: Page, url: str) -> Page:
    other = page.context.new_page()
    other.goto(url)
    return other


def test_a_second_tab_follows_and_goes_on_with_the_conversation(browser: Browser) -> None:
    answer = Halting()
    with serving(answer) as url, opened(browser, url) as page:
        ask(page, "Hello")
        shows(page, "One, ")
        other = second_tab(page, url)
        shows(other, "One, ")
        answer.go_on.set()
        for tab in (page, other):
            status(tab, "done")
            shows(tab, "One, two.")
        answer.go_on.clear()
        ask(other, "And then?")
        expect(last(page, "said")).to_contain_text("And then?", timeout=PATIENCE)
        for tab in (other, page):
            shows(tab, "One, ")
        answer.go_on.set()
        for tab in (other, page):
            status(tab, "done")
            expect(tab.get_by_test_id("answer")).to_have_count(2)
        other.get_by_role("button", name="New", exact=True).click()
        expect(page.get_by_test_id("welcome")).to_be_visible()
    assert answer.asked == 2


def test_stop_works_from_the_other_tab_in_every_protocol(browser: Browser) -> None:
    answer = Halting()
    with serving(answer) as url, ExitStack() as stack:
        for protocol in PROTOCOLS:
            page = stack.enter_context(opened(browser, url))
            choose(page, protocol)
            ask(page, "Hello")
            shows(page, "One, ")
            other = second_tab(page, url)
            shows(other, "One, ")
            other.get_by_role("button", name="Stop").click()
            for tab in (page, other):
                status(tab, "stopped")
                expect(last(tab, "note")).to_have_text("You stopped the answer.")
                shows(tab, "One, ")
            assert answer.ends.acquire(timeout=30)
            page.reload()
            expect(last(page, "note")).to_have_text("You stopped the answer.")
    assert (answer.asked, answer.whole) == (len(PROTOCOLS), 0)


def test_stop_before_the_first_token_is_done_as_soon_as_the_server_tells_what_to_stop(
    browser: Browser,
) -> None:
    answer = Halting(silent=True)
    with serving(answer) as url, opened(browser, url) as page:
        ask(page, "Hello")
        status(page, "waiting")
        page.keyboard.press("Escape")
        status(page, "stopped")
        assert answer.ends.acquire(timeout=30)
    assert answer.whole == 0


class BreakingOff:
    """The application, whose first connection breaks off once it has sent this."""

    def __init__(self, app: Any, behind: bytes) -> None:
        self._app = app
        self._behind = behind
        self.broke = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            await send(message)
            if not self.broke and self._behind in message.get("body", b""):
                self.broke = True
                raise OSError("the cable was pulled")

        await self._app(scope, receive, sending)


def test_a_connection_that_breaks_is_made_again(browser: Browser) -> None:
    answer = Halting()
    app = BreakingOff(Demo(answer), b"One, ")
    broken = "net::ERR_INCOMPLETE_CHUNKED_ENCODING"
    with serve(app) as url, opened(browser, url, tolerated=broken) as page:
        with page.expect_response(lambda response: "/streams/" in response.url):
            ask(page, "Hello")
        shows(page, "One, ")
        answer.go_on.set()
        status(page, "done")
        shows(page, "One, two.")
        assert app.broke
    assert answer.asked == 1


def test_an_answer_that_is_not_kept_any_more_is_said_to_be_gone(browser: Browser) -> None:
    answer = Halting()
    answer.go_on.set()
    with serving(answer) as url, opened(browser, url, tolerated="404") as page:
        ask(page, "Hello")
        status(page, "done")
        page.evaluate(
            """() => {
                const { id, turns } = kept.load();
                turns[0] = { ...turns[0], ending: null, run: "0".repeat(32) };
                kept.write({ id, turns });
            }"""
        )
        page.reload()
        status(page, "error")
        expect(last(page, "error")).to_contain_text("There is no such stream, or it has expired.")
        shows(page, "One, two.")
    assert answer.asked == 1


@pytest.mark.parametrize("found", ["5", "null", "{", '{"turns": 1}'])
def test_what_is_no_conversation_of_the_pages_is_passed_over(browser: Browser, found: str) -> None:
    answer = Halting()
    answer.go_on.set()
    with serving(answer) as url, opened(browser, url) as page:
        page.evaluate("(found) => localStorage.setItem('llmstream', found)", found)
        page.reload()
        expect(page.get_by_test_id("welcome")).to_be_visible()
        ask(page, "Hello")
        status(page, "done")
        page.reload()
        shows(page, "One, two.")


def test_what_the_documentation_has_a_page_do_follows_from_the_message_so_far(
    browser: Browser,
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "resume.md").read_text()
    [block] = re.findall(r"```js\n(.*?)```", text, re.S)
    answer = Halting()
    with serving(answer) as url, opened(browser, url, bypass_csp=True) as page:
        ask(page, "Hello")
        shows(page, "One, ")
        page.evaluate(
            f"""async () => {{
                {block}
                const texts = ({{ content }}) => content.filter((part) => part.kind === "text");
                const show = (message) => {{
                    window.told = texts(message).map((part) => part.text);
                }};
                const append = (text) => window.told.push(text);
                window.source = await follow(page.running.turn.run, show, append);
            }}"""
        )
        assert page.evaluate("window.told") == ["One, "]
        answer.go_on.set()
        page.wait_for_function("window.told.length > 1")
        page.wait_for_function("window.source.readyState === EventSource.CLOSED")
        assert page.evaluate("window.told") == ["One, ", "two."]
