"""The documents' examples run, and every public name has one."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

import asgi_llmstream
import asgi_llmstream.formats
import asgi_llmstream.testing
from tests.support.pages import ROOT, blocks
from tests.support.servers import serve

PAGES = [
    "README.md",
    "docs/names.md",
    "docs/frameworks.md",
    "docs/sources.md",
    "docs/stores.md",
    "docs/recipes.md",
    "docs/resume.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_a_page_runs(page: str) -> None:
    namespace: dict[str, Any] = {"__name__": page}
    for block in blocks(page):
        exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("module", [asgi_llmstream, asgi_llmstream.formats, asgi_llmstream.testing])
def test_every_public_name_has_an_example(module: Any) -> None:
    code = "\n".join(block for page in PAGES for block in blocks(page))
    assert [name for name in sorted(module.__all__) if not re.search(rf"\b{name}\b", code)] == []


def test_every_test_that_a_page_names_is_there() -> None:
    defined = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    named = {
        (page.name, *named)
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for named in re.findall(r"`(\w+\.py)::(\w+)`", page.read_text())
    }
    assert named
    assert [it for it in sorted(named) if f"def {it[2]}(" not in defined.get(it[1], "")] == []


def test_the_first_screen_shows_what_its_command_prints() -> None:
    namespace: dict[str, Any] = {}
    exec(blocks("README.md")[0], namespace)
    page = (ROOT / "README.md").read_text()
    (path,) = re.findall(r"curl -N 'http://127\.0\.0\.1:8000(\S+)'\n", page)
    shown = re.search(r"^    id: \w+…(:\d)\n    (event: .*)\n    (data: .*)\n", page, re.M)
    assert shown is not None
    with serve(namespace["app"]) as url, httpx.Client(trust_env=False) as client:
        printed = client.get(url + path).text
    assert "{}\n{}\n{}\n\n".format(*shown.groups()) in printed


def test_the_readme_gives_two_commands_that_make_their_environment() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line.strip() for line in lines if "python3 -m venv" in line and "    " in line]
    assert len(commands) == 2
    assert commands[0].endswith("llmstream demo")
    assert commands[1].endswith("pytest")
