"""The demo's page, as tests in a Chromium drive it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.servers import serve

try:
    from playwright.sync_api import Browser, Page, expect
except ModuleNotFoundError:
    pass  # `browsing` says so

__all__ = ["PATIENCE", "PROTOCOLS", "ask", "choose", "last", "opened", "serving", "status"]

# Milliseconds: an answer takes about three seconds, longer on a busy machine.
PATIENCE = 30_000


PROTOCOLS = ["events", "openai", "responses", "anthropic", "ui", "agui"]


@contextmanager
def opened(
    browser: Browser, url: str, tolerated: str = "nothing", **options: Any
) -> Iterator[Page]:
    """A page of its own that must log no errors but the tolerated one."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.extend([said.text] * (said.type == "error")))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    complaints = [text for text in complaints if tolerated not in text]
    assert complaints == [], complaints


def ask(page: Page, prompt: str) -> None:
    page.get_by_label("Message").fill(prompt)
    page.get_by_label("Message").press("Enter")


def status(page: Page, state: str) -> None:
    """Wait for it."""
    expect(page.get_by_test_id("status")).to_have_attribute("data-state", state, timeout=PATIENCE)


def last(page: Page, testid: str) -> Any:
    return page.get_by_test_id(testid).last


def choose(page: Page, protocol: str) -> None:
    page.get_by_label("Protocol").select_option(protocol)


@contextmanager
def serving(answer: Any) -> Iterator[str]:
    """The demo in a thread, so that the test sees the producer's side too."""
    from asgi_llmstream.demo.app import Demo

    with serve(Demo(answer)) as url:
        yield f"{url}/"
