"""The second turn of the example's agent: on every route, with the route's own client, the model
hears a history that its provider takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from asgi_llmstream import ChatRequest, ToolCall
from asgi_llmstream.testing import check_stream
from tests.house.test_examples import model, running
from tests.support.history import check_openai
from tests.support.node import Run, node  # noqa: F401  (a fixture)
from tests.support.providers import module

HISTORIES: list[list[Any]] = []
FIRST, SECOND = "Is it hot in Rome?", "Thanks."


async def scripted(request: ChatRequest) -> AsyncIterator[Any]:
    HISTORIES.append(request.to_openai())
    if request.messages[-1].role == "tool":
        yield "It is hot."
    elif request.prompt == FIRST:
        yield "I look. "
        yield ToolCall(f"call_{len(HISTORIES)}", "weather", {"city": "Rome"})
    else:
        yield "Yes."


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The agent's address. In the end its model has been asked three times, in order."""
    HISTORIES.clear()
    with model(scripted, monkeypatch), running("fastapi/agent.py") as client:
        yield str(client.base_url).rstrip("/")
    _, _, last = HISTORIES
    assert last[0]["content"] == FIRST
    assert last[-1] == {"role": "user", "content": SECOND}
    said = [message["content"] for message in last if message["role"] == "assistant"]
    assert "It is hot." in str(said)
    check_openai(last)


def test_of_openais_chat_client(url: str) -> None:
    history: list[Any] = [{"role": "user", "content": FIRST}]
    openai = module("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client:
        for said in ("I look. It is hot.", "Yes."):
            answer = client.chat.completions.create(model="small", messages=history)
            message = answer.choices[0].message
            assert (message.content, message.tool_calls) == (said, None)
            history += [message, {"role": "user", "content": SECOND}]


def test_of_openais_responses_client(url: str) -> None:
    history: list[Any] = [{"role": "user", "content": FIRST}]
    openai = module("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client:
        for said in ("I look. It is hot.", "Yes."):
            response = client.responses.create(model="small", input=history)
            assert response.output_text == said
            history += [*response.output, {"role": "user", "content": SECOND}]


def test_of_anthropics_client(url: str) -> None:
    history: list[Any] = [{"role": "user", "content": FIRST}]
    anthropic = module("anthropic")
    with anthropic.Anthropic(base_url=url, api_key="-", max_retries=0) as client:
        for said in ("I look. It is hot.", "Yes."):
            message = client.messages.create(model="small", max_tokens=9, messages=history)
            assert "".join(block.text for block in message.content) == said
            history.append({"role": "assistant", "content": message.content})
            history.append({"role": "user", "content": SECOND})


def test_of_the_ai_sdks_chat(node: Run, url: str) -> None:  # noqa: F811
    out = node("ui_chat.mjs", f"{url}/v1", FIRST, "again", SECOND)
    assert out["status"] == "ready"
    last = out["messages"][-1]
    assert "".join(part.get("text", "") for part in last["parts"]) == "Yes."


def test_of_ag_uis_client(node: Run, url: str) -> None:  # noqa: F811
    first = node("ag_ui.mjs", f"{url}/v1", FIRST)
    out = node("ag_ui.mjs", f"{url}/v1", SECOND, json.dumps(first["messages"]))
    assert out["messages"][-1]["content"] == "Yes."


def test_of_a_page_of_ones_own(url: str) -> None:
    history = [{"role": "user", "content": FIRST}]
    with httpx.Client(base_url=url, trust_env=False, timeout=15) as client:
        for said in ("I look. It is hot.", "Yes."):
            body = client.post("/v1/events", json={"messages": history}).content
            events = [json.loads(event.data) for event in check_stream(body, "events")]
            ended = [it for it in events if it["type"] == "part-ended"]
            texts = [it["text"] for it in ended if it["part"]["kind"] == "text"]
            assert "".join(texts) == said
            history.append({"role": "assistant", "content": said})
            history.append({"role": "user", "content": SECOND})


def test_of_a_page_that_reads_text(url: str) -> None:
    history = [{"role": "user", "content": FIRST}]
    with httpx.Client(base_url=url, trust_env=False, timeout=15) as client:
        for said in ("I look. It is hot.", "Yes."):
            assert client.post("/v1/text", json={"messages": history}).text == said
            history.append({"role": "assistant", "content": said})
            history.append({"role": "user", "content": SECOND})
