"""Streams that a store keeps, over HTTP: who may read which, from where on, and what he is told."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from asgi_llmstream import (
    ChatApp,
    Error,
    LLMStream,
    MemoryStore,
    StreamOptions,
    Text,
    store_lifespan,
    store_routes,
)
from asgi_llmstream.request import ChatRequest
from asgi_llmstream.stores import NewRun
from asgi_llmstream.testing import Client, ManualClock, Response, check_stream
from tests.support.kept_chat import (
    AwayStore,
    KeptChat,
    chatting,
    events_of,
    numbers_of,
    text_of,
    who,
)

pytestmark = pytest.mark.anyio

UNKNOWN = "0" * 32
QUESTION = {"messages": [{"role": "user", "content": "hi"}], "stream": True}


async def follow(chat: KeptChat, id: str, query: str = "", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await chat.ada.request("GET", f"/streams/{id}{query}", headers=named)


# Where a reader begins


async def test_the_header_wins_over_the_address_which_an_event_source_keeps() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        again = await follow(chat, id, "?cursor=0", last_event_id=f"{id}:4")
        assert text_of(again) == "two three."
        assert text_of(await follow(chat, id, "?cursor=5")) == "three."


@pytest.mark.parametrize(
    "query",
    [
        "?cursor=",
        "?cursor=x",
        "?cursor=-1",
        "?cursor=1.",
        "?cursor=%F0%9F%90%88",
        "?cursor=1&cursor=2",
        "?cursor=" + "1" * 101,
        f"?cursor={UNKNOWN}:1",
        "?cursor=1000",
    ],
)
async def test_what_is_no_cursor_of_the_stream_is_refused(query: str) -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        answer = await follow(chat, id, query)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_cursor")
        assert answer.json()["error"]["param"] == "cursor"


@pytest.mark.parametrize("cursors", [[""], ["x"], [f"{UNKNOWN}:1"], ["1", "1"]])
async def test_a_header_that_is_no_cursor_is_refused_and_does_not_run_the_model(
    cursors: list[str],
) -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]

        async def with_headers(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"last-event-id", cursor.encode()) for cursor in cursors]
            await chat.app({**scope, "headers": [*scope["headers"], *headers]}, receive, send)

        client = Client(with_headers, headers={"x-user": "ada"})
        assert (await client.request("GET", f"/streams/{id}?cursor=1")).status == 400
        assert chat.runs == 1


async def test_parameters_that_nobody_knows_are_passed_over() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        again = await follow(chat, id, "?cursor=4&utm_source=x&cursors=9&from=yesterday")
        assert text_of(again) == "two three."


async def test_from_now_begins_with_an_event_that_has_the_cursor() -> None:
    async with chatting() as chat, chat.asked() as id:
        state = (await follow(chat, id, accept="application/json")).json()
        async with chat.ada.stream("GET", f"/streams/{id}?from=now") as response:
            first = await response.event()
            assert (first.event, first.id) == ("caught-up", f"{id}:{state['last']}")
            chat.say(2)
            await response.read_to_end()
        assert numbers_of(response)[0] > state["last"]
        assert text_of(response) == "two three."


async def test_a_sign_says_on_the_plain_format_that_what_is_past_is_over() -> None:
    async with chatting() as chat, chat.asked() as id:
        async with chat.ada.stream("GET", f"/streams/{id}") as response:
            events = [await response.event()]
            while events[-1].event != "caught-up":
                events.append(await response.event())
            chat.say(2)
            later = [event.event async for event in response.events()]
        assert "part-delta" in [event.event for event in events]
        assert "run-finished" in later
        assert "caught-up" not in later


@pytest.mark.parametrize("format", ["openai", "responses", "anthropic", "ui", "ag-ui"])
async def test_the_vendors_formats_have_no_such_sign_and_are_whole(format: Any) -> None:
    async with chatting() as chat, chat.asked() as id:
        async with chat.ada.stream("GET", f"/streams/{id}?format={format}") as response:
            chat.say(2)
            body = await response.read_to_end()
        assert b"caught" not in body
        assert b"three." in body
        check_stream(body, "openai" if format == "openai" else None)


async def test_a_format_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        answer = await follow(chat, id, "?format=opena")
        assert (answer.status, answer.json()["error"]["param"]) == (400, "format")
        assert "openai" in answer.json()["error"]["message"]


async def test_without_a_format_it_is_the_one_that_it_was_asked_for_in() -> None:
    async with chatting() as chat:
        chat.say()
        path = "/chat/completions"
        wants = {**QUESTION, "stream_options": {"include_usage": True}}
        first = await chat.ada.request("POST", path, json=wants)
        again = await follow(chat, first.headers["x-run-id"])
        assert b'"usage":null' in again.body
        assert check_stream(again.body, "openai")[-2:] == check_stream(first.body, "openai")[-2:]


# What is told of a stream


async def test_its_state_is_told_without_reading() -> None:
    async with chatting() as chat, chat.asked() as id:
        live = (await follow(chat, id, accept="application/json")).json()
        assert (live["id"], live["live"], live["outcome"]) == (id, True, None)
        assert (live["expires"], live["last"] > 0) == (None, True)
        chat.say(2)
        await follow(chat, id)
        ended = (await follow(chat, id, accept="application/json; charset=utf-8")).json()
        assert (ended["live"], ended["outcome"]) == (False, "finished")
        assert ended["expires"] > ended["created"]


async def test_a_page_that_shows_the_message_so_far_follows_from_its_cursor() -> None:
    async with chatting() as chat, chat.asked() as id:
        shown = (await chat.ada.request("GET", f"/streams/{id}/message")).json()
        assert shown["message"]["content"][0]["text"] == "One "
        assert (shown["live"], shown["outcome"]) == (True, None)
        async with chat.ada.stream("GET", f"/streams/{id}?cursor={shown['cursor']}") as response:
            chat.say(2)
            await response.read_to_end()
        assert text_of(response) == "two three."
        assert numbers_of(response)[0] > int(shown["cursor"].rpartition(":")[2])


async def test_the_message_tells_how_its_answer_ended() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        shown = (await chat.ada.request("GET", f"/streams/{id}/message")).json()
        assert (shown["live"], shown["outcome"], "error" in shown) == (False, "finished", False)
        async with chat.asked() as id:
            await chat.ada.request("POST", f"/streams/{id}/stop")
        shown = (await chat.ada.request("GET", f"/streams/{id}/message")).json()
        assert (shown["live"], shown["outcome"]) == (False, "stopped")


async def test_the_message_tells_why_its_answer_broke_off() -> None:
    def answer(request: ChatRequest) -> list[Text | Error]:
        return [Text("One "), Error("Too many.", "slow_down", 429)]

    chat = ChatApp(answer, store=MemoryStore())
    async with Client(chat) as client:
        response = await client.request("GET", "/events?prompt=hi")
        path = f"{response.headers['location']}/message"
        shown = (await client.request("GET", path)).json()
        assert (shown["live"], shown["outcome"]) == (False, "error")
        assert shown["error"] == {"message": "Too many.", "code": "slow_down"}


async def test_who_has_all_but_the_failure_is_told_it_in_the_stream_that_he_knows() -> None:
    def answer(request: ChatRequest) -> list[Text | Error]:
        return [Text("One "), Error("Too many.", "slow_down", 429)]

    async with Client(ChatApp(answer, store=MemoryStore())) as client:
        first = await client.request("GET", "/events?prompt=hi")
        cursor = events_of(first)[-2]["cursor"]
        path = f"{first.headers['location']}?cursor={cursor}"
        rest = await client.request("GET", path)
        assert (rest.status, [e["type"] for e in events_of(rest)]) == (200, ["run-failed"])


async def test_the_live_streams_of_an_owner_are_listed() -> None:
    async with chatting() as chat:
        await chat.ended()
        async with chat.asked("/events?prompt=1") as one, chat.asked("/events?prompt=2") as two:
            listed = (await chat.ada.request("GET", "/streams")).json()["streams"]
            assert {stream["id"] for stream in listed} == {one, two}
            assert (await chat.client("bob").request("GET", "/streams")).json() == {"streams": []}
            chat.say(4)


@pytest.mark.parametrize("identify", [None, who])
async def test_streams_are_not_listed_for_nobody(identify: Any) -> None:
    async with chatting(identify=identify) as chat:
        answer = await chat.client(None).request("GET", "/streams")
        assert answer.status == 403


# What is over, or not there


async def test_at_the_end_of_an_ended_stream_there_is_no_content() -> None:
    async with chatting() as chat:
        whole = await chat.ended()
        id, last = whole.headers["x-run-id"], numbers_of(whole)[-1]
        for query in (f"?cursor={last}", f"?cursor={id}:{last}", "?from=now"):
            answer = await follow(chat, id, query)
            assert (answer.status, answer.body) == (204, b"")
        back = await chat.ada.request(
            "GET", "/events?prompt=hi", headers={"last-event-id": f"{id}:{last}"}
        )
        assert back.status == 204
        assert chat.runs == 1


async def test_an_expired_stream_anothers_and_an_unknown_one_are_one_and_the_same() -> None:
    clock = ManualClock()
    async with chatting(MemoryStore(clock=clock, retention=60)) as chat:
        id = (await chat.ended()).headers["x-run-id"]
        paths = [("GET", ""), ("GET", "?cursor=1"), ("GET", "/message"), ("POST", "/stop")]
        for method, rest in paths:
            assert (await chat.ada.request(method, f"/streams/{id}{rest}")).status == 200
        bob = chat.client("bob")
        foreign = [await bob.request(method, f"/streams/{id}{rest}") for method, rest in paths]
        await clock.advance(61)
        for (method, rest), other in zip(paths, foreign, strict=True):
            expired = await chat.ada.request(method, f"/streams/{id}{rest}")
            unknown = await chat.ada.request(method, f"/streams/{UNKNOWN}{rest}")
            assert expired.status == 404
            assert expired.json()["error"]["code"] == "unknown_stream"
            for answer in (other, unknown):
                assert (answer.status, answer.body) == (404, expired.body)
                assert answer.headers == expired.headers


async def test_no_route_gives_another_owner_anything_or_lets_him_do_anything() -> None:
    async with chatting() as chat, chat.asked() as id:
        bob = chat.client("bob")
        for method, path in [
            ("GET", f"/streams/{id}"),
            ("GET", f"/streams/{id}?format=text"),
            ("GET", f"/streams/{id}?from=now"),
            ("GET", f"/streams/{id}/message"),
            ("POST", f"/streams/{id}/stop"),
        ]:
            assert (await bob.request(method, path)).status == 404
        asked_for = await bob.request(
            "GET", f"/streams/{id}", headers={"accept": "application/json"}
        )
        assert asked_for.status == 404
        back = {"last-event-id": f"{id}:1"}
        assert (await bob.request("GET", "/events?prompt=hi", headers=back)).status == 404
        resent = await bob.request("POST", "/ag-ui", json=AGENT, headers=back)
        assert resent.status == 404
        for name in (id, ""):
            assert (await bob.request("GET", f"/ui/{name or 'c'}/stream")).status == 204
        assert (await bob.request("DELETE", f"/streams/{id}")).status == 204
        assert (await chat.client(None).request("GET", f"/streams/{id}")).status == 404
        chat.say(2)
        assert b"three." in (await follow(chat, id)).body
        assert chat.runs == 1


AGENT = {
    "threadId": "t",
    "runId": "r",
    "state": {},
    "messages": [{"id": "m", "role": "user", "content": "hi"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


@pytest.mark.parametrize("format", ["openai", "anthropic", "ui", "ag-ui", "responses", "text"])
async def test_what_must_be_whole_and_cannot_is_an_error_and_no_part(format: str) -> None:
    async with chatting(MemoryStore(max_events=4)) as chat:
        id = (await chat.ended()).headers["x-run-id"]
        for cursor in ("0", "7"):
            answer = await follow(chat, id, f"?format={format}&cursor={cursor}")
            assert (answer.status, answer.json()["error"]["code"]) == (410, "stream_trimmed")


async def test_of_a_trimmed_stream_the_plain_format_has_what_is_kept() -> None:
    async with chatting(MemoryStore(max_events=4)) as chat:
        whole = await chat.ended()
        id, last = whole.headers["x-run-id"], numbers_of(whole)[-1]
        assert (await follow(chat, id)).status == 410
        assert (await chat.ada.request("GET", f"/streams/{id}/message")).status == 410
        assert (await chat.ada.request("GET", f"/ui/{id}/stream?startIndex=0")).status == 410
        rest = await follow(chat, id, f"?cursor={last - 2}")
        assert [e["cursor"] for e in events_of(rest)] == [f"{id}:{last - 1}", f"{id}:{last}"]


# What is transient


def is_told_to_come_back(answer: Response) -> bool:
    [event] = check_stream(answer.body)
    told = json.loads(event.data or "")
    assert told["message"]
    return answer.status == 200 and event.retry == 1000 and event.event == "unavailable"


SOURCE = {"accept": "text/event-stream"}


@pytest.mark.parametrize("path", ["/streams/ID", "/events?prompt=hi"])
async def test_a_drain_ends_no_event_source(path: str, drain: Any) -> None:
    async with chatting() as chat:
        path = path.replace("ID", (await chat.ended()).headers["x-run-id"])
        drain()
        assert is_told_to_come_back(await chat.ada.request("GET", path, headers=SOURCE))
        other = await chat.ada.request("GET", path)
        assert (other.status, other.headers["retry-after"]) == (503, "1")
        assert chat.runs == 1


@pytest.mark.parametrize("path", ["/streams/ID", "/events?prompt=hi"])
async def test_a_store_that_is_away_ends_no_event_source(path: str) -> None:
    store = AwayStore()
    options = StreamOptions(shutdown_grace=0.01, store_timeout=0.01)
    async with chatting(store, options=options) as chat:
        path = path.replace("ID", (await chat.ended()).headers["x-run-id"])
        store.is_away = True
        assert is_told_to_come_back(await chat.ada.request("GET", path, headers=SOURCE))
        other = await chat.ada.request("GET", path)
        assert (other.status, other.headers["retry-after"]) == (503, "1")
        store.is_away = False
        chat.say()
        assert (await chat.ada.request("GET", path, headers=SOURCE)).status == 200
        assert chat.runs <= 2


async def test_too_many_readers_end_no_event_source() -> None:
    options = StreamOptions(shutdown_grace=0.01, max_readers=2)
    async with chatting(options=options) as chat, chat.asked() as id:
        path = f"/streams/{id}"
        async with chat.ada.stream("GET", path) as reading:
            await reading.event()
            assert is_told_to_come_back(await chat.ada.request("GET", path, headers=SOURCE))
            other = await chat.ada.request("GET", path)
            assert (other.status, other.headers["retry-after"]) == (429, "1")
        chat.say(2)
        assert (await follow(chat, id)).status == 200


async def test_an_event_source_is_told_when_as_many_are_made_as_may_be() -> None:
    options = StreamOptions(shutdown_grace=0.01, max_streams=1)
    async with chatting(options=options) as chat, chat.asked():
        answer = await chat.ada.request("GET", "/events?prompt=more", headers=SOURCE)
        assert is_told_to_come_back(answer)
        chat.say(2)


# A conversation


def ui(prompt: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": prompt}]
    return {"id": "chat", "messages": [{"id": "m", "role": "user", "parts": parts}]}


async def test_the_same_question_again_joins_the_answer_that_is_being_made() -> None:
    async with chatting() as chat:
        async with chat.ada.stream("POST", "/ui", json=ui("hi")) as first:
            chat.say(1)
            await first.started()
            async with chat.ada.stream("POST", "/ui", json=ui("hi")) as again:
                await again.started()
                chat.say(2)
                body = await again.read_to_end()
            assert body == await first.read_to_end()
        assert again.headers["x-run-id"] == first.headers["x-run-id"]
        assert chat.runs == 1


async def test_another_question_in_a_conversation_stops_the_answer_before() -> None:
    async with chatting(says=1) as chat:
        async with chat.ada.stream("POST", "/ui", json=ui("hi")) as first:
            await first.started()
            async with chat.ada.stream("POST", "/ui", json=ui("no, this")) as second:
                assert b'"abort"' in await first.read_to_end()
                chat.say()
                assert b"three." in await second.read_to_end()
        assert first.headers["x-run-id"] != second.headers["x-run-id"]


async def test_another_question_may_be_refused_with_the_stream_that_is_in_its_way() -> None:
    async with chatting(says=1, on_busy="refuse") as chat:
        async with chat.ada.stream("POST", "/ui", json=ui("hi")) as first:
            await first.started()
            refused = await chat.ada.request("POST", "/ui", json=ui("no, this"))
            assert refused.status == 409
            assert refused.headers["x-run-id"] == first.headers["x-run-id"]
            # It is nobody else's conversation.
            async with chat.client("bob").stream("POST", "/ui", json=ui("hi")) as other:
                chat.say(1)
                await other.started()
                assert other.status == 200
            chat.say(9)


async def test_an_idempotency_key_stands_for_one_question_also_after_its_answer() -> None:
    async with chatting(says=3) as chat:
        key = {"idempotency-key": "a"}
        first = await chat.ada.request("POST", "/text", json={"prompt": "hi"}, headers=key)
        again = await chat.ada.request("POST", "/text", json={"prompt": "hi"}, headers=key)
        assert (again.body, chat.runs) == (first.body, 1)
        other = await chat.ada.request("POST", "/text", json={"prompt": "no"}, headers=key)
        assert other.status == 409


# The AI SDK's transports


async def test_behind_the_last_part_of_an_ended_stream_there_is_nothing_to_ask_for_again() -> None:
    async with chatting(says=3) as chat:
        first = await chat.ada.request("POST", "/ui", json=ui("hi"))
        path = f"/ui/{first.headers['x-run-id']}/stream?startIndex="
        parts = [event for event in check_stream(first.body) if event.data != "[DONE]"]
        for start, left in [(0, len(parts)), (2, len(parts) - 2), (-3, 3), (-99, len(parts))]:
            again = await chat.ada.request("GET", f"{path}{start}")
            assert check_stream(again.body)[:-1] == parts[len(parts) - left :]
            tail = again.headers["x-workflow-stream-tail-index"]
            assert tail == str(len(parts) - 1)
        for start in (len(parts), 99):
            assert (await chat.ada.request("GET", f"{path}{start}")).status == 204
        assert (await chat.ada.request("GET", f"{path}x")).status == 400


@pytest.mark.parametrize("start", ["", "?startIndex=0", "?startIndex=2", "?startIndex=-1"])
async def test_a_conversation_whose_beginning_is_not_kept_is_an_error_and_no_part(
    start: str,
) -> None:
    async with chatting(MemoryStore(max_events=4), says=2) as chat:
        async with chat.ada.stream("POST", "/ui", json=ui("hi")) as first:
            while b"two " not in first.body:
                await first.event()
            gone = await chat.ada.request("GET", f"/ui/chat/stream{start}")
            assert (gone.status, gone.headers["cache-control"]) == (410, "no-store")
            chat.say(1)
            assert b"three." in await first.read_to_end()


async def test_a_conversation_is_followed_by_its_name_and_whole() -> None:
    async with chatting() as chat:
        async with chat.ada.stream("POST", "/ui", json=ui("hi")) as first:
            chat.say(1)
            await first.started()
        for path in ("/ui/chat/stream", f"/ui/{first.headers['x-run-id']}/stream"):
            async with chat.ada.stream("GET", path) as again:
                assert json.loads((await again.event()).data or "")["type"] == "start"
        assert (await chat.client("bob").request("GET", "/ui/chat/stream")).status == 204
        async with chat.ada.stream("GET", "/text/chat/stream") as text:
            await text.started()
            chat.say(2)
            assert await text.read_to_end() == b"One two three."
        assert (await chat.ada.request("GET", "/ui/chat/stream")).status == 204


# Headers


async def answers_of(chat: KeptChat) -> list[Response]:
    """One of each kind."""
    whole = await chat.ended()
    id, last = whole.headers["x-run-id"], numbers_of(whole)[-1]
    asked = [
        ("GET", f"/streams/{id}", {}),
        ("GET", f"/streams/{id}?cursor={last}", {}),
        ("GET", f"/streams/{id}?cursor=x", {}),
        ("GET", f"/streams/{id}", {"accept": "application/json"}),
        ("GET", f"/streams/{UNKNOWN}", {}),
        ("GET", f"/streams/{id}/message", {}),
        ("POST", f"/streams/{id}/stop", {}),
        ("GET", "/streams", {}),
        ("GET", "/ui/c/stream", {}),
        ("GET", f"/ui/{id}/stream?startIndex=0", {}),
        ("HEAD", f"/streams/{id}", {}),
        ("PUT", f"/streams/{id}", {}),
        ("GET", "/events?prompt=hi", {"last-event-id": f"{id}:{last}"}),
        ("DELETE", f"/streams/{id}", {}),
    ]
    rest = [await chat.ada.request(method, path, headers=h) for method, path, h in asked]
    return [whole, *rest]


async def test_no_cache_keeps_an_answer_about_a_stream() -> None:
    async with chatting() as chat:
        answers = await answers_of(chat)
        assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
        assert {answer.status for answer in answers} == {200, 204, 400, 404, 405}
    async with chatting(MemoryStore(max_events=4)) as chat:
        gone = await follow(chat, (await chat.ended()).headers["x-run-id"])
        assert (gone.status, gone.headers["cache-control"]) == (410, "no-store")


async def test_every_answer_of_ours_is_what_it_says() -> None:
    async with chatting() as chat:
        answers = await answers_of(chat)
        for path in ("/models", "/models/x", "/events/schema", "/nothing"):
            answers.append(await chat.ada.request("GET", path))
        answers.append(await chat.ada.request("OPTIONS", "/streams"))
        chat.say()
        whole = QUESTION | {"stream": False}
        answers.append(await chat.ada.request("POST", "/chat/completions", json=whole))
    answers.append(await Client(LLMStream("Hello")).request("GET", "/"))
    for answer in answers:
        names = [name for name, _ in answer.sends[0]["headers"]]
        assert names.count(b"x-content-type-options") == 1
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("prefix", "root_path", "location"),
    [
        ("", "", "/streams/"),
        ("/v1", "", "/v1/streams/"),
        ("/ai/v1", "/ai", "/ai/v1/streams/"),
        ("/v1", "/api/v1", "/api/v1/streams/"),  # a proxy took the /api off
    ],
)
async def test_an_answer_says_where_its_stream_is_and_so_does_the_stream(
    prefix: str, root_path: str, location: str
) -> None:
    async with chatting() as chat:
        client = Client(chat.app, root_path=root_path, headers={"x-user": "ada"})
        chat.say()
        answer = await client.request("GET", f"{prefix}/events?prompt=hi")
        id = answer.headers["x-run-id"]
        assert answer.headers["location"] == f"{location}{id}"
        again = await client.request("GET", f"{prefix}/streams/{id}")
        assert again.headers["location"] == f"{location}{id}"
        assert again.headers["x-run-id"] == id


async def test_a_page_of_another_origin_may_read_which_stream_it_is() -> None:
    async with chatting(cors=["https://page.example"]) as chat:
        chat.say()
        headers = {"origin": "https://page.example"}
        answer = await chat.ada.request("GET", "/events?prompt=hi", headers=headers)
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-run-id", "location", "x-workflow-run-id", "retry-after"} <= {*exposed}


async def test_head_is_answered_with_the_headers_and_reads_nothing() -> None:
    async with chatting() as chat, chat.asked() as id:
        for path in (f"/streams/{id}", f"/ui/{id}/stream"):
            answer = await chat.ada.request("HEAD", path)
            assert (answer.status, answer.body) == (200, b"")
            assert answer.headers["x-run-id"] == id
        chat.say(2)


# Ending


async def test_a_stop_answers_with_the_outcome_and_twice_the_same() -> None:
    async with chatting() as chat, chat.asked() as id:
        first = await chat.ada.request("POST", f"/streams/{id}/stop")
        assert (first.status, first.json()["outcome"]) == (200, "stopped")
        again = await chat.ada.request("POST", f"/streams/{id}/stop")
        assert (again.status, again.json()) == (200, first.json())
        kept = await follow(chat, id)
        assert b"One " in kept.body
        assert check_stream(kept.body, "events")[-1].event == "run-aborted"


async def test_a_page_stops_an_answer_by_its_conversation_alone() -> None:
    async with chatting(says=1) as chat:
        async with chat.ada.stream("POST", "/ui", json=ui("hi")) as asking:
            await asking.started()
            other = await chat.client("bob").request("POST", "/ui/chat/stop")
            assert other.status == 404
            stopped = await chat.ada.request("POST", "/ui/chat/stop")
            assert (stopped.status, stopped.json()["outcome"]) == (200, "stopped")
            assert b'"abort"' in await asking.read_to_end()


async def test_a_stop_that_takes_longer_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_llmstream.resume.host._STOP_PATIENCE", 0.01)
    async with chatting() as chat:
        # Its writer is elsewhere, and does not hear.
        await chat.store.begin(NewRun(owner="ada", id=UNKNOWN))
        for _ in range(2):
            answer = await chat.ada.request("POST", f"/streams/{UNKNOWN}/stop")
            assert (answer.status, answer.json()["live"]) == (202, True)


async def test_a_stop_after_the_end_says_how_it_ended() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        answer = await chat.ada.request("POST", f"/streams/{id}/stop")
        assert (answer.status, answer.json()["outcome"]) == (200, "finished")


async def test_erasing_is_the_same_again_and_ends_who_reads() -> None:
    async with chatting() as chat, chat.asked() as id:
        async with chat.ada.stream("GET", f"/streams/{id}") as reading:
            await reading.event()
            for _ in range(2):
                assert (await chat.ada.request("DELETE", f"/streams/{id}")).status == 204
            await reading.read_to_end()
        assert check_stream(reading.body)[-1].event in ("run-aborted", "run-failed")
        assert (await follow(chat, id)).status == 404


async def test_who_only_follows_is_let_go_at_a_drain_and_not_told_of_an_end(drain: Any) -> None:
    store = MemoryStore()

    class Elsewhere:
        """The store as another process sees it."""

        lease = store.lease

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    await store.begin(NewRun(owner="ada", id=UNKNOWN))
    here = ChatApp(KeptChat()._answer, store=Elsewhere(), identify=who)
    async with here.lifespan():
        client = Client(here, headers={"x-user": "ada"})
        async with client.stream("GET", f"/streams/{UNKNOWN}?format=events") as reading:
            await reading.started()
            drain()
            await reading.returned()
        assert reading.aborted
        assert b"run-" not in reading.body
    assert (await store.read("ada", UNKNOWN, 0, 1)).state.is_live


# Routes of one's own


async def test_store_routes_are_those_of_a_chat_wherever_they_are_mounted() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        routes = store_routes(chat.store, identify=who, formats=["events"], prefix="/kept")
        client = Client(routes, headers={"x-user": "ada"})
        for path in (f"/streams/{id}", f"/streams/{id}/message"):
            mine, theirs = (
                await client.request("GET", "/kept" + path),
                await chat.ada.request("GET", path),
            )
            assert (mine.status, mine.body) == (200, theirs.body)
        assert mine.headers["cache-control"] == "no-store"
        assert (await client.request("GET", "/kept/nothing")).status == 404
        assert (await client.request("PUT", "/kept/streams")).status == 405
        assert (await client.request("GET", f"/kept/streams/{id}?format=ui")).status == 400
        assert (await client.request("DELETE", f"/kept/streams/{id}")).status == 204
        assert (await client.request("GET", f"/kept/streams/{id}")).status == 404


async def test_a_route_of_ones_own_follows_in_its_format() -> None:
    async with chatting() as chat:
        id = (await chat.ended()).headers["x-run-id"]
        route = LLMStream.following(
            id, store=chat.store, format="text", identify=who, headers={"x-own": "1"}
        )
        answer = await Client(route, headers={"x-user": "ada"}).request("GET", "/any")
        assert answer.body == b"One two three."
        assert (answer.headers["x-own"], answer.headers["x-run-id"]) == ("1", id)
        assert (await Client(route).request("GET", "/any")).status == 404


async def test_a_route_of_ones_own_joins_by_its_key_and_follows_who_comes_back() -> None:
    store = MemoryStore()
    may = anyio.Semaphore(0)
    runs = 0

    async def produce() -> Any:
        nonlocal runs
        runs += 1
        yield "One "
        await may.acquire()
        yield "two."

    route = LLMStream(produce, format="events", store=store, key="k", identify=who)
    client = Client(route, headers={"x-user": "ada"})
    async with store_lifespan(store)():
        async with client.stream("GET", "/") as first:
            event = await first.event()
        may.release()
        assert event.id is not None
        back = await client.request("GET", "/", headers={"last-event-id": event.id})
        assert numbers_of(back)[0] == 2
        assert b"two." in back.body
        assert runs == 1


UI = {"messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}


@pytest.mark.parametrize(
    ("kind", "site", "status"),
    [
        ("text/plain;charset=UTF-8", "same-origin", 200),
        ("text/plain;charset=UTF-8", "same-site", 415),
        ("text/plain;charset=UTF-8", "cross-site", 415),
        ("text/plain;charset=UTF-8", "", 415),
        ("application/x-www-form-urlencoded", "same-origin", 415),
    ],
)
async def test_json_that_is_said_to_be_text_is_read_from_a_page_of_the_same_origin_only(
    kind: str, site: str, status: int
) -> None:
    async with chatting(says=3) as chat:
        headers = {"content-type": kind, "sec-fetch-site": site}
        body = json.dumps(UI).encode()
        answer = await chat.ada.request("POST", "/ui", body=body, headers=headers)
        assert (answer.status, chat.runs) == (status, int(status == 200))
        if status == 200:
            assert answer.headers["x-workflow-run-id"] == answer.headers["x-run-id"]
