"""Every stream ends once and visibly, and `on_finish` is told so exactly once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asgi_llmstream import (
    Data,
    Error,
    File,
    Finish,
    LLMStream,
    LLMStreamError,
    Message,
    Overloaded,
    RateLimited,
    Reasoning,
    ServerSentEvent,
    Source,
    StreamResult,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from asgi_llmstream.formats import Events
from asgi_llmstream.testing import Client, check_stream, settle
from tests.support.one_request import Run, a_word_then_silence, error_of, finish_reason_of, paced

pytestmark = pytest.mark.anyio


async def test_a_producer_that_returns_is_finished() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        yield "lo"
        yield Usage(1, 2)

    run = Run(producer())
    response = await run.whole()
    assert finish_reason_of(response) == "stop"
    result = run.result
    assert (result.outcome, result.error, result.disconnected) == ("finished", None, False)
    assert result.message.text == "Hello"
    assert result.message.finish_reason == "stop"
    assert result.message.usage == Usage(1, 2)


async def test_a_producer_that_yields_nothing_gives_an_empty_whole_answer() -> None:
    async def producer() -> AsyncIterator[Any]:
        for chunk in ():
            yield chunk

    run = Run(producer())
    response = await run.whole()
    assert response.status == 200
    assert finish_reason_of(response) == "stop"
    assert run.result.outcome == "finished"
    assert run.result.message.content == []
    assert run.result.time_to_first_chunk is None


async def test_chunks_after_a_finish_begin_a_step_and_the_last_finish_counts() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield ToolCall("c", "f")
        yield Finish("tool_calls")
        yield ToolResult("c", 1)
        yield "done"
        yield Finish("length")

    run = Run(producer())
    response = await run.whole()
    assert finish_reason_of(response) == "length"
    assert run.result.outcome == "finished"
    assert run.result.message.text == "done"


async def test_a_producer_that_raises_before_its_first_chunk_is_an_http_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def producer() -> AsyncIterator[Any]:
        raise ValueError("hunter2")
        yield

    run = Run(producer())
    response = await run.whole()
    assert response.status == 500
    assert "hunter2" not in response.body.decode()
    assert response.json()["error"]["message"] == LLMStreamError.default_message
    assert response.headers["content-type"] == "application/json"
    assert (run.result.outcome, str(run.result.error)) == ("error", "hunter2")
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (RateLimited("Slow down.", retry_after=3), 429, {"retry-after": "3"}),
        (Overloaded(retry_after=1.2), 503, {"retry-after": "2"}),
        (LLMStreamError("I'm a teapot.", status=418, code="teapot"), 418, {}),
        (TimeoutError("internal"), 500, {}),
    ],
)
async def test_a_producer_chooses_the_status_before_its_first_chunk(
    error: Exception, status: int, headers: dict[str, str]
) -> None:
    async def producer() -> AsyncIterator[Any]:
        raise error
        yield

    response = await Run(producer()).whole()
    assert response.status == status
    assert headers.items() <= response.headers.items()
    if isinstance(error, LLMStreamError):
        assert response.json()["error"]["message"] == error.message


async def test_usage_alone_is_no_first_chunk() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield Usage(7, 0)  # as Anthropic's message_start, before its overloaded_error
        yield Error("Later.", "overloaded", 503)

    assert (await Run(producer()).whole()).status == 503


async def test_hundreds_of_chunks_that_say_nothing_keep_no_failure_from_its_status() -> None:
    async def producer() -> AsyncIterator[Any]:
        for _ in range(300):  # more than wait for a reader
            yield Usage(7, 0)
        raise RateLimited()

    assert (await Run(producer(), commit_after=None).whole()).status == 429


async def test_who_reports_for_ever_and_says_nothing_is_not_waited_for_for_ever() -> None:
    async def producer() -> AsyncIterator[Any]:
        while True:
            yield Usage(7, 0)

    run = Run(producer(), commit_after=None, first_chunk_timeout=None)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.started()
        assert response.status == 200


async def test_an_error_chunk_is_the_same_as_raising_one() -> None:
    closed = False

    async def early() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield Error("No.", "no", 403)
        finally:
            closed = True

    async def late() -> AsyncIterator[Any]:
        yield "Hel"
        yield Error("No.", "no", 403)
        yield "never seen"

    run = Run(early())
    response = await run.whole()
    assert (response.status, response.json()["error"]["code"]) == (403, "no")
    assert closed
    assert run.result.outcome == "error"
    run = Run(late())
    response = await run.whole()
    assert response.status == 200
    assert error_of(response)["message"] == "No."
    assert run.result.message.text == "Hel"


async def test_a_producer_that_raises_between_chunks_ends_with_an_error_event() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        raise ValueError("hunter2")

    run = Run(producer())
    response = await run.whole()
    assert response.status == 200
    assert error_of(response)["message"] == LLMStreamError.default_message
    assert "hunter2" not in response.body.decode()
    assert run.result.outcome == "error"
    assert run.result.message.text == "Hel"
    assert run.result.message.finish_reason is None


async def test_a_producer_that_raises_in_its_finally_never_looks_finished() -> None:
    async def producer() -> AsyncIterator[Any]:
        try:
            yield "Hello"
        finally:
            raise ValueError("hunter2")

    run = Run(producer())
    response = await run.whole()
    assert error_of(response)["message"] == LLMStreamError.default_message
    assert run.result.outcome == "error"


async def test_a_chunk_of_an_unknown_type_is_told_to_the_developer_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Mystery:
        pass

    closed = False

    async def producer() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield "Hel"
            yield Mystery()
        finally:
            closed = True

    run = Run(producer())
    response = await run.whole()
    assert error_of(response)["message"] == LLMStreamError.default_message
    assert "Mystery" in caplog.text
    assert "What a producer may yield" in caplog.text
    assert isinstance(run.result.error, TypeError)
    assert closed


async def test_something_that_cannot_be_iterated_is_told_to_the_developer_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def producer() -> Any:
        return 42

    run = Run(producer)
    response = await run.whole()
    assert response.status == 500
    assert "cannot stream from int" in caplog.text


async def test_server_sent_events_of_ones_own_go_out_as_they_are_on_the_plain_format() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield ServerSentEvent("a\nb", event="mine", id="7")
        yield {"data": "c", "event": "mine"}

    response = await Client(LLMStream(producer(), format=Events())).request("GET", "/")
    check_stream(response.body, "events")
    assert b"id: 7\nevent: mine\ndata: a\ndata: b\n\nevent: mine\ndata: c\n\n" in response.body


async def test_a_format_that_only_streams_is_refused_where_the_answer_is_to_be_whole() -> None:
    started = False

    async def producer() -> AsyncIterator[Any]:
        nonlocal started
        started = True
        yield "a"

    with pytest.raises(TypeError, match=r"^Events has no answers in one piece"):
        LLMStream(producer, format=Events(), whole=True)
    assert not started


async def test_server_sent_events_on_another_format_are_an_error_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def producer() -> AsyncIterator[Any]:
        yield ServerSentEvent("a")

    assert (await Run(producer()).whole()).status == 500
    assert "format=Events()" in caplog.text


# Cut everywhere.

CHUNKS: list[Any] = [
    Reasoning("a"),
    Reasoning("b"),
    "c",
    "d",
    ToolCall("t", "f", {"x": 1}),
    ToolResult("t", [1, 2]),
    "e",
    Usage(1, 1),
    Finish(),
]


def assert_is_prefix(message: Message, cut: int) -> None:
    """The message so far is that of the first chunks, at least as many as the client saw."""
    possible = []
    for length in range(cut, len(CHUNKS) + 1):
        prefix = Message()
        for chunk in CHUNKS[:length]:
            prefix += chunk
        possible.append(repr(prefix.content))
    assert repr(message.content) in possible


@pytest.mark.parametrize("cut", range(len(CHUNKS) + 1))
async def test_a_stream_that_is_cut_at_any_chunk_is_reported_once_with_what_there_was(
    cut: int,
) -> None:
    run = Run(paced(CHUNKS), format=Events())  # on which every chunk is a send of its own
    async with Client(run.stream).stream("GET", "/") as response:
        if cut == 0:
            response.disconnect()
        else:
            response.disconnect_after(cut)
        await response.returned()
    assert run.result.disconnected
    assert run.result.outcome == "disconnected"
    assert not response.complete
    assert_is_prefix(run.result.message, cut)


@pytest.mark.parametrize("fail_at", range(1, len(CHUNKS)))
async def test_a_producer_that_fails_at_any_chunk_ends_in_one_visible_error(fail_at: int) -> None:
    async def producer() -> AsyncIterator[Any]:
        for chunk in CHUNKS[:fail_at]:
            yield chunk
        raise ValueError("boom")

    run = Run(producer())
    response = await run.whole()
    assert error_of(response)["code"] == "internal_error"
    assert run.result.outcome == "error"
    expected = Message()
    for chunk in CHUNKS[:fail_at]:
        expected += chunk
    assert repr(run.result.message.content) == repr(expected.content)


async def test_a_server_that_cancels_the_request_closes_the_producer_and_says_goodbye() -> None:
    run = Run(a_word_then_silence())
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    async with anyio.create_task_group() as group:
        group.start_soon(run.stream, {"type": "http"}, receive, send)
        with anyio.fail_after(10):
            while len(sent) < 2:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert run.result.outcome == "cancelled"
    assert b'"error"' in sent[-1]["body"]
    assert sent[-1]["more_body"] is False


# What nobody expects of a producer.


class Mute(LLMStreamError):
    def __init__(self, user: str) -> None:  # forgets to call ours
        self.user = user


class Riddle(Exception):
    @property
    def status_code(self) -> int:
        raise RuntimeError("not even this")


class Abort(BaseException):
    pass


@pytest.mark.parametrize("error", [Mute("bob"), Riddle(), Abort(), GeneratorExit()])
@pytest.mark.parametrize("said", [0, 1])
async def test_any_error_ends_the_stream_visibly_and_leaves_the_server_alone(
    error: BaseException, said: int
) -> None:
    class Producer:
        def __init__(self) -> None:
            self._said = 0

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> str:
            self._said += 1
            if self._said > said:
                raise error
            return "Hel"

    run = Run(Producer())
    response = await run.whole()
    if said:
        assert error_of(response)["message"] == LLMStreamError.default_message
    else:
        assert response.status == 500
    assert run.result.outcome == "error"
    assert (await Run(paced(["still here"])).whole()).status == 200


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_an_error_is_told_although_the_providers_close_goes_wrong(how: str) -> None:
    class Provider:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> str:
            raise RateLimited(retry_after=7)

        async def close(self) -> None:
            if how == "raises":
                raise RuntimeError("already closed")
            await anyio.sleep_forever()

    run = Run(Provider(), close_timeout=5)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.started()
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        await settle()
        await run.clock.advance(5)
        await run.clock.advance(5)
        await response.returned()
    assert isinstance(run.result.error, RateLimited)


async def test_a_disconnect_that_is_told_during_the_last_send_came_after_the_answer() -> None:
    results: list[StreamResult] = []
    last, told = anyio.Event(), anyio.Event()

    async def producer() -> AsyncIterator[str]:
        yield "Hello"

    async def receive() -> Any:
        await last.wait()
        told.set()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("more_body") is False:
            last.set()
            await told.wait()
            await settle()

    await LLMStream(producer(), on_finish=results.append)({"type": "http"}, receive, send)
    assert [(r.outcome, r.disconnected) for r in results] == [("finished", False)]


async def test_a_send_that_raises_oserror_is_a_disconnect_although_receive_is_silent() -> None:
    results: list[StreamResult] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with anyio.fail_after(10):
        stream = LLMStream(a_word_then_silence(), on_finish=results.append)
        await stream({"type": "http"}, receive, send)
    assert [(r.outcome, r.disconnected) for r in results] == [("disconnected", True)]


async def test_a_generator_that_has_run_does_not_pass_for_an_empty_answer() -> None:
    async def producer() -> AsyncIterator[str]:
        yield "Hello"

    used = producer()
    assert [chunk async for chunk in used] == ["Hello"]
    run = Run(used)
    assert (await run.whole()).status == 500
    assert "has run already" in str(run.result.error)


@pytest.mark.parametrize(
    "chunk",
    [
        Source(url=object()),  # type: ignore[arg-type]
        File(url=b"x", media_type="text/plain"),  # type: ignore[arg-type]
        Data(name=1),  # type: ignore[arg-type]
        Usage(input_tokens="3"),  # type: ignore[arg-type]
        Finish(reason="banana"),  # type: ignore[arg-type]
        Text(text=5),  # type: ignore[arg-type]
    ],
)
async def test_a_chunk_with_a_field_of_the_wrong_type_is_the_producers_error(chunk: Any) -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        yield chunk

    run = Run(producer(), format=Events())
    response = await run.whole()
    assert check_stream(response.body, "events")[-1].event == "run-failed"
    assert run.result.outcome == "error"


@pytest.mark.parametrize(
    "chunk", [Data("d", "x" * 100_000), File("data:," + "x" * 100_000, "text/plain")]
)
async def test_large_items_block_the_producer_of_a_stalled_reader_soon(chunk: Any) -> None:
    yielded = 0

    async def producer() -> AsyncIterator[Any]:
        nonlocal yielded
        while True:
            yielded += 1
            yield chunk

    run = Run(producer(), format=Events())
    async with Client(run.stream).stream("GET", "/") as response:
        response.stall()
        await settle()
        assert yielded <= 4
        response.disconnect()
        await response.returned()


@pytest.mark.parametrize("last", [Error("No."), object()])
async def test_a_task_group_held_at_the_yield_that_ends_the_stream_closes_quietly(
    last: Any, caplog: pytest.LogCaptureFixture
) -> None:
    closed = False

    async def producer() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                yield "Hel"
                yield last
        finally:
            closed = True

    run = Run(producer())
    await run.whole()
    assert closed
    assert "after its stream had ended" not in caplog.text


async def test_a_finally_that_raises_after_the_client_has_left_is_told_to_the_developer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def producer() -> AsyncIterator[Any]:
        try:
            yield "Hel"
            await anyio.sleep_forever()
        finally:
            raise ValueError("could not clean up")

    run = Run(producer())
    async with Client(run.stream).stream("GET", "/") as response:
        await response.chunk()
        response.disconnect()
        await response.returned()
    assert run.result.outcome == "disconnected"
    assert "could not clean up" in caplog.text


async def test_on_finish_waits_for_the_reader_to_have_the_end() -> None:
    async def producer() -> AsyncIterator[Any]:
        yield "Hel"
        await settle()
        yield "lo"

    run = Run(producer(), send_timeout=None)
    async with Client(run.stream).stream("GET", "/") as response:
        await response.started()
        response.stall()
        await settle()
        assert run.results == []
        response.resume()
        await response.read_to_end()
        await response.returned()
    assert (run.result.outcome, run.result.disconnected) == ("finished", False)
