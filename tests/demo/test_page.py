"""The demo's page in a real Chromium, talking to the real command."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing
from typing import Any

import pytest

from asgi_llmstream import ChatRequest
from asgi_llmstream.chunks import Chunk
from asgi_llmstream.demo.responder import Responder
from tests.support.demo_page import (
    PATIENCE,
    PROTOCOLS,
    ask,
    choose,
    last,
    opened,
    serving,
    status,
)
from tests.support.services import DemoProcess, browsing, running_demo

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


@pytest.fixture(scope="module")
def demo(browser: Browser) -> Iterator[DemoProcess]:
    with running_demo(LLMSTREAM_DEMO_SPEED="20") as process:
        yield process


@pytest.fixture(scope="module")
def paced_demo(browser: Browser) -> Iterator[DemoProcess]:
    """In the time that it takes people to watch it."""
    with running_demo() as process:
        yield process


@pytest.fixture
def page(browser: Browser, demo: DemoProcess) -> Iterator[Page]:
    with opened(browser, demo.url) as page:
        yield page


def observe(page: Page) -> None:
    """Note every different text that the answer has on its way."""
    page.evaluate(
        """() => {
            window.seen = [];
            const note = () => {
                const text = document.querySelector("[data-testid=answer-text]")?.textContent;
                if (text && text !== window.seen.at(-1)) window.seen.push(text);
            };
            new MutationObserver(note).observe(document.querySelector("#turns"), {
                childList: true, characterData: true, subtree: true,
            });
        }"""
    )


# Those that send the user's words alone, and those that leave out the tools that the server runs.
WITHOUT_HISTORY = ["events"]
WITHOUT_SERVERS_TOOLS = ["openai", "anthropic"]


def test_every_protocol_of_the_chat_can_be_chosen(page: Page) -> None:
    offered = page.get_by_label("Protocol").locator("option")
    assert [option.get_attribute("value") for option in offered.all()] == PROTOCOLS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_shows_the_answer_its_error_and_the_conversation(
    page: Page, protocol: str
) -> None:
    choose(page, protocol)
    observe(page)
    ask(page, "What is 12*7?")
    status(page, "done")
    whole = last(page, "answer-text").text_content()
    assert whole.startswith("12*7 is 84.")
    seen = page.evaluate("window.seen")
    assert len(seen) > 1  # it grew; tokens that wait together come together
    assert seen[-1] == whole
    assert all(whole.startswith(text) for text in seen)
    expect(last(page, "reasoning-text")).to_contain_text("There is arithmetic in this: 12*7.")
    if protocol in WITHOUT_SERVERS_TOOLS:
        expect(page.get_by_test_id("tool-name")).to_have_count(0)
    else:
        expect(last(page, "tool-name")).to_have_text("calculator")
        expect(last(page, "tool-arguments")).to_have_text('{"expression":"12*7"}')
        expect(last(page, "tool-output")).to_have_text("84")
    expect(last(page, "figures")).to_have_text(re.compile(r"[1-9]\d* tokens? in, [1-9]\d* out"))

    ask(page, "error")
    status(page, "error")
    expect(last(page, "error")).to_have_text("Error. The demo broke off here, as you asked it to.")
    partial = last(page, "answer-text").text_content()
    assert 0 < len(partial) < len(whole)

    ask(page, "Hello")
    status(page, "done")
    recalled = protocol not in WITHOUT_HISTORY
    assert ("you said “error”" in last(page, "answer-text").text_content()) == recalled


def test_the_wait_is_shown_and_then_the_tokens_one_by_one(
    browser: Browser, paced_demo: DemoProcess
) -> None:
    with opened(browser, paced_demo.url) as page:
        observe(page)
        ask(page, "Hello")
        status(page, "waiting")
        status(page, "streaming")
        status(page, "done")
        whole = last(page, "answer-text").text_content()
        assert len(page.evaluate("window.seen")) > len(whole.split()) / 2


def test_a_request_that_is_refused_is_shown_as_the_error_that_it_is(
    browser: Browser, demo: DemoProcess
) -> None:
    with opened(browser, demo.url, tolerated="400") as page:
        for protocol in PROTOCOLS:
            if protocol in WITHOUT_HISTORY:
                continue
            choose(page, protocol)
            page.evaluate("page.conversation = [{ role: 'user', content: 5 }]")
            ask(page, "Hello")
            status(page, "error")
            expect(last(page, "error")).to_contain_text("(400)")
            page.get_by_role("button", name="New", exact=True).click()


def test_the_tool_call_its_result_the_reasoning_and_the_figures_are_shown(page: Page) -> None:
    ask(page, "What is 12*7?")
    status(page, "done")
    expect(last(page, "tool-name")).to_have_text("calculator")
    expect(last(page, "tool-arguments")).to_have_text('{"expression":"12*7"}')
    expect(last(page, "tool-output")).to_have_text("84")
    expect(last(page, "reasoning-text")).to_be_hidden()
    page.get_by_text(re.compile("Reasoned for")).click()
    expect(last(page, "reasoning-text")).to_be_visible()
    expect(last(page, "figures")).to_have_text(
        re.compile(r"First token after \d.* tokens/s · .*tokens in, \d+ out")
    )


def test_silence_is_shown_with_its_heartbeats_and_can_be_stopped(
    browser: Browser, demo: DemoProcess
) -> None:
    with ExitStack() as stack:
        pages = {it: stack.enter_context(opened(browser, demo.url)) for it in PROTOCOLS}
        for protocol, page in pages.items():  # all are silent at the same time
            choose(page, protocol)
            ask(page, "slow")
        for page in pages.values():
            heartbeats = page.get_by_test_id("heartbeats")
            expect(heartbeats).to_have_text(
                re.compile("^♥ ([2-9]|1[0-9]) heartbeats$"), timeout=PATIENCE
            )
            before = last(page, "answer-text").text_content()
            page.get_by_role("button", name="Stop").click()
            status(page, "stopped")
            expect(last(page, "note")).to_have_text("You stopped the answer.")
            assert last(page, "answer-text").text_content() == before
            expect(page.get_by_label("Message")).to_be_focused()


def test_the_raw_stream_is_shown_when_asked(page: Page) -> None:
    expect(page.get_by_test_id("raw")).to_be_hidden()
    page.get_by_role("button", name="Raw", exact=True).click()
    ask(page, "Hello")
    status(page, "done")
    expect(page.get_by_test_id("raw-lines")).to_contain_text("event: run-started")
    expect(page.get_by_test_id("raw-lines")).to_contain_text("event: run-finished")


def test_the_keyboard_is_enough(page: Page) -> None:
    expect(page.get_by_label("Message")).to_be_focused()
    page.keyboard.type("slow")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please")
    expect(page.get_by_label("Message")).to_have_value("slow\nplease")
    page.keyboard.press("Enter")
    status(page, "streaming")
    page.keyboard.press("Escape")
    status(page, "stopped")


def test_a_screen_reader_hears_the_waiting_and_the_whole_answer_once(page: Page) -> None:
    heard = page.get_by_test_id("announcer")
    expect(heard).to_have_attribute("aria-live", "polite")
    page.evaluate(
        """() => {
            const node = document.querySelector("#announcer");
            window.heard = [];
            new MutationObserver(() => window.heard.push(node.textContent)).observe(
                node, {childList: true},
            );
        }"""
    )
    ask(page, "What is 12*7?")
    status(page, "done")
    waiting, answer = page.evaluate("window.heard")
    assert waiting == "Waiting for the answer."
    assert answer == f"Answer: {last(page, 'answer-text').text_content()}"


def test_what_the_user_and_the_model_say_is_never_markup(page: Page) -> None:
    ask(page, "<img src=x onerror='document.title=1'><b>bold</b>")
    status(page, "done")
    assert page.locator("#turns img, #turns b").count() == 0
    expect(last(page, "said")).to_contain_text("<b>bold</b>")


def test_nothing_is_wider_than_a_phone(browser: Browser, demo: DemoProcess) -> None:
    phone: dict[str, Any] = {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
    }
    with opened(browser, demo.url, **phone) as page:
        page.get_by_role("button", name="Raw", exact=True).tap()
        ask(page, "w" * 300)
        status(page, "done")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for control in ("Send", "Raw", "New"):
            expect(page.get_by_role("button", name=control, exact=True)).to_be_in_viewport(ratio=1)


def test_dark_mode_is_dark(browser: Browser, demo: DemoProcess) -> None:
    with opened(browser, demo.url, color_scheme="dark") as page:
        red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert int(red) < 64


class Recorded:
    """The responder, and how often it was closed before its end."""

    def __init__(self) -> None:
        self.cut_short = threading.Semaphore(0)

    async def __call__(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        try:
            async with aclosing(Responder(speed=20)(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BaseException:
            self.cut_short.release()
            raise


def test_stop_closes_the_producer(browser: Browser) -> None:
    answer = Recorded()
    with serving(answer) as url, opened(browser, url) as page:
        ask(page, "slow")
        expect(last(page, "answer-text")).not_to_be_empty(timeout=PATIENCE)
        page.get_by_role("button", name="Stop").click()
        assert answer.cut_short.acquire(timeout=30)


def test_a_server_that_ends_in_mid_answer_is_an_error_not_an_answer(browser: Browser) -> None:
    with running_demo(LLMSTREAM_DEMO_SPEED="20") as demo, opened(browser, demo.url) as page:
        ask(page, "slow")
        expect(last(page, "answer-text")).not_to_be_empty(timeout=PATIENCE)
        demo.process.terminate()
        status(page, "error")
        expect(last(page, "error")).to_contain_text("The server ended the answer")
        demo.wait()


def test_a_connection_that_breaks_is_an_error_not_an_answer(browser: Browser) -> None:
    broken = "net::ERR_"  # also of those that it tries to make again
    with (
        running_demo(LLMSTREAM_DEMO_SPEED="20") as demo,
        opened(browser, demo.url, tolerated=broken) as page,
    ):
        ask(page, "slow")
        expect(last(page, "answer-text")).not_to_be_empty(timeout=PATIENCE)
        demo.process.kill()
        status(page, "error")
        expect(last(page, "error")).to_have_text("Error. The connection to the server failed.")
