"""The plain events' JSON Schema, and the TypeScript types that are made from it."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from asgi_llmstream import ChatApp
from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    Error,
    File,
    Finish,
    Metadata,
    Native,
    Reasoning,
    Refusal,
    Source,
    State,
    StateDelta,
    Step,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from asgi_llmstream.events import CaughtUp
from asgi_llmstream.formats import Events
from asgi_llmstream.sse import parse_sse
from asgi_llmstream.testing import Client
from tests.support.node import CLIENTS, Run, node
from tests.support.wire import wire

__all__ = ["node"]

DOCS = Path(__file__).parents[2] / "docs"


def schema() -> dict[str, Any]:
    published = Events().schema()
    assert published is not None
    return published


def sent(*chunks: Chunk, abort: str | None = None) -> list[dict[str, Any]]:
    return [json.loads(e.data or "") for e in parse_sse(wire(Events(), *chunks, abort=abort))]


EVERYTHING = [
    *sent(
        Reasoning("Hm."),
        Reasoning("", "sealed", redacted=True),
        Text("Hel"),
        Native("openai", {"chunk": {"x": 1}}),
        Source("https://a"),
        Source("https://b", "B"),
        Refusal("No."),
        ToolCall("a", "f", by="server", signature="s"),
        Usage(1, 2),
        ToolResult("a", {"x": [1]}, error=True),
        ToolCall("b", "rm", by="server"),
        Approval("b", "It is final."),
        ToolResult("b", denied=True),
        Document("Rules", "application/pdf", "rules.pdf"),
        Metadata({"cost": 1}),
        State({"n": 1}),
        StateDelta([{"op": "remove", "path": "/n"}]),
        Data("n", 1, "x", transient=True),
        File("data:,x", "text/plain"),
        Data("n", None),
        Data("n", {"x": 1}, "id", transient=True),
        Document("A", "text/plain"),
        Metadata({"x": [1]}),
        State({"x": 1}),
        StateDelta([{"op": "remove", "path": "/x"}]),
        ToolCall("b", "f", by="server"),
        Approval("b", "It costs."),
        Step("second"),
        Text("lo"),
        Finish("length", "max_tokens", {"why": 1}),
    ),
    *sent(Text("x"), Usage(1, 2), Error("Too many.", "slow_down", 429)),
    *sent(ToolCall("a", "f", by="provider"), abort="shutdown"),
    # Of a stream that a store keeps.
    *[json.loads(e.data or "") for e in parse_sse(Events().encoder()(CaughtUp(3)))],
]


def test_the_schema_is_one_and_says_neither_more_nor_less_than_is_sent() -> None:
    published = schema()
    Draft202012Validator.check_schema(published)
    for definition in published["$defs"].values():
        definition["additionalProperties"] = False
    validator = Draft202012Validator(published)
    for event in EVERYTHING:
        assert [*validator.iter_errors(event)] == []
        for field in published["$defs"][_name(event)]["required"]:
            assert not validator.is_valid({k: v for k, v in event.items() if k != field})


def _name(event: dict[str, Any]) -> str:
    return "".join(word.capitalize() for word in event["type"].split("-"))


def test_every_event_of_the_schema_is_sent_and_each_is_described() -> None:
    published = schema()
    events = [reference["$ref"].rpartition("/")[2] for reference in published["oneOf"]]
    assert {*events} == {_name(event) for event in EVERYTHING}
    items = published["$defs"]["ItemAdded"]["properties"]["item"]["anyOf"]
    added = [event["item"] for event in EVERYTHING if event["type"] == "item-added"]
    assert {item["$ref"].rpartition("/")[2] for item in items} == {*map(_name, added)}
    assert all(d["description"].endswith(".") for d in published["$defs"].values())


def test_the_page_names_every_event_and_every_route() -> None:
    page = (DOCS / "events.md").read_text()
    named = {*re.findall(r"`([a-z]+-[a-z]+)`", page)}
    assert {event["type"] for event in EVERYTHING} <= named
    assert {"GET /events/schema", "POST /events"} <= {*re.findall(r"`([A-Z]+ [/\w]+)`", page)}


@pytest.mark.anyio
async def test_the_schema_is_served_beside_the_events_also_below_v1() -> None:
    client = Client(ChatApp(lambda request: "Hello"))
    for path in ("/events/schema", "/v1/events/schema"):
        response = await client.request("GET", path)
        assert response.headers["content-type"] == "application/json"
        assert response.json() == schema()
    own = Client(ChatApp(lambda request: "Hello", formats=[Events(envelope=False)]))
    assert (await own.request("GET", "/events/schema")).status == 404


# TypeScript.


def test_the_types_are_those_that_the_schema_makes() -> None:
    write = runpy.run_path(str(DOCS / "write_events_ts.py"))["typescript"]
    assert (DOCS / "events.ts").read_text() == write(schema()), "run docs/write_events_ts.py"


def _tsc(*files: Path) -> str:
    compiler = CLIENTS / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom"]
    options += ["--moduleResolution", "bundler", "--module", "esnext", "--types", ""]
    executable = str(CLIENTS / "node_modules" / ".bin" / "node")
    done = subprocess.run(
        [executable, str(compiler), *options, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def _page(tmp_path: Path, *more: str) -> Path:
    """The page's script beside the types, and what else is to be compiled with it."""
    (script,) = re.findall(r"^```ts\n(.*?)^```", (DOCS / "events.md").read_text(), re.M | re.S)
    (tmp_path / "events.ts").write_text((DOCS / "events.ts").read_text())
    page = tmp_path / "page.ts"
    page.write_text("\n".join([script, *more]))
    return page


def test_typescript_compiles_the_pages_script(node: Run, tmp_path: Path) -> None:
    assert _tsc(_page(tmp_path)) == ""


def test_typescript_knows_what_was_sent(node: Run, tmp_path: Path) -> None:
    events = ",\n".join(map(json.dumps, EVERYTHING))
    assert _tsc(_page(tmp_path, f"const sent: PlainEvent[] = [{events}];")) == ""


def test_typescript_refuses_what_is_never_sent(node: Run, tmp_path: Path) -> None:
    wrong = 'const never: PlainEvent = {type: "part-delta", seq: 1, kind: "text", text: "x"};'
    assert "error TS" in _tsc(_page(tmp_path, wrong))
