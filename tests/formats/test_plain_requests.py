"""What the plain format is asked: a prompt by GET, a whole conversation by POST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from asgi_llmstream import ChatApp, ChatRequest, ToolCall
from asgi_llmstream.formats import Events, OpenAIChat
from asgi_llmstream.testing import Client, Response, check_stream

pytestmark = pytest.mark.anyio

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CONVERSATION: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": "Rome?"}]},
    ],
    "model": "m",
    "tools": [WEATHER],
    "tool_choice": "auto",
    "temperature": 0.5,
    "thread": "t1",
}


class App:
    def __init__(self, *chunks: Any) -> None:
        self.requests: list[ChatRequest] = []
        self._chunks = chunks or ("Hello",)
        self._client = Client(ChatApp(self._answer, models=["m", "n"], any_model=True))

    async def _answer(self, request: ChatRequest) -> AsyncIterator[Any]:
        self.requests.append(request)
        for chunk in self._chunks:
            yield chunk

    async def post(self, body: Any, **headers: str) -> Response:
        return await self._client.request("POST", "/events", json=body, headers=headers)

    async def get(self, query: str) -> Response:
        return await self._client.request("GET", f"/events?{query}")


async def test_a_whole_conversation_reads_as_chat_completions_read_it() -> None:
    app = App()
    response = await app.post(CONVERSATION)
    assert "run-finished" in {event.event for event in check_stream(response.body, "events")}
    (asked,) = app.requests
    chat = OpenAIChat().decode(CONVERSATION | {"stream": True})
    assert asked.to_openai() == chat.to_openai()
    assert (asked.model, asked.tools, asked.tool_choice) == ("m", [WEATHER], "auto")
    assert asked.settings == {"temperature": 0.5}
    assert asked.body["thread"] == "t1"
    assert asked.prompt == "Rome?"


async def test_a_prompt_may_be_posted_too() -> None:
    app = App()
    await app.post({"prompt": "Hi"})
    assert [request.prompt for request in app.requests] == ["Hi"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": "Hi", "model": "m" * 257}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "king"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({**CONVERSATION, "stream": False}, None),
    ],
)
async def test_what_cannot_be_asked_is_a_400_that_names_the_field(
    body: Any, param: str | None
) -> None:
    app = App()
    response = await app.post(body)
    assert response.status == 400
    assert (response.json()["type"], response.json().get("param")) == ("error", param)
    assert app.requests == []


async def test_messages_in_a_query_are_none() -> None:
    assert (await App().get("messages=hi")).status == 400


async def test_a_post_is_a_question_of_its_own_whatever_came_before() -> None:
    app = App()
    response = await app.post({"prompt": "Hi"}, **{"last-event-id": "0123456789abcdef01234567:3"})
    assert response.status == 200
    assert len(app.requests) == 1


def runners(response: Response) -> list[str]:
    events = check_stream(response.body, "events")
    return [event.data or "" for event in events if event.event == "part-started"]


async def test_a_call_of_a_tool_that_was_not_offered_is_the_servers() -> None:
    app = App(ToolCall("a", "weather"), ToolCall("b", "search"))
    (offered, other) = runners(await app.post(CONVERSATION))
    assert '"by":"client"' in offered
    assert '"by":"server"' in other
    # An EventSource cannot name its tools.
    assert all('"by":"client"' in part for part in runners(await app.get("prompt=hi")))


def test_a_format_with_a_conversation_knows_its_tools() -> None:
    format = Events(retry=5)
    assert format.for_request(format.decode({"prompt": "hi"})) == format
    asked = format.for_request(format.decode(CONVERSATION))
    assert asked == Events(retry=5, offered=frozenset({"weather"}))
