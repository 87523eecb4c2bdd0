"""OpenAI's stored responses, as an application with a store serves them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    LLMStreamError,
    Reasoning,
    StreamOptions,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from asgi_llmstream.stores import MemoryStore
from asgi_llmstream.testing import Client, ManualClock, Response

pytestmark = pytest.mark.anyio


class App:
    """An application that says what it was asked, and can be held up.

    Args:
        settings: of its `ChatApp`.
    """

    def __init__(self, **settings: Any) -> None:
        self.asked: list[ChatRequest] = []
        self.go_on = anyio.Event()
        settings.setdefault("store", MemoryStore())
        settings.setdefault("identify", user_of)
        self.chat = ChatApp(self._answer, models=["m"], **settings)
        self.client = Client(self.chat)

    async def _answer(self, request: ChatRequest) -> AsyncIterator[Any]:
        self.asked.append(request)
        match request.prompt:
            case "slow":
                for token in ("a", "b", "c", "d"):
                    yield token
                await self.go_on.wait()
                for token in ("e", "f", "g", "h"):
                    yield token
            case "everything":
                yield Reasoning("Let me ")
                yield Reasoning("think.")
                yield "Hel"
                yield "lo"
                # Parallel calls, which go out one behind the other.
                yield ToolCallDelta(0, "call_a", "add", '{"x":')
                yield ToolCallDelta(1, "call_b", "sub", "{")
                yield ToolCallDelta(0, arguments="1}")
                yield ToolCallDelta(1, arguments="}")
                yield Usage(5, 7)
            case "call":
                yield ToolCall("call_a", "add", {"x": 1})
            case "break":
                yield "Hel"
                yield ToolCallDelta(0, "call_a", "add", '{"x":')
                raise LLMStreamError("The cat sat on the GPU.", code="cat")
            case "fail":
                raise LLMStreamError("The cat sat on the GPU.", code="cat")
            case "cut":
                yield "Hel"
                yield Finish("length")
            case _:
                yield f"Answer {len(self.asked)}."

    @asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        with anyio.fail_after(20):
            async with self.chat.lifespan():
                try:
                    yield self
                finally:
                    self.go_on.set()  # or its end would be waited for

    async def ask(self, input: Any, **body: Any) -> dict[str, Any]:
        """Return the response to this input."""
        return await self.sent("POST", "/responses", json={"model": "m", "input": input, **body})

    async def sent(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Return what a request is answered, which is no error."""
        answer = await self.client.request(method, path, **arguments)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)  # type: ignore[no-any-return]

    async def refused(
        self, method: str, path: str, **arguments: Any
    ) -> tuple[int, str, str | None]:
        """Return the status, code and field of an error."""
        answer = await self.client.request(method, path, **arguments)
        error = json.loads(answer.body)["error"]
        return answer.status, error["code"], error["param"]

    async def streamed(self, path: str) -> list[dict[str, Any]]:
        """Return the events of a stream."""
        answer = await self.client.request("GET", path)
        assert answer.status == 200, answer.body
        return events_in(answer.body)


async def read_until(stream: Response, text: str) -> None:
    """Read until this was said."""
    while not said_in(events_in(stream.body)).endswith(text):
        await stream.chunk()


def said_in(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("delta", "") for event in events)


def user_of(scope: Any) -> str | None:
    return next((v.decode() for k, v in scope["headers"] if k == b"x-user"), None)


def events_in(body: bytes) -> list[dict[str, Any]]:
    blocks = body.decode().split("\n\n")[:-1]
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


def text_of(response: dict[str, Any]) -> str:
    said = (item["content"] for item in response["output"] if item["type"] == "message")
    return "".join(part["text"] for parts in said for part in parts)


def conversation(request: ChatRequest) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App().running() as app:
        yield app


# Looking at one.


@pytest.mark.parametrize("prompt", ["everything", "hello", "cut", "call"])
async def test_a_response_is_the_same_again(app: App, prompt: str) -> None:
    response = await app.ask(prompt)
    assert response["store"] is True
    assert await app.sent("GET", f"/responses/{response['id']}") == response
    assert await app.sent("GET", f"/v1/responses/{response['id']}?stream=false") == response


async def test_a_response_is_in_progress_while_it_is_made(app: App) -> None:
    response = await app.ask("slow", background=True)
    assert (response["status"], response["background"]) == ("in_progress", True)
    shown = await app.sent("GET", f"/responses/{response['id']}")
    assert (shown["status"], shown["created_at"]) == ("in_progress", response["created_at"])
    app.go_on.set()
    await app.streamed(f"/responses/{response['id']}?stream=true")
    shown = await app.sent("GET", f"/responses/{response['id']}")
    assert (shown["status"], text_of(shown)) == ("completed", "abcdefgh")


async def test_a_response_that_broke_off_is_failed(app: App) -> None:
    streamed = await app.client.request(
        "POST", "/responses", json={"model": "m", "input": "break", "stream": True}
    )
    last = events_in(streamed.body)[-1]
    assert last["type"] == "response.failed"
    assert await app.sent("GET", f"/responses/{last['response']['id']}") == last["response"]


@pytest.mark.parametrize("rest", ["", "/input_items", "?stream=true"])
async def test_a_response_of_somebody_else_is_an_unknown_one(app: App, rest: str) -> None:
    mine = await app.client.request(
        "POST", "/responses", json={"model": "m", "input": "Hi"}, headers={"x-user": "me"}
    )
    id = json.loads(mine.body)["id"]
    unknown = (404, "response_not_found", None)
    assert await app.refused("GET", f"/responses/{id}{rest}") == unknown
    assert await app.refused("GET", f"/responses/{id}{rest}", headers={"x-user": "you"}) == unknown
    assert await app.refused("DELETE", f"/responses/{id}") == unknown
    assert await app.refused("POST", f"/responses/{id}/cancel") == unknown
    assert await app.sent("GET", f"/responses/{id}", headers={"x-user": "me"})


@pytest.mark.parametrize("id", ["resp_", "resp_1", "x", "resp_" + "0" * 32, "%2e%2e"])
async def test_what_is_no_responses_id_is_not_found(app: App, id: str) -> None:
    assert await app.refused("GET", f"/responses/{id}") == (404, "response_not_found", None)


async def test_an_answer_in_another_protocol_is_no_response(app: App) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    answer = await app.client.request("POST", "/chat/completions", json=body)
    id = f"resp_{dict(answer.headers)['x-run-id']}"
    assert await app.refused("GET", f"/responses/{id}") == (404, "response_not_found", None)
    again = {"model": "m", "input": "Hi", "previous_response_id": id}
    assert (await app.refused("POST", "/responses", json=again))[0] == 400


async def test_without_a_store_there_are_no_stored_responses() -> None:
    client = Client(ChatApp(App()._answer, models=["m"]))
    answer = await client.request("POST", "/responses", json={"model": "m", "input": "Hi"})
    response = json.loads(answer.body)
    assert response["store"] is False
    assert (await client.request("GET", f"/responses/{response['id']}")).status == 404
    for field in ({"previous_response_id": response["id"]}, {"background": True}):
        body = {"model": "m", "input": "Hi", **field}
        refused = await client.request("POST", "/responses", json=body)
        assert refused.status == 400
        assert json.loads(refused.body)["error"]["param"] in field


# Following one.


async def test_whoever_comes_back_at_any_number_gets_exactly_what_is_behind_it(app: App) -> None:
    response = await app.ask("everything")
    path = f"/responses/{response['id']}?stream=true"
    whole = await app.streamed(path)
    assert whole[-1]["response"] == response
    for event in whole:
        number = event["sequence_number"]
        rest = await app.streamed(f"{path}&starting_after={number}")
        assert all(event["sequence_number"] > number for event in rest)
        assert merged(rest) == merged([e for e in whole if e["sequence_number"] > number])


def merged(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events whose neighbouring deltas are joined, with the number of the last."""
    out: list[dict[str, Any]] = []
    for event in events:
        if "delta" in event and out and out[-1]["type"] == event["type"]:
            event = {**event, "delta": out.pop()["delta"] + event["delta"]}
        out.append(event)
    return out


async def test_who_asks_for_all_and_passes_over_what_he_has_gets_no_token_twice(app: App) -> None:
    response = await app.ask("everything")
    whole = await app.streamed(f"/responses/{response['id']}?stream=true")
    deltas = [event["delta"] for event in whole if "delta" in event]
    # The second of two parallel calls waited for the first.
    assert deltas == ["Let me ", "think.", "Hel", "lo", '{"x":', "1}", "{}"]


async def test_whoever_follows_gets_what_is_past_and_what_comes(app: App) -> None:
    response = await app.ask("slow", background=True)
    path = f"/responses/{response['id']}?stream=true&starting_after=5"
    async with app.client.stream("GET", path) as stream:
        await stream.started()
        await read_until(stream, "d")
        app.go_on.set()
        await stream.read_to_end()
    events = events_in(stream.body)
    assert said_in(events) == "cdefgh"
    assert events[-1]["type"] == "response.completed"


async def test_the_end_of_an_ended_stream_is_an_empty_one(app: App) -> None:
    response = await app.ask("Hi")
    whole = await app.streamed(f"/responses/{response['id']}?stream=true")
    last = whole[-1]["sequence_number"]
    path = f"/responses/{response['id']}?stream=true&starting_after="
    assert await app.streamed(f"{path}{last}") == []
    for bad in (last + 1, "x", "1.5"):
        assert await app.refused("GET", f"{path}{bad}") == (400, "invalid_field", "starting_after")


async def test_a_failure_before_the_first_word_is_told_in_the_stream_that_is_asked_for_later(
    app: App,
) -> None:
    response = await app.ask("fail", background=True)
    events = await app.streamed(f"/responses/{response['id']}?stream=true")
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert (await app.sent("GET", f"/responses/{response['id']}"))["status"] == "failed"


# Ending one.


async def test_cancelling_stops_the_run_and_does_so_once(app: App) -> None:
    response = await app.ask("slow", background=True)
    path = f"/responses/{response['id']}"
    async with app.client.stream("GET", f"{path}?stream=true") as stream:
        await read_until(stream, "d")
        cancelled = await app.sent("POST", f"{path}/cancel")
        await stream.read_to_end()
    assert (cancelled["status"], text_of(cancelled)) == ("cancelled", "abcd")
    assert await app.sent("POST", f"{path}/cancel") == cancelled
    assert await app.sent("GET", path) == cancelled
    assert events_in(stream.body)[-1]["response"] == cancelled


async def test_a_completed_response_stays_completed_when_it_is_cancelled(app: App) -> None:
    response = await app.ask("Hi")
    assert await app.sent("POST", f"/responses/{response['id']}/cancel") == response


async def test_a_deleted_response_is_gone_with_all_that_it_was_asked(app: App) -> None:
    response = await app.ask("Hi")
    path = f"/responses/{response['id']}"
    deleted = {"id": response["id"], "object": "response", "deleted": True}
    assert await app.sent("DELETE", path) == deleted
    unknown = (404, "response_not_found", None)
    assert await app.refused("GET", path) == unknown
    assert await app.refused("GET", f"{path}/input_items") == unknown
    assert await app.refused("DELETE", path) == unknown


async def test_a_response_that_is_deleted_while_it_is_made_is_stopped(app: App) -> None:
    response = await app.ask("slow", background=True)
    await app.sent("DELETE", f"/responses/{response['id']}")
    assert app.chat._keeping is not None
    assert await app.chat._keeping.store.list_runs("") == []


async def test_an_expired_response_is_not_found() -> None:
    clock = ManualClock()
    store = MemoryStore(retention=10, clock=clock)
    async with App(store=store, options=StreamOptions(clock=clock)).running() as app:
        response = await app.ask("Hi")
        await clock.advance(11)
        assert (await app.refused("GET", f"/responses/{response['id']}"))[0] == 404
        again = {"model": "m", "input": "Hi", "previous_response_id": response["id"]}
        refused = await app.refused("POST", "/responses", json=again)
        assert refused == (400, "previous_response_not_found", "previous_response_id")


# In the background, or not kept.


async def test_a_background_stream_goes_on_without_its_client() -> None:
    async with App(options=StreamOptions(on_disconnect="cancel")).running() as app:
        body = {"model": "m", "input": "slow", "background": True, "stream": True}
        async with app.client.stream("POST", "/responses", json=body) as stream:
            await read_until(stream, "d")
            id = events_in(stream.body)[0]["response"]["id"]
        app.go_on.set()
        events = await app.streamed(f"/responses/{id}?stream=true")
        assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_not_to_be_stored_is_not_there(app: App, stream: bool) -> None:
    body = {"model": "m", "input": "Hi", "store": False, "stream": stream}
    answer = await app.client.request("POST", "/responses", json=body)
    response = events_in(answer.body)[0]["response"] if stream else json.loads(answer.body)
    assert response["store"] is False
    assert "x-run-id" not in dict(answer.headers)
    assert (await app.refused("GET", f"/responses/{response['id']}"))[0] == 404


async def test_what_is_made_in_the_background_has_to_be_stored(app: App) -> None:
    body = {"model": "m", "input": "Hi", "store": False, "background": True}
    assert await app.refused("POST", "/responses", json=body) == (
        400,
        "invalid_field",
        "background",
    )


# Going on from one.


async def test_a_conversation_goes_on_from_its_last_response(app: App) -> None:
    first = await app.ask("One", instructions="Be brief.")
    second = await app.ask("Two", previous_response_id=first["id"])
    await app.ask("Three", previous_response_id=second["id"], instructions="Be kind.")
    assert second["previous_response_id"] == first["id"]
    assert conversation(app.asked[-1]) == [
        ("system", "Be kind."),
        ("user", "One"),
        ("assistant", "Answer 1."),
        ("user", "Two"),
        ("assistant", "Answer 2."),
        ("user", "Three"),
    ]


async def test_a_conversation_lives_as_long_as_its_last_response(app: App) -> None:
    first = await app.ask("One")
    second = await app.ask("Two", previous_response_id=first["id"])
    await app.sent("DELETE", f"/responses/{first['id']}")
    await app.ask("Three", previous_response_id=second["id"])
    assert [role for role, _ in conversation(app.asked[-1])] == ["user", "assistant"] * 2 + ["user"]


async def test_results_of_calls_join_the_calls_of_the_response_before(app: App) -> None:
    tools = [{"type": "function", "name": "add", "parameters": {}}]
    first = await app.ask("call", tools=tools)
    result = {"type": "function_call_output", "call_id": "call_a", "output": "3"}
    await app.ask([result], previous_response_id=first["id"], tools=tools)
    _, call, told = app.asked[-1].to_openai()
    assert call["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"x":1}'}
    assert (told["role"], told["tool_call_id"], told["content"]) == ("tool", "call_a", "3")


async def test_a_call_that_broke_off_is_not_gone_on_from(app: App) -> None:
    streamed = await app.client.request(
        "POST", "/responses", json={"model": "m", "input": "break", "stream": True}
    )
    broken = events_in(streamed.body)[-1]["response"]
    await app.ask("Again", previous_response_id=broken["id"])
    assert conversation(app.asked[-1]) == [
        ("user", "break"),
        ("assistant", "Hel"),
        ("user", "Again"),
    ]
    assert app.asked[-1].messages[1].tool_calls == []


async def test_items_are_found_by_their_ids(app: App) -> None:
    first = await app.ask("One")
    said = {"type": "item_reference", "id": first["output"][0]["id"]}
    one, two = {"role": "user", "content": "One"}, {"role": "user", "content": "Two"}
    second = await app.ask([one, said, two])
    assert conversation(app.asked[-1]) == [
        ("user", "One"),
        ("assistant", "Answer 1."),
        ("user", "Two"),
    ]
    # Also when the first response is gone: the second one has them.
    await app.sent("DELETE", f"/responses/{first['id']}")
    told = {"id": second["output"][0]["id"]}
    await app.ask([one, said, two, told, {"role": "user", "content": "Three"}])
    assert len(app.asked[-1].messages) == 5
    assert (await app.refused("POST", "/responses", json={"model": "m", "input": [said]})) == (
        404,
        "item_not_found",
        "input",
    )


async def test_what_a_response_was_asked_is_listed_in_pages(app: App) -> None:
    first = await app.ask("One")
    second = await app.ask("Two", previous_response_id=first["id"])
    path = f"/responses/{second['id']}/input_items"
    newest = await app.sent("GET", path)
    assert [item["role"] for item in newest["data"]] == ["user", "assistant", "user"]
    assert newest["data"][0]["content"] == [{"type": "input_text", "text": "Two"}]
    assert newest["has_more"] is False
    ids = [item["id"] for item in newest["data"]]
    assert (newest["first_id"], newest["last_id"]) == (ids[0], ids[-1])
    page = await app.sent("GET", f"{path}?order=asc&limit=1")
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (ids[-1:], True)
    page = await app.sent("GET", f"{path}?order=asc&limit=2&after={ids[-1]}")
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (ids[-2::-1], False)
    for bad, field in (("order=up", "order"), ("limit=0", "limit"), ("limit=x", "limit")):
        assert await app.refused("GET", f"{path}?{bad}") == (400, "invalid_field", field)
    assert (await app.refused("GET", f"{path}?after=x"))[0] == 404


async def test_nobody_goes_on_from_a_response_of_somebody_else(app: App) -> None:
    mine = await app.client.request(
        "POST", "/responses", json={"model": "m", "input": "Hi"}, headers={"x-user": "me"}
    )
    response = json.loads(mine.body)
    body = {"model": "m", "input": "Hi", "previous_response_id": response["id"]}
    refused = await app.refused("POST", "/responses", json=body, headers={"x-user": "you"})
    assert refused == (400, "previous_response_not_found", "previous_response_id")
    body = {"model": "m", "input": [{"type": "item_reference", "id": response["output"][0]["id"]}]}
    refused = await app.refused("POST", "/responses", json=body, headers={"x-user": "you"})
    assert refused == (404, "item_not_found", "input")


async def test_a_response_that_is_still_made_is_not_gone_on_from(app: App) -> None:
    response = await app.ask("slow", background=True)
    body = {"model": "m", "input": "Hi", "previous_response_id": response["id"]}
    assert (await app.refused("POST", "/responses", json=body))[:2] == (409, "response_in_progress")


async def test_a_long_conversation_goes_on(app: App) -> None:
    first = await app.ask("x" * 200_000)
    await app.ask("Two", previous_response_id=first["id"])
    assert len(app.asked[-1].messages[0].text) == 200_000


@pytest.mark.parametrize("odd", [{"id": None}, {"id": {}}, {"id": 7}, {"type": None}])
async def test_items_may_have_what_is_no_id(app: App, odd: dict[str, Any]) -> None:
    first = await app.ask([{"role": "user", "content": "One", **odd}, {"type": {"a": 1}}])
    await app.ask([{"role": "user", "content": "Two", **odd}], previous_response_id=first["id"])
    assert [role for role, _ in conversation(app.asked[-1])] == ["user", "assistant", "user"]
    items = await app.sent("GET", f"/responses/{first['id']}/input_items")
    assert all(isinstance(item["id"], str) for item in items["data"])
