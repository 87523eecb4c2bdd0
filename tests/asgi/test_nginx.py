"""Through a real nginx that buffers by default and waits one second for its upstream."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions, StreamResult
from asgi_llmstream.testing import check_stream
from tests.support.nginx import running_nginx
from tests.support.servers import free_port, serve

# Seconds that nginx waits for the upstream's next byte; the default is 60.
READ_TIMEOUT = 1
# Seconds after which a wait has hung.
PATIENCE = 30

SERVER = """
    gzip on;
    gzip_proxied any;
    gzip_min_length 1;
    gzip_types text/event-stream application/json;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_read_timeout {read_timeout}s;
        }}
    }}
"""


@contextmanager
def nginx(upstream: str, root: Path) -> Iterator[str]:
    """The address of an nginx in front of `upstream`, with all its files below `root`."""
    with free_port() as port:
        server = SERVER.format(port=port, upstream=upstream, read_timeout=READ_TIMEOUT)
        with running_nginx(server, port, root):
            yield f"http://127.0.0.1:{port}"


class Answers:
    """A server behind nginx: what it says is decided by the test, and one word at a time.

    Attributes:
        closed: set when a producer was closed.
        outcomes: what `on_finish` was told.
    """

    def __init__(self, **options: Any) -> None:
        self.closed = threading.Event()
        self.finished = threading.Event()
        self.outcomes: list[str] = []
        self._go_on = threading.Semaphore(0)
        self.app = ChatApp(
            self._answer,
            options=StreamOptions(commit_after=0.1, **options),
            on_finish=self._on_finish,
        )

    def go_on(self) -> None:
        """Let the producer say its next word."""
        self._go_on.release()

    async def _answer(self, request: ChatRequest) -> AsyncIterator[str]:
        try:
            for word in ("one ", "two ", "three"):
                while not self._go_on.acquire(blocking=False):  # noqa: ASYNC110 (of a thread)
                    await anyio.sleep(0.005)
                yield word
        finally:
            self.closed.set()

    def _on_finish(self, result: StreamResult) -> None:
        self.outcomes.append(result.outcome)
        self.finished.set()


@contextmanager
def asked(answers: Answers, root: Path, encoding: str) -> Iterator[httpx.Response]:
    """A stream of `answers` as it comes through nginx."""
    ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"accept-encoding": encoding}
    with serve(answers.app) as upstream, nginx(upstream, root) as url:
        with httpx.Client(trust_env=False, timeout=PATIENCE, headers=headers) as client:
            with client.stream("POST", f"{url}/chat/completions", json=ask) as response:
                yield response


encodings = pytest.mark.parametrize("encoding", ["identity", "gzip"])


@encodings
def test_tokens_come_through_nginx_as_they_are_sent(tmp_path: Path, encoding: str) -> None:
    answers = Answers(heartbeat_interval=0.3)
    with asked(answers, tmp_path, encoding) as response:
        assert response.headers.get("content-encoding", "identity") == encoding
        body = ""
        pieces = response.iter_text()
        for word in ("one ", "two ", "three"):
            assert word not in body
            answers.go_on()  # the next is said only when this one has been read
            while word not in body:
                body += next(pieces)
        body += "".join(pieces)
    check_stream(body.encode(), "openai")
    assert answers.outcomes == ["finished"]


@encodings
def test_silence_that_is_longer_than_nginx_waits_survives_by_its_heartbeats(
    tmp_path: Path, encoding: str
) -> None:
    answers = Answers(heartbeat_interval=0.3)
    with asked(answers, tmp_path, encoding) as response:
        pieces = response.iter_text()
        body = ""
        silent_since = time.monotonic()
        while time.monotonic() < silent_since + 2 * READ_TIMEOUT or body.count(": ping") < 4:
            body += next(pieces)
        assert "one" not in body
        for _ in range(3):
            answers.go_on()
        body += "".join(pieces)
    events = check_stream(body.encode(), "openai")
    assert events[-1].data == "[DONE]"
    assert answers.outcomes == ["finished"]


def test_silence_without_heartbeats_is_an_abort_that_no_client_takes_for_the_end(
    tmp_path: Path,
) -> None:
    answers = Answers(heartbeat_interval=None)
    with asked(answers, tmp_path, "identity") as response:
        answers.go_on()
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in response.iter_raw():
                pass
        assert answers.finished.wait(PATIENCE)
    assert answers.outcomes == ["disconnected"]


@encodings
def test_a_client_that_leaves_nginx_closes_the_producer(tmp_path: Path, encoding: str) -> None:
    answers = Answers(heartbeat_interval=0.3)
    with asked(answers, tmp_path, encoding) as response:
        answers.go_on()
        pieces = response.iter_text()  # kept: httpx closes the connection with it
        body = ""
        while "one " not in body:
            body += next(pieces)
        assert not answers.closed.is_set()
        response.close()
        assert answers.closed.wait(PATIENCE)
        assert answers.finished.wait(PATIENCE)
    assert answers.outcomes == ["disconnected"]
