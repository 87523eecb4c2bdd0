"""The streaming test client, its clock and its checks."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asgi_llmstream import ChatApp, Finish, ServerSentEvent, StreamOptions, Usage
from asgi_llmstream.testing import Client, ManualClock, check_stream, parse_sse, settle

QUESTION = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1"), (b"x-a", b"2")]}


def body(data: bytes, more: bool = True) -> dict:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sending(*messages):
    """An app that sends these messages and returns."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class TestManualClock:
    pytestmark = pytest.mark.anyio

    async def test_it_moves_only_when_advanced(self):
        clock = ManualClock(5, epoch=1000)
        assert (clock.now(), clock.time()) == (5, 1000)
        await clock.advance(2.5)
        assert (clock.now(), clock.time()) == (7.5, 1002.5)

    async def test_it_wakes_listeners_until_they_unregister(self):
        clock, woken = ManualClock(), []
        stop = clock.on_jump(lambda: woken.append(clock.now()))
        await clock.advance(1)
        stop()
        stop()
        await clock.advance(1)
        assert woken == [1]

    async def test_a_due_time_is_now_or_never(self):
        clock = ManualClock()
        assert clock.delay(1) == math.inf
        await clock.advance(1)
        assert clock.delay(1) == 0

    @pytest.mark.parametrize("seconds", [-1, math.nan])
    async def test_it_does_not_go_back(self, seconds):
        with pytest.raises(ValueError, match="does not go back"):
            await ManualClock().advance(seconds)

    async def test_advancing_lets_long_chains_of_tasks_finish(self):
        clock, begun = ManualClock(), anyio.Event()
        clock.on_jump(begun.set)
        events = [begun, *(anyio.Event() for _ in range(200))]

        async def link(before, after):
            await before.wait()
            await checkpoint()
            after.set()

        async with anyio.create_task_group() as tasks:
            for before, after in pairwise(events):
                tasks.start_soon(link, before, after)
            await settle()
            assert not events[1].is_set()
            await clock.advance(1)
            assert events[-1].is_set()

    async def test_settling_does_not_wait_for_sleepers(self):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 3600)
            with anyio.fail_after(10):
                await settle()
            tasks.cancel_scope.cancel()

    async def test_settling_gives_up_on_a_task_that_never_waits(self, monkeypatch):
        monkeypatch.setattr("asgi_llmstream.testing.clock._SETTLE_LIMIT", 0.01)

        async def spin():
            while True:
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(spin)
            with anyio.fail_after(10):
                await settle()
            tasks.cancel_scope.cancel()


class TestRequests:
    pytestmark = pytest.mark.anyio

    async def test_the_app_gets_a_scope_and_a_body_as_from_a_server(self):
        async def app(scope, receive, send):
            nonlocal got
            got = dict(scope), await receive(), await receive_after(receive, send)

        async def receive_after(receive, send):
            await send(START)
            await send(body(b"", more=False))
            return await receive()

        got = None
        client = Client(
            app, root_path="/api", spec_version="2.4", headers={"X-One": "1", "X-Two": "2"}
        )
        await client.request("POST", "/a%20b?q=%20", json={"é": 1}, headers={"x-two": "3"})
        scope, first, last = got
        assert scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/a b",
            "raw_path": b"/a%20b",
            "query_string": b"q=%20",
            "root_path": "/api",
            "headers": [
                (b"host", b"testserver"),
                (b"content-type", b"application/json"),
                (b"content-length", b"13"),
                (b"x-one", b"1"),
                (b"x-two", b"3"),
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
        }
        assert first == {"type": "http.request", "body": b'{"\\u00e9": 1}', "more_body": False}
        assert last == {"type": "http.disconnect"}

    async def test_a_request_returns_the_whole_response(self):
        response = await Client(
            sending(START | {"status": 418}, body(b'{"a"'), body(b": 1}", False))
        ).request("GET", "/")
        assert response.status == 418
        assert response.headers == {"x-a": "1, 2"}
        assert response.body == b'{"a": 1}'
        assert response.json() == {"a": 1}
        assert (response.complete, response.aborted) == (True, False)
        assert [message["type"].split(".")[-1] for message in response.sends] == [
            "start",
            "body",
            "body",
        ]

    async def test_a_request_that_is_left_without_its_end_raises(self):
        with pytest.raises(ConnectionAbortedError, match="final body"):
            await Client(sending(START, body(b"x"))).request("GET", "/")

    async def test_a_request_without_any_response_raises(self):
        with pytest.raises(ConnectionAbortedError, match="no response"):
            await Client(sending()).request("GET", "/")

    async def test_what_the_app_raises_is_raised_as_it_is(self):
        async def app(scope, receive, send):
            await send(START)
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await Client(app).request("GET", "/")
        stream = Client(app).stream("GET", "/", raise_app_exceptions=False)
        async with stream as response:
            with pytest.raises(ConnectionAbortedError) as caught:
                await response.event()
            assert isinstance(caught.value.__cause__, KeyError)
        assert isinstance(response.error, KeyError)
        assert response.aborted

    async def test_what_the_block_raises_is_raised_as_it_is(self):
        with pytest.raises(ZeroDivisionError):
            async with Client(sending(START)).stream("GET", "/"):
                raise ZeroDivisionError

    async def test_what_the_app_raises_comes_before_what_the_block_raises(self):
        async def app(scope, receive, send):
            raise KeyError("mine")

        with pytest.raises(KeyError) as caught:
            async with Client(app).stream("GET", "/") as response:
                await response.started()
        assert "there was no response" in caught.value.__notes__[0]

    async def test_skipping_inside_the_block_skips(self):
        async def app(scope, receive, send):
            raise KeyError("mine")

        with pytest.raises(pytest.skip.Exception):
            async with Client(app).stream("GET", "/"):
                pytest.skip("not here")

    async def test_cancelling_the_block_cancels_the_app(self):
        cancelled = False

        async def app(scope, receive, send):
            nonlocal cancelled
            try:
                await anyio.sleep(3600)
            except anyio.get_cancelled_exc_class():
                cancelled = True
                raise

        with anyio.CancelScope() as scope:
            async with Client(app).stream("GET", "/"):
                await settle()
                scope.cancel()
                await anyio.sleep(3600)
        assert scope.cancelled_caught
        assert cancelled

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_a_cancellation_that_nobody_asked_for_is_reported(self):
        async def app(scope, receive, send):
            raise asyncio.CancelledError

        with pytest.raises(AssertionError, match=r"let CancelledError.* through"):
            async with Client(app).stream("GET", "/") as response:
                await response.returned()

    async def test_an_app_that_does_not_return_is_cancelled_and_reported(self):
        async def app(scope, receive, send):
            await anyio.sleep(3600)

        with pytest.raises(TimeoutError, match=r"waited 0\.01 s for the app to return"):
            async with Client(app, timeout=0.01).stream("GET", "/"):
                pass


async def silent(scope, receive, send):
    await send(START)
    while (await receive())["type"] != "http.disconnect":
        pass


class TestReading:
    pytestmark = pytest.mark.anyio

    async def test_events_come_while_the_app_still_runs(self):
        async def app(scope, receive, send):
            await send(START)
            for chunk in (b"data: one\n", b"\n: ping\ndata: two\n\ndata: three\n\n"):
                await go.wait()
                await send(body(chunk))
            await no_end.wait()

        go, no_end = anyio.Event(), anyio.Event()
        async with Client(app).stream("GET", "/") as response:
            await response.started()
            assert response.comments == 0
            go.set()
            assert [(await response.event()).data for _ in range(3)] == ["one", "two", "three"]
            assert response.comments == 1
            assert not response.complete
            assert await response.chunk() == b"data: one\n"
            assert await response.chunk() == b"\n: ping\ndata: two\n\ndata: three\n\n"
            no_end.set()
        assert response.aborted

    async def test_iterating_ends_with_the_response(self):
        app = sending(START, body(b"data: 1\n\ndata: 2\n\n"), body(b"", False))
        async with Client(app).stream("GET", "/") as response:
            assert [event.data async for event in response.events()] == ["1", "2"]
            with pytest.raises(anyio.EndOfStream):
                await response.event()
            assert [await response.chunk() for _ in range(2)] == [b"data: 1\n\ndata: 2\n\n", b""]
            with pytest.raises(anyio.EndOfStream):
                await response.chunk()

    async def test_iterating_a_broken_response_raises_after_what_came(self):
        seen = []
        async with Client(sending(START, body(b"data: 1\n\n"))).stream("GET", "/") as response:
            with pytest.raises(ConnectionAbortedError):
                async for event in response.events():
                    seen.append(event.data)
            assert await response.read_to_end() == b"data: 1\n\n"
        assert seen == ["1"]

    async def test_the_status_is_an_error_before_it_is_known(self):
        async with Client(sending(START)).stream("GET", "/") as response:
            for name in ("status", "headers"):
                with pytest.raises(RuntimeError, match="started"):
                    getattr(response, name)
            await response.started()
            assert response.status == 200

    async def test_waits_are_bounded(self):
        async with Client(silent, timeout=0.01).stream("GET", "/") as response:
            await response.started()
            with pytest.raises(TimeoutError, match=r"waited 0\.01 s for an event"):
                await response.event()
            with pytest.raises(TimeoutError, match="the end of the response"):
                await response.read_to_end()


class TestLeavingAndStalling:
    pytestmark = pytest.mark.anyio

    async def test_receive_waits_for_the_disconnect_and_then_always_says_so(self):
        got = []

        async def app(scope, receive, send):
            for _ in range(3):
                got.append((await receive())["type"])

        async with Client(app).stream("GET", "/") as response:
            await settle()
            assert got == ["http.request"]
            response.disconnect()
            await response.returned()
        assert got == ["http.request", "http.disconnect", "http.disconnect"]

    async def test_the_client_can_leave_before_the_app_begins(self):
        async def app(scope, receive, send):
            got.append((await receive())["type"])

        got = []
        async with Client(app).stream("POST", "/", body=b"x") as response:
            response.disconnect()
            with pytest.raises(ConnectionAbortedError):
                await response.started()
        assert got == ["http.disconnect"]
        assert not response.aborted

    async def test_sends_after_the_disconnect_are_dropped_and_counted(self):
        async def app(scope, receive, send):
            await send(START)
            await send(body(b"kept"))
            while (await receive())["type"] != "http.disconnect":
                pass
            await send(body(b"dropped"))
            await send(body(b"dropped", False))

        async with Client(app).stream("GET", "/") as response:
            await response.chunk()
            response.disconnect()
            with pytest.raises(anyio.EndOfStream):
                await response.chunk()
            await response.returned()
        assert response.body == b"kept"
        assert response.sent_after_disconnect == response.sent_after_told == 2
        assert not response.complete

    async def test_an_app_that_does_not_listen_was_not_told(self):
        async def app(scope, receive, send):
            await send(START)
            await go.wait()
            await send(body(b"dropped", False))

        go = anyio.Event()
        async with Client(app).stream("GET", "/") as response:
            await response.started()
            response.disconnect()
            go.set()
        assert (response.sent_after_disconnect, response.sent_after_told) == (1, 0)

    async def test_a_server_of_asgi_2_4_raises_on_sends_after_the_disconnect(self):
        raised = []

        async def app(scope, receive, send):
            await send(START)
            while (await receive())["type"] != "http.disconnect":
                pass
            for _ in range(2):
                try:
                    await send(body(b""))
                except OSError as error:
                    raised.append(error)

        client = Client(app, spec_version="2.4", send_raises_after_disconnect=True)
        async with client.stream("GET", "/") as response:
            await response.started()
        assert len(raised) == response.sent_after_disconnect == 2

    async def test_the_client_leaves_inside_the_send_of_a_given_chunk(self):
        sent = 0

        async def app(scope, receive, send):
            nonlocal sent
            await receive()
            await send(START)
            for _ in range(5):
                await send(body(b"x"))
                sent += 1
                if response.disconnected:
                    assert (await receive())["type"] == "http.disconnect"
                    return

        async with Client(app).stream("GET", "/") as response:
            response.disconnect_after(3)
            await response.returned()
        assert sent == 3
        assert response.body == b"xxx"

    async def test_leaving_after_a_chunk_that_has_come_is_leaving_now(self):
        app = sending(START, body(b"x"))
        async with Client(app).stream("GET", "/") as response:
            await response.chunk()
            response.disconnect_after(1)
            assert response.disconnected

    async def test_send_blocks_while_the_client_stalls(self):
        sent = []

        async def app(scope, receive, send):
            for message in (START, body(b"1"), body(b"2", False)):
                await send(message)
                sent.append(message)

        async with Client(app).stream("GET", "/") as response:
            response.stall()
            await settle()
            assert sent == []
            response.resume()
            await response.read_to_end()
            assert response.body == b"12"

    @pytest.mark.parametrize("raises", [False, True])
    async def test_a_stalled_send_ends_with_the_disconnect(self, raises):
        async def app(scope, receive, send):
            with suppress(OSError):
                await send(START)
                nonlocal went_on
                went_on = True

        went_on = False
        client = Client(app, send_raises_after_disconnect=raises)
        async with client.stream("GET", "/") as response:
            response.stall()
            await settle()
            response.disconnect()
            await response.returned()
        assert went_on is not raises
        assert response.sent_after_disconnect == 0
        assert response.sends == []

    @pytest.mark.parametrize("suspends", [False, True])
    async def test_send_lets_others_run_only_if_wanted(self, suspends):
        others_ran_after = None

        async def app(scope, receive, send):
            nonlocal others_ran_after
            await send(START)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other)
                for i in range(100):
                    await send(body(b"x"))
                    if ran and others_ran_after is None:
                        others_ran_after = i
            await send(body(b"", False))

        async def other():
            ran.append(True)

        ran = []
        await Client(app, suspend_on_send=suspends).request("GET", "/")
        assert (others_ran_after is not None) is suspends


class TestRulesOfASGI:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize(
        ("messages", "text"),
        [
            ([body(b"")], "http.response.body before the start"),
            ([START, START], "http.response.start a second time"),
            ([START, body(b"", False), body(b"")], "after the final body"),
            ([START, body(b"", False), START], "after the final body"),
            ([{"type": "http.response.push"}], "of the type 'http.response.push'"),
            ([START, body("text")], "not bytes: 'text'"),
            ([START | {"headers": [("a", "b")]}], "not in lower-case bytes: 'a'"),
            ([START | {"headers": [(b"A", b"b")]}], "not in lower-case bytes: b'A'"),
        ],
    )
    @pytest.mark.parametrize("caught", [False, True])
    async def test_breaking_them_is_reported_also_if_the_app_catches_it(
        self, messages, text, caught
    ):
        async def app(scope, receive, send):
            with suppress(AssertionError if caught else ()):
                await sending(*messages)(scope, receive, send)

        with pytest.raises(AssertionError) as raised:
            async with Client(app).stream("GET", "/", raise_app_exceptions=False) as response:
                await response.returned()
        assert text in str(raised.value)

    async def test_they_hold_after_the_disconnect_too(self):
        with pytest.raises(AssertionError, match="a second time"):
            async with Client(sending(START, START)).stream("GET", "/") as response:
                response.disconnect()


class TestWithChatApp:
    pytestmark = pytest.mark.anyio

    async def test_an_answer_is_a_stream_with_one_end(self):
        async def answer(request):
            yield "Hel"
            yield "lo"
            yield Usage(1, 2)
            yield Finish("length")

        client = Client(ChatApp(answer))
        question = QUESTION | {"stream_options": {"include_usage": True}}
        response = await client.request("POST", "/chat/completions", json=question)
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert check_stream(response.body, "openai") == parse_sse(response.body)
        response = await client.request("GET", "/events?prompt=Hi")
        events = check_stream(response.body, "events")
        assert events[-1].event == "run-finished"

    async def test_a_failure_is_an_end_too(self, caplog):
        async def answer(request):
            yield "Hel"
            await checkpoint()
            raise ZeroDivisionError

        client = Client(ChatApp(answer))
        with caplog.at_level(logging.CRITICAL, "asgi_llmstream"):
            chat = await client.request("POST", "/chat/completions", json=QUESTION)
            plain = await client.request("GET", "/events?prompt=Hi")
        assert '"error"' in check_stream(chat.body, "openai")[-2].data
        assert check_stream(plain.body, "events")[-1].event == "run-failed"

    async def test_headers_and_heartbeats_come_when_the_clock_says_so(self):
        async def answer(request):
            await go.wait()
            yield "Hello"

        go, clock = anyio.Event(), ManualClock()
        options = StreamOptions(clock=clock, commit_after=2, heartbeat_interval=10)
        client = Client(ChatApp(answer, options=options))
        async with client.stream("POST", "/chat/completions", json=QUESTION) as response:
            await settle()
            await clock.advance(1.5)
            assert response.sends == []
            await clock.advance(0.5)
            assert response.status == 200
            for beats in (1, 2, 3):
                await clock.advance(9)
                assert response.comments == beats - 1
                await clock.advance(1)
                assert response.comments == beats
            go.set()
            check_stream(await response.read_to_end(), "openai")

    async def test_a_disconnect_closes_the_producer_and_is_its_result(self):
        async def answer(request):
            try:
                while True:
                    yield "x"
                    await checkpoint()
            finally:
                closed.append(True)

        closed, results = [], []
        client = Client(ChatApp(answer, on_finish=results.append))
        async with client.stream("POST", "/chat/completions", json=QUESTION) as response:
            response.disconnect_after(3)
            await response.returned()
            assert closed == [True]
        assert [result.outcome for result in results] == ["disconnected"]
        assert response.sent_after_told == 0

    async def test_a_stalled_reader_is_given_up_when_the_clock_says_so(self):
        async def answer(request):
            yield "x"
            await anyio.sleep(3600)

        clock, results = ManualClock(), []
        options = StreamOptions(clock=clock, send_timeout=30, heartbeat_interval=None)
        client = Client(ChatApp(answer, options=options, on_finish=results.append))
        async with client.stream("POST", "/chat/completions", json=QUESTION) as response:
            response.stall()
            await settle()
            await clock.advance(31)
            await response.returned()
            assert not response.disconnected
        assert [result.outcome for result in results] == ["stalled"]
        assert response.sends == []


class TestParsing:
    @pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
    def test_every_line_end_ends_lines(self, end):
        lines = ["event: a", "id: 1", "retry: 20", "data: x", "data", "data:  y", "", ""]
        event = ServerSentEvent("x\n\n y", event="a", id="1", retry=20)
        assert parse_sse(end.join(lines).encode()) == [event]

    @pytest.mark.parametrize(
        ("raw", "events"),
        [
            (b"\xef\xbb\xbfdata: x\n\n", [ServerSentEvent("x")]),
            (b"data\n\n", [ServerSentEvent("")]),
            (b"data: x\n", []),
            (b"event: a\nid: 1\n\ndata: x\n\n", [ServerSentEvent("x")]),
            (b": c\n\n\n:\nunknown: y\n data: z\n\n", []),
            (b"id: 1\0\nretry: 1x\nevent:\ndata:x\n\n", [ServerSentEvent("x")]),
            (b"retry: \xd9\xa1\ndata: x\n\n", [ServerSentEvent("x")]),
            ("data: a\u2028b\x85c\n\n".encode(), [ServerSentEvent("a\u2028b\x85c")]),
            (b"data: \xff\n\n", [ServerSentEvent("\ufffd")]),
        ],
    )
    def test_it_follows_the_standard(self, raw, events):
        assert parse_sse(raw) == events

    @pytest.mark.anyio
    async def test_chunks_may_be_cut_anywhere(self):
        raw = "\ufeff: c\r\nid: 1\r\ndata: é€😀\r\n\r\ndata: 2\r\rdata: 3\n\n".encode()
        whole = parse_sse(raw)
        assert [event.data for event in whole] == ["é€😀", "2", "3"]
        app = sending(START, *(body(raw[i : i + 1]) for i in range(len(raw))), body(b"", False))
        async with Client(app).stream("GET", "/") as response:
            assert [event async for event in response.events()] == whole
            assert response.comments == 1

    @pytest.mark.parametrize("raw", ["id: é\ndata: x\n\n", "event: a\0\ndata: x\n\n"])
    def test_what_no_event_may_hold_is_an_error(self, raw):
        with pytest.raises(ValueError, match="must"):
            parse_sse(raw.encode())


def chat(*payloads: str) -> bytes:
    return "".join(f"data: {payload}\n\n" for payload in payloads).encode()


DELTA = '{"choices": [{"delta": {"content": "x"}, "finish_reason": null}]}'
END = '{"choices": [{"delta": {}, "finish_reason": "stop"}]}'
USAGE = '{"choices": [], "usage": {"total_tokens": 1}}'
ERROR = '{"error": {"message": "no"}}'
DONE = "[DONE]"


class TestCheckingStreams:
    @pytest.mark.parametrize(
        ("raw", "format"),
        [
            (b"", None),
            (b": ping\ndata: x\n\n: ping\n: ping\n", None),
            ("data: a\u2028b\n\n".encode(), None),
            (b'retry: 1\nid: 1\nevent: a\ndata: {\ndata: "a": 1}\n\n', None),
            (chat(DELTA, END, DONE), "openai"),
            (chat(DELTA, END, USAGE, DONE), "openai"),
            (chat(DELTA, ERROR, DONE), "openai"),
            (b"data: x\n\nevent: run-aborted\ndata: {}\n\n", "events"),
        ],
    )
    def test_good_ones_pass(self, raw, format):
        assert check_stream(raw, format) == parse_sse(raw)

    @pytest.mark.parametrize(
        ("raw", "text"),
        [
            (b"data: \xff\n\n", "not readable"),
            ("id: é\ndata: x\n\n".encode(), "must be ASCII"),
            (b"\xef\xbb\xbfdata: x\n\n", "byte-order mark"),
            (b"data: x\r\n\r\n", "CR"),
            (b"data: x\n", "does not end in a blank line"),
            (b"data: x\n\n: ping", "does not end in a blank line"),
            (b"retry: 1\n\n", "no data"),
            (b"id: 1\nevent: a\n\n", "no data"),
            (b"data: x\n\n: ping\n\n", "blank line of its own"),
            (b"data: x\n\n\n", "ends no event"),
            (b"\ndata: x\n\n", "ends no event"),
            (b"id: 1\n: ping\ndata: x\n\n", "inside an event"),
            (b"date: x\ndata: x\n\n", "unknown field"),
            ('data: {"a": "\u2029"}\n\n'.encode(), "raw in JSON"),
        ],
    )
    def test_bad_framing_is_named(self, raw, text):
        with pytest.raises(AssertionError, match=text):
            check_stream(raw)

    @pytest.mark.parametrize(
        ("payloads", "text"),
        [
            ([], r"\[DONE\] must be last"),
            ([DELTA, END], r"\[DONE\] must be last"),
            ([END, DONE, DONE], r"\[DONE\] must be last"),
            ([DELTA, DONE], "must come, not 0"),
            ([END, END, DONE], "must come, not 2"),
            ([END, ERROR, DONE], "must come, not 2"),
            ([END, DELTA, DONE], "only usage may follow"),
            ([END, USAGE, USAGE, DONE], "only usage may follow"),
            ([ERROR, USAGE, DONE], "nothing may follow an error"),
            (["x", END, DONE], "not a JSON object"),
            (["[]", END, DONE], "not a JSON object"),
        ],
    )
    def test_a_wrong_end_of_a_chat_is_named(self, payloads, text):
        with pytest.raises(AssertionError, match=text):
            check_stream(chat(*payloads), "openai")

    def test_names_do_not_belong_into_a_chat(self):
        with pytest.raises(AssertionError, match="neither event: nor id:"):
            check_stream(b"event: a\n" + chat(END, DONE), "openai")

    @pytest.mark.parametrize(
        "names", [[], ["text"], ["run-finished", "text"], ["run-failed", "run-finished"]]
    )
    def test_a_wrong_end_of_plain_events_is_named(self, names):
        raw = "".join(f"event: {name}\ndata: {{}}\n\n" for name in names).encode()
        with pytest.raises(AssertionError, match="must be last and the only one"):
            check_stream(raw, "events")
