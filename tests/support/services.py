"""What a test needs beside the package: skipped by name where it is absent, demanded in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["DemoProcess", "browsing", "chromium", "need", "running_demo"]

# Seconds after which a process that should have started or ended has hung.
_PATIENCE = 30

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def need(name: str, present: bool) -> None:
    """Skip the test unless `name` is there; in CI (`CI=true`) its absence is a failure."""
    if present:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not here, and CI must not skip what needs it", pytrace=False)
    pytest.skip(f"{name} is not here")


def chromium() -> str | None:
    """The path of a Chromium: `CHROMIUM` if set, else the first on the `PATH`."""
    if chosen := os.environ.get("CHROMIUM"):
        return shutil.which(chosen)
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browsing() -> Iterator[Any]:
    """A real Chromium, driven by playwright. Leave it before the thread runs other event loops."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        need("playwright", False)
    path = chromium()
    need("Chromium", path is not None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class DemoProcess:
    """The real `llmstream demo` command.

    Attributes:
        process: its process.
        url: the page's address.
    """

    def __init__(self, environment: Mapping[str, str], *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asgi_llmstream", "demo", "--port", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._output = ""
        self.url = self._find("Page")

    def _find(self, label: str) -> str:
        """The banner's line with this label, once it is there; killed if that takes too long."""
        stdout = self.process.stdout
        assert stdout is not None
        with self._watchdog():
            for line in stdout:
                self._output += line
                if line.split()[:1] == [label]:
                    return line.split()[1]
        raise AssertionError(f"the demo did not start:\n{self._output}")

    def wait(self) -> tuple[int, str]:
        """Its exit code and all its output; fails if it does not end within the patience."""
        stdout = self.process.stdout
        assert stdout is not None
        with self._watchdog():
            self._output += stdout.read()  # to its end, which is the process's own
        return self.process.wait(_PATIENCE), self._output

    @contextmanager
    def _watchdog(self) -> Iterator[None]:
        """Kill the process, and so end every read from it, when the patience is over."""
        timer = threading.Timer(_PATIENCE, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def running_demo(*options: str, **environment: str) -> Iterator[DemoProcess]:
    """`llmstream demo` on a free port, until the block ends.

    Args:
        options: of the command, further ones.
        environment: variables beside ours, without any `OPENAI_*` of the person who tests.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONIOENCODING": "utf-8"}
    demo = DemoProcess({**inherited, **local, **environment}, *options)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.terminate()  # not killed: it has to write down what it covered
        demo.wait()
        if demo.process.stdout is not None:
            demo.process.stdout.close()
