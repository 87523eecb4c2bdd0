"""Who follows docs/first-hour.md gets what it says, command by command."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from asgi_llmstream import ChatApp, ChatRequest
from asgi_llmstream.testing import check_stream
from tests.support.nginx import running_nginx
from tests.support.pages import ROOT, blocks, write_first_hour
from tests.support.servers import free_port, serve
from tests.support.services import need

PAGE = "docs/first-hour.md"
LOCAL = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONPATH": str(ROOT)}
# Seconds after which a command has hung.
PATIENCE = 60


@pytest.fixture(params=["FastAPI", "Litestar"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def command(beginning: str) -> str:
    """The page's only command that begins so."""
    (found,) = re.findall(rf"^    ({re.escape(beginning)}.*)$", (ROOT / PAGE).read_text(), re.M)
    return str(found).replace(".venv/bin/", f"{Path(sys.executable).parent}/")


def environment(**more: str) -> dict[str, str]:
    """Ours, without what tells pytest that it runs inside of another."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | LOCAL | more


def run(line: str, folder: Path) -> str:
    done = subprocess.run(
        line,
        shell=True,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def started(line: str, port: int, folder: Path, **variables: str) -> Iterator[None]:
    """A server's command, which SIGTERM ends in peace."""
    line = f"exec env {line.replace('8000', str(port))}"
    process = subprocess.Popen(line, shell=True, cwd=folder, env=environment(**variables))
    try:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield
        process.terminate()
        assert process.wait(PATIENCE) in (0, -15)
    finally:
        process.kill()
        process.wait()


def curl(beginning: str, port: int, folder: Path) -> str:
    """What the page's command that begins so prints, asked at this port."""
    need("curl", shutil.which("curl") is not None)
    line = command(beginning).replace("8000", str(port))
    return run(line.replace("curl", "curl -sS --max-time 30", 1), folder)


def told(stream: str) -> str:
    """What the chunks of a stream say together."""
    chunks = [json.loads(event.data) for event in check_stream(stream.encode(), "openai")[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def test_its_own_tests_pass(framework: str, tmp_path: Path) -> None:
    write_first_hour(tmp_path, framework)
    assert "3 passed" in run(command(".venv/bin/python -m pytest"), tmp_path)


def test_it_is_deployed_behind_nginx(framework: str, tmp_path: Path) -> None:
    write_first_hour(tmp_path, framework)
    line = command("DATABASE=").replace("/var/lib/chat", str(tmp_path))
    (server,) = blocks(PAGE, "nginx")
    with free_port() as port, free_port() as outside:
        server = server.replace("8000", str(port)).replace("80;", f"127.0.0.1:{outside};")
        with started(line, port, tmp_path), running_nginx(server, outside, tmp_path):
            assert told(curl("curl -N", outside, tmp_path)) == "Hello, Ada! How are you? "
            # It is saved when the reader has it all: a moment later.
            give_up = time.monotonic() + PATIENCE
            saved: list[list[str]] = []
            while not saved and time.monotonic() < give_up:
                saved = json.loads(curl("curl http", outside, tmp_path))
            assert saved == [["finished", "Hello, Ada! How are you? "]]


def test_a_model_takes_the_place_of_the_answer(framework: str, tmp_path: Path) -> None:
    async def model(request: ChatRequest) -> AsyncIterator[str]:
        yield f"{request.prompt} Fine."

    write_first_hour(tmp_path, framework, with_a_model=True)
    with serve(ChatApp(model)) as upstream, free_port() as port:
        variables = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "-"}
        with started(command(".venv/bin/uvicorn"), port, tmp_path, **variables):
            assert told(curl("curl -N", port, tmp_path)) == "How are you? Fine."
