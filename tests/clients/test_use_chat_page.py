"""The example's page: `useChat` of the AI SDK in a Chromium, bundled from npm."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo_page import PATIENCE, opened
from tests.support.node import Run, bundle, node
from tests.support.servers import serve
from tests.support.services import browsing

try:
    from playwright.sync_api import Browser, Page, expect
except ModuleNotFoundError:
    pass  # `browsing` says so

__all__ = ["node"]

# One browser for them all, and so one process.
pytestmark = pytest.mark.xdist_group("page")

FOLDER = Path(__file__).parents[2] / "examples" / "fastapi"
WHOLE = "You said Hello, and I take my time to say so. "


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def built(node: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as its README builds it."""
    page = tmp_path_factory.mktemp("page")
    shutil.copy(FOLDER / "resume_page" / "index.html", page)
    bundle(FOLDER / "resume_page" / "chat.jsx", page / "chat.js")
    return page


@pytest.fixture
def url(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PAGE", str(built))
    monkeypatch.setenv("PAUSE", "0.3")
    with serve(runpy.run_path(str(FOLDER / "resume.py"))["app"]) as url:
        yield url


def ask(page: Page) -> None:
    page.locator("input").fill("Hello")
    page.locator("input").press("Enter")
    expect(page.locator(".assistant")).to_contain_text("You said", timeout=PATIENCE)


def test_use_chat_gets_the_rest_of_its_answer_after_a_reload(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        ask(page)
        page.reload()
        expect(page.locator(".user")).to_have_text("Hello")
        expect(page.locator("button")).to_be_visible()  # it is still being made
        expect(page.locator(".assistant")).to_have_text(WHOLE, timeout=PATIENCE)
        expect(page.locator("input")).to_be_visible()
        page.reload()
        expect(page.locator("p")).to_have_text(["Hello", WHOLE])


def test_use_chat_stops_its_answer_from_the_page_that_was_reloaded(
    browser: Browser, url: str
) -> None:
    with opened(browser, url) as page:
        ask(page)
        page.reload()
        page.locator("button").click()
        expect(page.locator("input")).to_be_visible()
        expect(page.locator(".assistant")).to_contain_text("You said")
        said = page.locator(".assistant").text_content()
        assert said
        assert WHOLE.startswith(said)
        assert said != WHOLE
        page.reload()
        expect(page.locator("p")).to_have_text(["Hello", said])
