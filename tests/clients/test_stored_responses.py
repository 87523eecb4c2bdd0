"""The official `openai` clients and the AI SDK with stored responses, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from asgi_llmstream import ChatApp, ChatRequest, Reasoning, ToolCall
from asgi_llmstream.stores import MemoryStore
from tests.support.node import Run, node
from tests.support.servers import serve

__all__ = ["node"]

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    "strict": True,
}


class Model:
    """Repeats the conversation; "halt" halts after two tokens, until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    async def __call__(self, request: ChatRequest) -> AsyncIterator[Any]:
        if request.prompt == "halt":
            yield "Hel"
            yield "lo "
            await anyio.to_thread.run_sync(self.go_on.wait, 20, abandon_on_cancel=True)
            yield "wor"
            yield "ld"
        elif request.prompt == "hang":
            yield "Hel"
            await anyio.sleep_forever()
        elif request.tools and request.messages[-1].role != "tool":
            yield Reasoning("I have to ask.")
            yield ToolCall("call_a", "weather", {})
        else:
            yield " | ".join(f"{message.role}: {message.text}" for message in request.messages)


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.go_on.set()


@pytest.fixture
def url(model: Model) -> Iterator[str]:
    with serve(ChatApp(model, models=["m"], store=MemoryStore())) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
        yield client


def test_a_conversation_goes_on_by_the_id_of_its_last_response(client: OpenAI) -> None:
    first = client.responses.create(model="m", input="One")
    second = client.responses.create(model="m", input="Two", previous_response_id=first.id)
    assert second.output_text == "user: One | assistant: user: One | user: Two"
    assert client.responses.retrieve(second.id) == second
    items = client.responses.input_items.list(second.id, order="asc", limit=2)
    assert [item.type for item in items] == ["message"] * 3  # the client turns the pages


def test_a_tools_result_is_all_that_has_to_be_sent(client: OpenAI) -> None:
    first = client.responses.create(model="m", input="How is it?", tools=[TOOL])
    (call,) = (item for item in first.output if item.type == "function_call")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    second = client.responses.create(
        model="m", input=[result], previous_response_id=first.id, tools=[TOOL]
    )
    assert second.output_text == "user: How is it? | assistant:  | tool: Sunny."


def test_a_broken_stream_is_gone_on_with(client: OpenAI, model: Model) -> None:
    events = []
    with client.responses.stream(model="m", input="halt", background=True) as stream:
        for event in stream:
            events.append(event)
            if event.type == "response.output_text.delta" and event.snapshot == "Hello ":
                break
    first: Any = events[0]
    id, last = first.response.id, events[-1].sequence_number
    model.go_on.set()
    with client.responses.stream(response_id=id, starting_after=last) as stream:
        rest = list(stream)
        final = stream.get_final_response()
    assert rest[0].sequence_number == last + 1
    assert final.output_text == "Hello world"
    raw = client.responses.retrieve(id, stream=True, starting_after=last)
    assert said(raw) == said(rest) == "world"


def said(events: Iterable[Any]) -> str:
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


def test_a_response_in_the_background_is_asked_for_until_it_is_there(
    client: OpenAI, model: Model
) -> None:
    response = client.responses.create(model="m", input="halt", background=True)
    assert response.status == "in_progress"
    model.go_on.set()
    assert done(client, response).output_text == "Hello world"


def done(client: OpenAI, response: Response) -> Response:
    """Return a response once it has ended: its stream ends then."""
    for _ in client.responses.retrieve(response.id, stream=True):
        pass
    return client.responses.retrieve(response.id)


def test_a_response_is_cancelled_and_deleted(client: OpenAI) -> None:
    response = client.responses.create(model="m", input="hang", background=True)
    cancelled = client.responses.cancel(response.id)
    assert cancelled.status == "cancelled"
    assert client.responses.cancel(response.id) == cancelled
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="m", input="Hi", previous_response_id=response.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_response_that_is_not_stored_is_not_found(client: OpenAI) -> None:
    response = client.responses.create(model="m", input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_node_looks_at_follows_cancels_and_deletes_responses(node: Run, url: str) -> None:
    out = node("stored_responses.mjs", url)
    assert out["second"] == "user: One | assistant: user: One | user: Two"
    assert out["retrieved"] is True
    assert out["input"] == ["One", "user: One", "Two"]
    numbers = out["numbers"]
    assert out["rest"] == [number for number in numbers if number > 4]
    assert out["none"] == []
    assert (out["queued"], out["cancelled"]) == ("in_progress", "cancelled")
    assert (out["gone"], out["previous"]) == (404, "previous_response_not_found")


def test_the_ai_sdks_references_to_items_are_resolved(node: Run, url: str) -> None:
    out = node("references.mjs", url)
    assert "item_reference" in out["sent"]
    assert out["errors"] == []
    first = "user: How is it? | assistant:  | tool: Sunny."
    # The client sends what its last step said only.
    assert out["texts"] == [first, f"user: How is it? | assistant: {first} | user: And now?"]
