"""What only the provider knows reaches a client of the same family; the envelope stays ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from anthropic.types import RawMessageDeltaEvent
from openai.types.chat import ChatCompletionChunk

from asgi_llmstream import LLMStream
from asgi_llmstream.formats import DEFAULT_FORMATS, AnthropicMessages, Format, OpenAIChat
from asgi_llmstream.testing import Client, check_stream, parse_sse
from tests.support.providers import recorded

pytestmark = pytest.mark.anyio


def chunk(delta: dict[str, Any], choice: dict[str, Any] | None = None, **more: Any) -> Any:
    return {
        "id": "theirs",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "theirs",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None, **(choice or {})}],
        **more,
    }


CHUNKS = [
    chunk({"role": "assistant", "content": None}, system_fingerprint="fp"),
    chunk({"content": "Hel"}, {"logprobs": {"content": []}}, system_fingerprint="fp"),
    chunk({"content": "lo", "audio": {"id": "a"}}, system_fingerprint="fp", new_field={"x": 1}),
    chunk({}, {"finish_reason": "stop", "stop_reason": 7}, timings={"ms": 3}),
]


async def body_of(chunks: list[Any], format: Format) -> bytes:
    async def producer() -> AsyncIterator[Any]:
        for item in chunks:
            yield item

    response = await Client(LLMStream(producer, format=format, model="ours")).request("GET", "/")
    return response.body


@pytest.mark.parametrize("shape", [dict, ChatCompletionChunk.model_validate])
async def test_unknown_fields_of_chunk_choice_and_delta_arrive_with_their_words(
    shape: Any,
) -> None:
    body = await body_of([shape(item) for item in CHUNKS], OpenAIChat())
    sent = [json.loads(event.data) for event in check_stream(body, "openai")[:-1]]
    _, hel, lo, end = sent
    assert hel["choices"][0]["delta"] == {"content": "Hel"}
    assert hel["choices"][0]["logprobs"]["content"] == []
    assert hel["system_fingerprint"] == "fp"
    assert lo["choices"][0]["delta"]["audio"]["id"] == "a"
    assert lo["new_field"] == {"x": 1}
    assert "system_fingerprint" not in lo  # it repeats itself
    assert end["choices"][0]["finish_reason"] == "stop"
    assert end["choices"][0]["stop_reason"] == 7
    assert end["timings"] == {"ms": 3}
    assert {(s["model"], s["object"]) for s in sent} == {("ours", "chat.completion.chunk")}
    assert len({(s["id"], s["created"]) for s in sent}) == 1
    assert sent[0]["id"] != "theirs"


async def test_recorded_logprobs_reach_the_client_token_by_token() -> None:
    stream = recorded("openai_chat_logprobs_n.jsonl")
    chunks = [json.loads(e.data) for e in parse_sse(stream) if e.data != "[DONE]"]

    def tokens(chunks: list[Any]) -> list[Any]:
        choices = [choice for item in chunks for choice in item["choices"]]
        return [(c["delta"].get("content"), c["logprobs"]) for c in choices if c.get("logprobs")]

    body = await body_of(chunks, OpenAIChat())
    sent = [json.loads(event.data) for event in check_stream(body, "openai")[:-1]]
    assert tokens(sent) == tokens(chunks)
    assert tokens(sent)


@pytest.mark.parametrize("shape", [dict, RawMessageDeltaEvent.model_validate])
async def test_unknown_fields_and_events_of_anthropic_arrive(shape: Any) -> None:
    ending = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None, "mood": "good"},
        "usage": {"output_tokens": 3, "new_count": 5},
    }
    end = {"type": "message_stop"}
    body = await body_of(["Hello", shape(ending), end], AnthropicMessages())
    (delta,) = [json.loads(e.data) for e in parse_sse(body) if e.event == "message_delta"]
    assert delta["delta"]["mood"] == "good"
    assert delta["delta"]["stop_reason"] == "end_turn"
    assert delta["usage"]["new_count"] == 5
    assert delta["usage"]["output_tokens"] == 3


async def test_other_families_leave_it_out_and_stay_valid() -> None:
    for format in DEFAULT_FORMATS:
        if not isinstance(format, OpenAIChat):
            body = await body_of(CHUNKS, format)
            assert b"Hel" in body
            if format.route != "/events":  # which shows every event
                assert b"timings" not in body
