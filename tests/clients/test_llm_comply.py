"""The outside judge: `llm-comply`, which holds servers against the vendors' own schemas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from typing import Any

import httpx
import jsonschema
import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Error,
    Finish,
    Reasoning,
    Refusal,
    Source,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from tests.support import responses_grammar
from tests.support.servers import serve

# Names that the judge knows as reasoning models: it asks others for no reasoning.
MODELS = ["gpt-5", "claude-sonnet-4-5"]
# Seconds after which the judge has hung.
PATIENCE = 60


async def answer(request: ChatRequest) -> AsyncIterator[Any]:
    """As a model behind the vendors' APIs: it calls the tool, and thinks aloud if asked to."""
    if request.tools:
        yield ToolCall("call_1", request.tools[0]["function"]["name"], {"location": "Oslo"})
    else:
        if request.body.keys() & {"reasoning", "reasoning_effort", "thinking"}:
            yield Reasoning("Let me ")
            yield Reasoning("think.", signature="sealed")
        yield "Hel"
        yield "lo"
    yield Finish(None)
    yield Usage(input_tokens=5, output_tokens=7, reasoning_tokens=3)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(ChatApp(answer, models=MODELS)) as address:
        yield address


def judged(url: str, format: str, model: str) -> dict[str, Any]:
    command = ["--base-url", url, "--api-key", "-", "--model", model, "--format", format, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "llm_comply.cli", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        timeout=PATIENCE,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(
    ("format", "model", "checks"),
    [
        ("open-responses", "gpt-5", 13),
        ("openai-chat", "gpt-5", 9),
        ("anthropic", "claude-sonnet-4-5", 9),
    ],
)
def test_the_judge_finds_nothing(url: str, format: str, model: str, checks: int) -> None:
    report = judged(url, format, model)
    found = {r["id"]: r.get("errors") for r in report["results"] if r["status"] != "passed"}
    assert found == {}
    assert report["summary"] == {"total": checks, "passed": checks, "failed": 0, "skipped": 0}


# Every event against the schema of its type, also where the judge's own table of types has a name
# that neither its specification nor OpenAI knows (`response.reasoning_summary.delta`).

STREAMS = {
    "reasoning, text and a source": [
        Reasoning("Let me think.", signature="sealed"),
        "Hel",
        Source("https://example.org/a"),
        "lo",
        Usage(5, 7, 2, 3),
    ],
    "parallel calls": [
        ToolCallDelta(0, "a", "f", '{"x":'),
        ToolCallDelta(1, "b", "g"),
        ToolCallDelta(0, arguments="1}"),
        Finish("tool_calls"),
    ],
    "a refusal": [Refusal("No."), Finish("content_filter")],
    "a cut": ["Hel", Finish("length")],
    "an error": ["Hel", Error("Too many.", "slow", 429)],
    "nothing": [],
}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """The specification of Open Responses, and its schemas' names by the events' types."""
    text = (files("llm_comply") / "specs" / "openresponses.json").read_text(encoding="utf-8")
    specification: dict[str, Any] = json.loads(text)
    names = {
        schema["properties"]["type"]["enum"][0]: name
        for name, schema in specification["components"]["schemas"].items()
        if name.endswith("StreamingEvent")
    }
    return {"specification": specification, "names": names}


@pytest.mark.parametrize("chunks", STREAMS.values(), ids=STREAMS)
def test_every_event_is_valid_by_the_specification_of_open_responses(
    schemas: dict[str, Any], chunks: list[Any]
) -> None:
    async def say(request: ChatRequest) -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    tools = [{"type": "function", "name": name, "parameters": {}} for name in ("f", "g")]
    body = {"model": "m", "input": "Hi", "stream": True, "reasoning": {"effort": "low"}}
    body["tools"] = tools
    with serve(ChatApp(say)) as address:
        stream = httpx.post(f"{address}/responses", json=body).content
    for event in responses_grammar.events(stream):
        schema = {
            **schemas["specification"],
            "$ref": f"#/components/schemas/{schemas['names'][event['type']]}",
        }
        jsonschema.Draft202012Validator(schema).validate(event)
