from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import anyio
import httpx
import pytest

from asgi_llmstream import (
    ChatMessage,
    ChatRequest,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    collect,
)
from asgi_llmstream.demo import responder, tools
from asgi_llmstream.demo.app import Demo
from asgi_llmstream.demo.responder import Responder
from asgi_llmstream.errors import UpstreamError
from asgi_llmstream.testing import parse_sse
from tests.support.services import DemoProcess, need, running_demo


def request(*said: str) -> ChatRequest:
    return ChatRequest(messages=[ChatMessage(role="user", content=text) for text in said])


class Pauses:
    """A `sleep` that takes no time and remembers what was asked of it."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def answered(*said: str) -> Message:
    async def run() -> Message:
        noon = datetime(2026, 11, 22, 12, 30)
        return await collect(Responder(sleep=Pauses(), now=lambda: noon)(request(*said)))

    return anyio.run(run)


def streamed(prompt: str) -> tuple[list[Any], list[float]]:
    """The chunks of an answer, and its pauses."""
    pauses = Pauses()

    async def run() -> list[Any]:
        return [chunk async for chunk in Responder(sleep=pauses)(request(prompt))]

    return anyio.run(run), pauses.taken


# The responder.


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ("what is 12*7", "84"),
        ("What is 12 × 7?", "84"),  # noqa: RUF001
        ("12 x 7", "84"),
        ("please add 2 plus 3 times 4", "14"),
        ("What is (2 + 3)^4?", "625"),
        ("what's 5 - -3 (I think it is 8)", "8"),
        ("10 / 4.", "2.5"),
        ("-3+4", "1"),
        ("2 to the power of 10", "1024"),
    ],
)
def test_arithmetic_is_calculated_by_the_tool_and_said(prompt: str, result: str) -> None:
    message = answered(prompt)
    assert [call.name for call in message.tool_calls] == ["calculator"]
    assert f"is {result}." in message.text


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("1/0", "division by zero"),
        ("9**9**9**9", "power is beyond me"),
        ("(0-8)**0.5", "power is beyond me"),
        ("99999**20 * 99999**20", "too large"),
    ],
)
def test_arithmetic_that_cannot_be_done_is_refused_with_the_reason(prompt: str, why: str) -> None:
    chunks, _ = streamed(prompt)
    [result] = [chunk for chunk in chunks if isinstance(chunk, ToolResult)]
    assert result.error
    assert why in result.output
    assert why in answered(prompt).text


@pytest.mark.parametrize("source", ["__import__('os')", "a+1", "1 if 1 else 2", "[1]*9", "True+1"])
def test_nothing_but_numbers_and_signs_is_calculated(source: str) -> None:
    with pytest.raises(ValueError, match="not arithmetic"):
        tools.calculate(source)


@pytest.mark.parametrize(
    "text", ["covid-19 in 3d", "2024-05-01", "page 12", "", "1 + " * 50 + "1", "(" * 5000]
)
def test_text_that_only_looks_like_arithmetic_is_none(text: str) -> None:
    assert tools.find_expression(text) is None


def test_a_greeting_is_returned() -> None:
    assert answered("Hello there!").text.startswith("Hello!")


def test_the_words_that_were_typed_are_counted_and_repeated() -> None:
    message = answered("I walked along the river in autumn")
    assert [call.name for call in message.tool_calls] == ["count_words"]
    assert "7 words" in message.text
    assert "“walked”, “river” and “autumn”" in message.text


def test_letters_are_counted_in_the_word_that_was_asked_about() -> None:
    assert "“r” stands in “strawberry” 3 times" in answered("How many r's in strawberry?").text


def test_the_time_comes_from_the_clock() -> None:
    message = answered("What time is it?")
    assert [call.name for call in message.tool_calls] == ["clock"]
    assert "12:30 on Sunday, 22 November 2026" in message.text


def test_what_was_said_before_is_recalled() -> None:
    assert "Before that you said “My cat is grey”" in answered("My cat is grey", "Hello").text


@pytest.mark.parametrize("prompt", ["", "   ", "?!", "🙂", "你好吗", "a" * 20_000])
def test_any_text_at_all_gets_an_answer(prompt: str) -> None:
    assert answered(prompt).text


def test_an_answer_is_a_pause_reasoning_one_tool_call_text_and_usage_in_this_order() -> None:
    chunks, pauses = streamed("Hello")
    kinds = [type(chunk) for chunk in chunks]
    order = list(dict.fromkeys(kinds))[:5]
    assert order == [Reasoning, ToolCall, ToolResult, Text, Usage]
    assert kinds.count(ToolCall) == kinds.count(ToolResult) == 1
    assert kinds.count(Text) > 10
    assert pauses[0] == responder.FIRST_PAUSE
    assert responder.SLOW_PAUSE not in pauses


def test_the_same_prompt_gets_the_same_answer() -> None:
    assert streamed("Tell me about rivers") == streamed("Tell me about rivers")


def test_slow_is_one_long_silence_in_the_middle() -> None:
    _, pauses = streamed("be slow")
    assert pauses.count(responder.SLOW_PAUSE) == 1
    assert 10 < pauses.index(responder.SLOW_PAUSE) < len(pauses) - 10


def test_speed_shortens_every_pause_but_the_silence_that_was_asked_for() -> None:
    async def pauses(speed: float) -> list[float]:
        taken = Pauses()
        async for _chunk in Responder(sleep=taken, speed=speed)(request("slow")):
            pass
        return taken.taken

    usual, fast = anyio.run(pauses, 1), anyio.run(pauses, 10)
    assert usual.count(responder.SLOW_PAUSE) == fast.count(responder.SLOW_PAUSE) == 1
    others = [pause for pause in usual if pause != responder.SLOW_PAUSE]
    assert [pause for pause in fast if pause != responder.SLOW_PAUSE] == [p / 10 for p in others]


def test_error_breaks_off_in_the_middle_of_the_text() -> None:
    said: list[Any] = []

    async def run() -> None:
        async for chunk in Responder(sleep=Pauses())(request("show me an error")):
            said.append(chunk)

    with pytest.raises(UpstreamError, match="broke off"):
        anyio.run(run)
    assert isinstance(said[-1], Text)
    assert not any(isinstance(chunk, Usage) for chunk in said)


# The application, without a server.


class Exchange:
    """One request to an application, which ends when the application returns."""

    def __init__(self, method: str, path: str, query: bytes = b"", **scope: Any) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [],
            **scope,
        }
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.body += message["body"]

    async def run(self, app: Demo) -> Exchange:
        with anyio.fail_after(10):
            await app(self.scope, self.receive, self.send)
        return self


async def hello(_: ChatRequest) -> AsyncGenerator[str, None]:
    yield "Hello"


@pytest.mark.anyio
async def test_the_page_is_at_the_root_and_below_any_mount() -> None:
    app = Demo(hello)
    for path, root in (("/", ""), ("/demo/", "/demo")):
        page = await Exchange("GET", path, root_path=root).run(app)
        assert page.status == 200
        assert page.body.startswith(b"<!doctype html>")
        head = await Exchange("HEAD", path, root_path=root).run(app)
        assert (head.status, head.body) == (200, b"")
        assert head.headers == page.headers
        async with app.lifespan():
            stream = Exchange("GET", f"{path}v1/events", b"prompt=x", root_path=root)
            assert b"Hello" in (await stream.run(app)).body


@pytest.mark.anyio
async def test_other_methods_and_paths_are_refused() -> None:
    app = Demo(hello)
    posted = await Exchange("POST", "/").run(app)
    assert (posted.status, posted.headers[b"allow"]) == (405, b"GET, HEAD")
    for path in ("/nothing", "/v1nothing", "/v1/nothing"):
        assert (await Exchange("GET", path).run(app)).status == 404


@pytest.mark.anyio
async def test_the_page_may_load_nothing_from_elsewhere() -> None:
    page = await Exchange("GET", "/").run(Demo(hello))
    assert b"default-src 'none'" in page.headers[b"content-security-policy"]
    for outside in (b"https://", b"src=", b"@import", b"innerHTML"):
        assert outside not in page.body


@pytest.mark.anyio
async def test_a_lifespan_starts_and_stops() -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await Demo(hello)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.anyio
@pytest.mark.parametrize("speaks_first", [True, False])
async def test_a_drain_soon_ends_open_streams_and_those_that_still_come(
    speaks_first: bool, drain: Callable[[], None]
) -> None:
    began = anyio.Event()
    closed: list[bool] = []

    async def silent(_: ChatRequest) -> AsyncGenerator[str, None]:
        try:
            if speaks_first:
                yield "Hello"
            began.set()
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    app = Demo(silent)
    streams = [Exchange("GET", "/v1/events", b"prompt=x") for _ in range(3)]
    async with app.lifespan():
        async with anyio.create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(stream.run, app)
            await began.wait()
            await anyio.wait_all_tasks_blocked()
            drain()
        late = await Exchange("GET", "/v1/events", b"prompt=x").run(app)
    assert len(closed) == 3
    for stream in streams:
        ending = b"event: run-aborted" if speaks_first else b'"code":"shutting_down"'
        assert ending in stream.body
        assert stream.status == (200 if speaks_first else 503)
    assert late.status == 503


# The command.


@pytest.fixture
def demo() -> Iterator[DemoProcess]:
    with running_demo(LLMSTREAM_DEMO_SPEED="20") as process:
        yield process


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def chat_body(prompt: str) -> dict[str, Any]:
    return {"stream": True, "messages": [{"role": "user", "content": prompt}]}


def test_the_command_serves_the_page_and_both_streams(
    demo: DemoProcess, client: httpx.Client
) -> None:
    assert client.get(demo.url).text.startswith("<!doctype html>")
    plain = client.get(f"{demo.url}v1/events", params={"prompt": "What is 12*7?"}).text
    assert '"name":"calculator"' in plain
    assert '"output":"84"' in plain
    assert "event: run-finished" in plain
    chat = client.post(f"{demo.url}v1/chat/completions", json=chat_body("What is 12*7?")).text
    assert '"content":" 84."' in chat
    assert chat.endswith("data: [DONE]\n\n")


def test_the_command_tells_where_everything_is(demo: DemoProcess) -> None:
    demo.process.send_signal(signal.SIGTERM)
    _, output = demo.wait()
    base = demo.url.rstrip("/")
    assert f"curl -N '{base}/v1/events?prompt=" in output
    assert f"curl -N {base}/v1/chat/completions" in output
    assert f'base_url="{base}/v1"' in output
    assert "built-in responder" in output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_silent_streams_visibly_and_the_process(
    demo: DemoProcess, client: httpx.Client, name: str
) -> None:
    with ExitStack() as stack:
        asked = [
            client.stream("GET", f"{demo.url}v1/events", params={"prompt": "slow"}),
            client.stream("GET", f"{demo.url}v1/events", params={"prompt": "slow"}),
            client.stream("POST", f"{demo.url}v1/chat/completions", json=chat_body("slow")),
        ]
        streams = [stack.enter_context(each).iter_lines() for each in asked]
        for lines in streams:
            assert any(line == ": ping" for line in lines)  # all have fallen silent
        demo.process.send_signal(getattr(signal, name))
        endings = ["\n".join(lines) for lines in streams]
    code, output = demo.wait()
    assert "event: run-aborted" in endings[0]
    assert "event: run-aborted" in endings[1]
    assert '{"error":{' in endings[2]
    assert code == 0
    assert "Traceback" not in output
    assert output.endswith("\nStopped.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_ends_the_process_also_while_an_answer_goes_on_that_nobody_reads(
    demo: DemoProcess, client: httpx.Client
) -> None:
    events = f"{demo.url}v1/events"
    with client.stream("GET", events, params={"prompt": "slow"}) as response:
        next(response.iter_lines())
        stream = demo.url.rstrip("/") + response.headers["location"]
    assert client.get(stream, headers={"accept": "application/json"}).json()["live"]
    demo.process.send_signal(signal.SIGTERM)
    code, output = demo.wait()
    assert (code, "Traceback" in output) == (0, False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_ends_the_process_also_while_a_reader_stalls(demo: DemoProcess) -> None:
    host, port = demo.url.removeprefix("http://").rstrip("/").split(":")
    prompt = b"a" * 8_000_000  # comes back in the tool call: more than the sockets hold
    body = json.dumps(chat_body(prompt.decode())).encode()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        connection.recv(1)  # the answer has begun, and nobody will read the rest
        demo.process.send_signal(signal.SIGINT)
        code, output = demo.wait()
    assert code == 0
    assert "Traceback" not in output
    assert output.endswith("\nStopped.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_that_comes_with_the_banner_is_not_lost(demo: DemoProcess) -> None:
    demo.process.send_signal(signal.SIGINT)
    code, output = demo.wait()
    assert code == 0
    assert "Traceback" not in output
    assert output.endswith("\nStopped.\n")


def test_a_provider_answers_when_there_is_a_key(demo: DemoProcess, client: httpx.Client) -> None:
    pytest.importorskip("openai")
    provider = {
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": f"{demo.url}v1",
        "OPENAI_MODEL": "small",
    }
    with running_demo(**provider) as proxy:
        models = client.get(f"{proxy.url}v1/models").json()
        stream = client.get(f"{proxy.url}v1/events", params={"prompt": "What is 12*7?"}).text
        broken = client.get(f"{proxy.url}v1/events", params={"prompt": "an error"}).text
    assert [model["id"] for model in models["data"]] == ["small"]
    deltas = [json.loads(event.data or "") for event in parse_sse(stream.encode())]
    assert "12*7 is 84." in "".join(delta.get("text", "") for delta in deltas)
    assert "event: run-finished" in stream
    assert "event: run-failed" in broken


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_that_is_none_is_an_error_that_says_so(speed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asgi_llmstream", "demo", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "OPENAI_API_KEY": "", "LLMSTREAM_DEMO_SPEED": speed},
    )
    assert done.returncode == 1
    assert "LLMSTREAM_DEMO_SPEED must be a positive number" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_an_error_that_says_so() -> None:
    need("click", _importable("click"))
    from click.testing import CliRunner

    from asgi_llmstream.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(main, ["demo", "--port", str(port)])
    assert result.exit_code == 1
    assert f"port {port} is in use" in result.output


def test_the_next_free_port_is_taken_when_none_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need("click", _importable("click"))
    from asgi_llmstream import cli

    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        monkeypatch.setattr(cli, "DEFAULT_PORT", first)
        with cli._listen("127.0.0.1", None) as listener:
            assert first < listener.getsockname()[1] < first + 20


@pytest.mark.parametrize(
    ("missing", "environment"),
    [("click", {}), ("uvicorn", {}), ("openai", {"OPENAI_API_KEY": "any"})],
)
def test_what_is_not_installed_is_named_with_the_way_to_get_it(
    missing: str, environment: dict[str, str]
) -> None:
    script = (
        "import runpy, sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "sys.argv = ['llmstream', 'demo', '--port', '0']\n"
        "runpy.run_module('asgi_llmstream', run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environment},
    )
    assert result.returncode == 1
    assert "pip install 'asgi-llmstream[demo]'" in result.stderr
    assert missing in result.stderr
    assert "Traceback" not in result.stderr


def _importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True
