"""One answer through every protocol: the same content, a valid stream, one visible end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgi_llmstream import ChatApp, ChatRequest, LLMStreamError, RateLimited, StreamOptions
from asgi_llmstream.chunks import (
    Approval,
    Chunk,
    Document,
    Error,
    Finish,
    Metadata,
    Raw,
    Reasoning,
    Refusal,
    Source,
    State,
    StateDelta,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.events import (
    Event,
    Item,
    ItemAdded,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAborted,
    RunFailed,
    Terminal,
    merge,
)
from asgi_llmstream.formats import (
    AGUI,
    DEFAULT_FORMATS,
    AnthropicMessages,
    Events,
    OpenAIChat,
    OpenAIResponses,
    RequestFormat,
    TextStream,
    UIMessages,
)
from asgi_llmstream.formats.shapes.chat import as_text, told_of
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.request import DENIED
from asgi_llmstream.testing import Client, ManualClock, check_stream
from tests.support import ag_ui_grammar, anthropic_grammar, responses_grammar, ui_grammar
from tests.support.strategies import COUNTS, ENDINGS, SHORT, SINGLE, parallel_calls
from tests.support.tools import for_ag_ui, for_anthropic, for_chat, for_responses
from tests.support.wire import EVENT_STREAMS

Call = tuple[str, str, str]


@dataclass
class Heard:
    """What a client has when the stream is over.

    Attributes:
        said: text and refusals in the order of the stream: some protocols do not tell the two
            apart.
        refused: the refusals alone; None where they are not told apart.
        calls: id, name and arguments of each that the client is to answer, and of others where
            nothing tells them apart.
        ran: name, arguments and output, as text, of each that others answer; the output is ""
            where the results are told elsewhere, and None if there was none.
        broken: ids of the calls that a client must not run; None where nothing tells.
        results: id and output, as text; None where there are none.
        asked: ids of the calls that wait for a human's approval; None where nobody can ask.
        documents: their titles; None where they are not told.
        state: each snapshot of the shared state, and each change; likewise.
        metadata: of the message; likewise.
        tokens: of the output; None where they are not told.
        error: what the client is told if the answer broke off.
    """

    said: str = ""
    refused: str | None = ""
    thought: str = ""
    calls: list[Call] = field(default_factory=list)
    ran: list[tuple[str, str, str | None]] = field(default_factory=list)
    broken: set[str] | None = field(default_factory=set)
    results: list[tuple[str, str]] | None = field(default_factory=list)
    asked: set[str] | None = field(default_factory=set)
    documents: list[str] | None = field(default_factory=list)
    state: list[Any] | None = field(default_factory=list)
    metadata: dict[str, Any] | None = field(default_factory=dict)
    tokens: int | None = None
    error: str | None = None


WORDLESS: dict[str, Any] = {"documents": None, "state": None, "metadata": None}

# What clients hear. Each reader holds the stream against its protocol's reference first.


def hear_chat(stream: bytes) -> Heard:
    heard = Heard(refused="", broken=None, results=None, asked=None, **WORDLESS)
    calls: list[list[str]] = []
    for event in check_stream(stream, "openai")[:-1]:
        chunk = json.loads(event.data)
        heard.error = chunk.get("error", {}).get("message")
        if usage := chunk.get("usage"):
            heard.tokens = usage["completion_tokens"]
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            heard.said += delta.get("content", "") + delta.get("refusal", "")
            heard.refused = (heard.refused or "") + delta.get("refusal", "")
            heard.thought += delta.get("reasoning_content", "")
            for piece in delta.get("tool_calls", ()):
                if "id" in piece:
                    calls.append([piece["id"], piece["function"]["name"], ""])
                assert piece["index"] == len(calls) - 1, "accumulators take them for one"
                calls[piece["index"]][2] += piece["function"]["arguments"]
    heard.calls = [(id, name, arguments) for id, name, arguments in calls]
    return heard


def hear_responses(stream: bytes) -> Heard:
    answer = responses_grammar.check(stream)
    heard = Heard(error=answer["error"] and answer["error"]["message"], **WORDLESS)
    assert heard.asked is not None
    asked: dict[str, int] = {}  # and where they stand among what ran
    heard.tokens = answer["usage"] and answer["usage"]["output_tokens"]
    for item in answer["output"]:
        match item["type"]:
            case "message":
                (part,) = item["content"]
                heard.said += part.get("text", "") + part.get("refusal", "")
                heard.refused = (heard.refused or "") + part.get("refusal", "")
            case "reasoning":
                heard.thought += item["summary"][0]["text"]
            case "function_call":
                hear_call(heard, item["call_id"], item["name"], item["arguments"])
                if item["status"] != "completed":
                    assert heard.broken is not None
                    heard.broken.add(item["call_id"])
            case "function_call_output":
                hear_result(heard, item["call_id"], item["output"])
            case "mcp_call":
                output = item["output"]
                if item["status"] == "failed":
                    output = item["error"]["content"][0]["text"]
                ran = (item["name"], item["arguments"], output)
                if (id := item["approval_request_id"]) in asked:
                    heard.asked.remove(id)
                    heard.ran[asked.pop(id)] = ran
                    continue
                if id is not None:
                    assert item["status"] == "incomplete"
                    asked[id] = len(heard.ran)
                heard.ran.append(ran)
            case "mcp_approval_request":
                name, arguments, _ = heard.ran[asked[item["id"]]]
                assert (item["name"], item["arguments"]) == (name, arguments)
                heard.asked.add(item["id"])
    assert heard.asked == asked.keys()
    return heard


def hear_anthropic(stream: bytes) -> Heard:
    heard = Heard(refused=None, results=None, asked=None, **WORDLESS)
    message = anthropic_grammar.check(stream)
    if message is None:
        _, *middle, last = anthropic_grammar.events(stream)
        blocks = anthropic_grammar.read_blocks(middle, broken=True)
        heard.error = last["error"]["message"]
        stops = sum(event["type"] == "content_block_stop" for event in middle)
        heard.broken = {block["id"] for block in blocks[stops:]}
    else:
        blocks = message["content"]
        heard.tokens = message["usage"]["output_tokens"]
    for block in blocks:
        heard.said += block.get("text", "")
        heard.thought += block.get("thinking", "")
        if block["type"] == "tool_use":
            hear_call(heard, block["id"], block["name"], block.get("partial_json", ""))
    return heard


def hear_ui(stream: bytes) -> Heard:
    reader = ui_grammar.read(stream)
    heard = Heard(refused=None, error=reader.terminal.get("errorText"))
    heard.said = reader.text_of("text")
    heard.thought = reader.text_of("reasoning")
    executed = {
        chunk["toolCallId"]
        for chunk in ui_grammar.chunks_of(stream)
        if chunk["type"] == "tool-input-start" and "providerExecuted" in chunk
    }
    for call in reader.calls:
        if call["id"] in executed:
            heard.ran.append((call["name"], call["text"], ""))
        else:
            hear_call(heard, call["id"], call["name"], call["text"])
    heard.tokens = reader.metadata.pop("usage", {}).get("outputTokens")
    heard.metadata = reader.metadata
    heard.asked = {call["id"] for call in reader.calls if call["state"] == "approval-requested"}
    assert heard.state is not None
    assert heard.documents is not None
    for chunk in ui_grammar.chunks_of(stream):
        if "providerExecuted" in ui_grammar.SHAPES.get(chunk["type"], ({}, {}))[1]:
            is_executed = chunk["toolCallId"] in executed
            assert chunk.get("providerExecuted") is (True if is_executed else None)
        match chunk:
            case {"type": "tool-input-error", "errorText": "The answer broke off."}:
                assert heard.broken is not None
                heard.broken.add(chunk["toolCallId"])
            case {"type": "data-tool-result", "data": result} | {
                "type": "tool-output-available" | "tool-output-error",
                **result,
            }:
                output = result["output"] if "output" in result else result["errorText"]
                hear_result(heard, result["toolCallId"], output)
            case {"type": "tool-output-denied", "toolCallId": id}:
                hear_result(heard, id, DENIED)
            case {"type": "data-state", "id": "state", "data": value}:
                heard.state.append(value)
            case {"type": "data-state-delta", "transient": True, "data": value}:
                heard.state.append(value)
            case {"type": "source-document", "title": title}:
                heard.documents.append(title)
    return heard


def hear_ag_ui(stream: bytes) -> Heard:
    reader = ag_ui_grammar.read(stream)
    heard = Heard(refused=None, error=reader.terminal.get("message"))
    heard.said = reader.text_of("assistant")
    heard.thought = reader.text_of("reasoning")
    heard.calls = [(call["id"], call["name"], call["arguments"]) for call in reader.calls]
    heard.asked, heard.state = {*reader.interrupts}, reader.state
    heard.documents = [v["title"] for name, v in reader.custom if name == "llmstream.document"]
    heard.metadata = dict(reader.terminal.get("metadata", {}))
    heard.metadata.pop("finishReason", None)
    for usage in reader.terminal.get("usage", ()):
        heard.tokens = usage["outputTokens"]
    open_parts: set[tuple[str, Any]] = set()
    for event in ag_ui_grammar.events_of(stream):
        what, _, where = event["type"].rpartition("_")
        id = event.get("messageId") or event.get("toolCallId") or event.get("stepName")
        if where in ("START", "STARTED") and what != "RUN":
            open_parts.add((what, id))
        elif where in ("END", "FINISHED") and what != "RUN":
            open_parts.remove((what, id))
        match event:
            case {"type": "TOOL_CALL_RESULT", **result}:
                hear_result(heard, result["toolCallId"], result["content"])
            case {"type": "CUSTOM", "name": "llmstream.tool_result", "value": result}:
                hear_result(heard, result["toolCallId"], result["content"])
    assert {what for what, _ in open_parts} <= {"TOOL_CALL"}
    heard.broken = {id for _, id in open_parts}
    return heard


def hear_events(stream: bytes) -> Heard:
    heard = Heard()
    parts: dict[int, str] = {}
    for event in check_stream(stream, "events"):
        if event.event in (None, "own"):
            continue  # a producer's own
        fields: Any = json.loads(event.data)
        match fields:
            case {"type": "part-started", "part": part}:
                parts[part["index"]] = ""
            case {"type": "part-delta", "part": index, "text": text}:
                parts[index] += text
            case {"type": "part-ended", "part": part, "text": text, **rest}:
                assert rest.get("whole") is not True, "it is left out"
                assert parts.pop(part["index"]) == text
                hear_part(heard, part["kind"], part["id"], part["name"], text, part["by"])
                if not rest.get("whole", True) and part["kind"] == "tool_call":
                    assert heard.broken is not None
                    heard.broken.add(part["id"])
            case {"type": "item-added", "item": item}:
                hear_item(heard, msgspec.convert(item, Item | Raw))
            case {"type": "run-finished" | "run-failed" | "run-aborted" as end}:
                assert not parts
                heard.tokens = fields["usage"] and fields["usage"]["output_tokens"]
                told = {"run-failed": "message", "run-aborted": "reason"}.get(end)
                heard.error = told and fields[told]
    return heard


def hear_part(
    heard: Heard, kind: str, id: str, name: str, text: str, by: str | None = None
) -> None:
    if by in ("server", "provider"):
        assert kind == "tool_call"
        heard.ran.append((name, text, ""))
    elif kind == "tool_call":
        hear_call(heard, id, name, text)
    elif kind == "reasoning":
        heard.thought += text
    else:
        heard.said += text
        heard.refused = (heard.refused or "") + (text if kind == "refusal" else "")


def hear_call(heard: Heard, id: str, name: str, arguments: str) -> None:
    heard.calls.append((id, name, arguments))


def hear_item(heard: Heard, item: Any) -> None:
    """All of it, as the lifecycle's events tell it."""
    assert heard.asked is not None
    assert heard.documents is not None
    assert heard.state is not None
    assert heard.metadata is not None
    match item:
        case ToolResult(id=id):
            hear_result(heard, id, told_of(item))
            heard.asked.discard(id)
        case Approval(call_id=id):
            heard.asked.add(id)
        case Document(title=title):
            heard.documents.append(title)
        case State(value=value) | StateDelta(patch=value):
            heard.state.append(value)
        case Metadata(fields=fields):
            heard.metadata = ui_grammar.merge(heard.metadata, fields)


def hear_result(heard: Heard, id: str, output: Any) -> None:
    assert heard.results is not None
    heard.results.append((id, as_text(output)))


HEAR: dict[type[RequestFormat], Callable[[bytes], Heard]] = {
    OpenAIChat: hear_chat,
    OpenAIResponses: hear_responses,
    AnthropicMessages: hear_anthropic,
    UIMessages: hear_ui,
    AGUI: hear_ag_ui,
    Events: hear_events,
}


def hear(format: RequestFormat, stream: bytes) -> Heard:
    check_stream(stream)
    return HEAR[type(format)](stream)


# What was said, and what the loss tables make of it.


@dataclass
class Told(Heard):
    """All of it; `calls` are all.

    Attributes:
        elsewhere: ids of the calls that others than the client answer.
        outputs: of these, the first of each.
        own: the results of all others.
        unknown: calls that a human was asked about before anybody made them.
    """

    elsewhere: set[str] = field(default_factory=set)
    outputs: dict[str, str] = field(default_factory=dict)
    own: list[tuple[str, str]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)


def said(events: Iterable[Event]) -> Told:
    """Straight from the lifecycle's events."""
    heard = Told()
    deltas: dict[int, str] = {}
    calls: dict[int, Call] = {}
    for event in events:
        match event:
            case PartStarted(part=part):
                deltas[part.index] = ""
                if part.kind == "tool_call":
                    calls[part.index] = (part.id, part.name, "")
                    if part.by != "client":
                        heard.elsewhere.add(part.id)
            case PartDelta(part=part, text=text):
                deltas[part.index] += text
            case PartEnded(part=part, text=text, whole=whole):
                assert deltas[part.index] == text
                if part.kind == "tool_call":
                    calls[part.index] = (part.id, part.name, text)
                    if not whole:
                        assert heard.broken is not None
                        heard.broken.add(part.id)
                else:
                    hear_part(heard, part.kind, part.id, part.name, text)
            case ItemAdded(item=item):
                hear_item(heard, item)
                match item:
                    case ToolResult(id=id) if id in heard.elsewhere:
                        heard.outputs.setdefault(id, told_of(item))
                    case ToolResult(id=id):
                        heard.own.append((id, told_of(item)))
                    case Approval(call_id=id) if id in heard.elsewhere:
                        heard.unknown.discard(id)
                    case Approval(call_id=id):
                        heard.unknown.add(id)
            case Terminal(usage=usage):
                heard.tokens = usage.output_tokens if usage else None
                if isinstance(event, RunFailed):
                    heard.error = event.message
                elif isinstance(event, RunAborted):
                    heard.error = event.reason
    heard.calls = [calls[index] for index in sorted(calls)]
    return heard


def without_what_waited(calls: list[Call], broken: set[str]) -> tuple[list[Call], set[str]]:
    """Where calls follow each other, what waits for one that broke off is not sent."""
    for number, (id, _, _) in enumerate(calls):
        if id in broken:
            return calls[: number + 1], {id}
    return calls, set()


def shown(format: RequestFormat, told: Told) -> tuple[list[Call], set[str]]:
    """The calls of a client, and which of them broke off."""
    calls, broken = told.calls, told.broken or set()
    if isinstance(format, OpenAIChat | AnthropicMessages):
        calls = [call for call in calls if call[0] not in told.elsewhere]
        broken = broken - told.elsewhere
    if isinstance(format, OpenAIChat | OpenAIResponses | AnthropicMessages):
        calls, broken = without_what_waited(calls, broken)
    return calls, broken


def assert_ran(format: RequestFormat, heard: Heard, told: Told, calls: list[Call]) -> None:
    """Of what others answer is heard what there are words for."""
    ran = [(id, name, text) for id, name, text in calls if id in told.elsewhere]
    if isinstance(format, OpenAIResponses):
        assert heard.ran == [(name, text, told.outputs.get(id)) for id, name, text in ran]
    elif isinstance(format, AGUI):
        assert heard.ran == []
    else:  # parts of the plain format are heard as they end
        assert sorted(heard.ran) == sorted((name, text, "") for _, name, text in ran)


def assert_asked(format: RequestFormat, heard: Heard, told: Told) -> None:
    """What a human is asked is heard where he can answer; of a failed run AG-UI has no word."""
    assert told.asked is not None
    if isinstance(format, AGUI):
        assert heard.asked == (told.asked if heard.error is None else set())
    elif not isinstance(format, Events):
        assert heard.asked is None or heard.asked == told.asked - told.unknown
    else:
        assert heard.asked == told.asked


def assert_same(format: RequestFormat, heard: Heard, told: Told) -> None:
    """`heard` is what was told, as far as the loss table of the protocol allows."""
    calls, broken = shown(format, told)
    assert_ran(format, heard, told, calls)
    results = told.results
    if not isinstance(format, AGUI):  # which does not tell them apart
        calls = [call for call in calls if call[0] not in told.elsewhere]
    if isinstance(format, OpenAIResponses):
        results, broken = told.own, broken - told.elsewhere
    # Parts of the plain format are heard as they end.
    assert sorted(heard.calls) == sorted(calls)
    if not isinstance(format, Events):
        assert heard.calls == calls
    assert (heard.said, heard.thought) == (told.said, told.thought)
    assert heard.refused in (None, told.refused)
    assert heard.broken is None or heard.broken == broken
    assert heard.results is None or heard.results == results
    assert heard.documents in (None, told.documents)
    assert heard.state in (None, told.state)
    assert heard.error is not None or heard.metadata in (None, told.metadata)
    assert_asked(format, heard, told)
    assert (heard.error is None) == (told.error is None)
    assert (told.error or "") in (heard.error or "")
    if told.error is None or not isinstance(format, OpenAIChat | AnthropicMessages):
        assert (heard.tokens or 0) == (told.tokens or 0)


# Any producer


def run(chunks: Iterable[Chunk], ending: str | Error) -> list[Event]:
    lifecycle = Lifecycle(id="run", created=1700000000, model="m")
    events = lifecycle.start()
    for chunk in chunks:
        events += lifecycle.feed(chunk)
    match ending:
        case "finish":
            return [*events, *lifecycle.finish()]
        case "fail":
            return [*events, *lifecycle.fail(LLMStreamError())]
        case "abort":
            return [*events, *lifecycle.abort("gone")]
        case _:
            assert isinstance(ending, Error)
            return [*events, *lifecycle.feed(ending)]


def wire(format: RequestFormat, events: Iterable[Event]) -> bytes:
    return b"".join(map(format.encoder(), events))


def as_asked(format: RequestFormat) -> RequestFormat:
    return OpenAIChat(include_usage=True) if isinstance(format, OpenAIChat) else format


BY: Any = st.sampled_from(["client", "server", "provider"])
ONE = st.one_of(
    SINGLE,
    st.builds(Reasoning, SHORT, SHORT),
    st.builds(Usage, COUNTS, COUNTS),
    st.builds(Finish, st.none() | st.sampled_from(["stop", "content_filter", "other"])),
    st.builds(ToolCallDelta, st.just(9), st.just("h"), st.just("hosted"), SHORT, BY),
)
GROUPS = st.lists(ONE.map(lambda chunk: [chunk]) | parallel_calls(), max_size=12)
CHUNKS = GROUPS.map(lambda groups: [chunk for group in groups for chunk in group])
BESIDE = [ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(1, "b", "g"), ToolCall("c", "h")]


@settings(deadline=None, max_examples=300)
@given(CHUNKS, ENDINGS)
@example(BESIDE, "finish")
@example(BESIDE, "abort")
@example([Text("a"), Refusal("b"), Text("c")], Error("Oh."))
@example([ToolCall("q", "f", by="server"), Text("a"), Approval("q")], "finish")
def test_whatever_a_producer_yields_every_client_hears_the_same_of_it(
    chunks: list[Chunk], ending: str | Error
) -> None:
    events = run(chunks, ending)
    told = said(events)
    for format in map(as_asked, EVENT_STREAMS):
        assert_same(format, hear(format, wire(format, events)), told)


@settings(deadline=None)
@given(CHUNKS, ENDINGS)
def test_the_same_chunks_ids_and_time_give_the_same_bytes_in_every_format(
    chunks: list[Chunk], ending: str | Error
) -> None:
    for format in map(as_asked, EVENT_STREAMS):
        assert wire(format, run(chunks, ending)) == wire(format, run(chunks, ending))


@settings(deadline=None)
@given(CHUNKS, ENDINGS)
@example([Text("a"), Text("b"), Source("u"), Text("c"), Text("d")], "finish")
def test_a_client_that_gets_its_deltas_merged_hears_the_same(
    chunks: list[Chunk], ending: str | Error
) -> None:
    events = run(chunks, ending)
    for format in map(as_asked, EVENT_STREAMS):
        assert_same(format, hear(format, wire(format, merge(events))), said(events))


def test_every_event_stream_has_a_reader_here() -> None:
    assert {type(format) for format in EVENT_STREAMS} == HEAR.keys()


USED = Usage(100, 7, 40, 3, 50)
TOLD = {
    OpenAIChat: '"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":50}',
    OpenAIResponses: '"input_tokens_details":{"cached_tokens":40,"cache_write_tokens":50}',
    AnthropicMessages: '"input_tokens":10,"cache_creation_input_tokens":50,'
    '"cache_read_input_tokens":40',
    UIMessages: '"inputTokenDetails":{"cacheReadTokens":40,"cacheWriteTokens":50}',
    AGUI: '"cachedInputTokens":40,"cacheWriteInputTokens":50',
    Events: '"cached_tokens":40,"reasoning_tokens":3,"cache_write_tokens":50',
}


@pytest.mark.parametrize("format", EVENT_STREAMS, ids=lambda f: f.route)
def test_what_was_read_from_a_cache_and_what_was_written_are_told_apart(
    format: RequestFormat,
) -> None:
    assert TOLD[type(format)].encode() in wire(as_asked(format), run([USED], "finish"))


# Every route of a ChatApp

MESSAGES = [{"role": "user", "content": "hi"}]
# The smallest request in each protocol's own words, or the query of a GET.
ASK: dict[type[RequestFormat], Any] = {
    OpenAIChat: {"model": "m", "messages": MESSAGES, "stream": True, "tools": for_chat("f")},
    OpenAIResponses: {"model": "m", "input": "hi", "stream": True, "tools": for_responses("f")},
    AnthropicMessages: {
        "model": "m",
        "max_tokens": 9,
        "messages": MESSAGES,
        "stream": True,
        "tools": for_anthropic("f"),
    },
    UIMessages: {
        "id": "chat",
        "trigger": "submit-message",
        "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    },
    AGUI: {
        "threadId": "thread",
        "runId": "run",
        "messages": [{"id": "1", "role": "user", "content": "hi"}],
        "tools": for_ag_ui("f"),
        "context": [],
        "state": {},
        "forwardedProps": {},
    },
    Events: "prompt=hi&model=m",
    TextStream: {"messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
}
every_format = pytest.mark.parametrize("format", DEFAULT_FORMATS, ids=lambda f: f.route)
every_event_stream = pytest.mark.parametrize("format", EVENT_STREAMS, ids=lambda f: f.route)


def asking(format: RequestFormat, asked: Any = None) -> dict[str, Any]:
    """The arguments of a client's request."""
    asked = ASK[type(format)] if asked is None else asked
    if "GET" in format.methods:
        return {"method": "GET", "path": f"{format.route}?{asked}"}
    key = "body" if isinstance(asked, bytes) else "json"
    headers = {"content-type": "application/json"}
    return {"method": "POST", "path": format.route, key: asked, "headers": headers}


def message_of(format: RequestFormat, error: dict[str, Any]) -> str:
    """What a client shows of an HTTP error, whose body must have the protocol's own shape."""
    match format, error:
        case (
            OpenAIChat() | OpenAIResponses(),
            {"error": {"message": str(message), "type": str(), "code": str(), "param": _, **rest}},
        ) if not rest and len(error) == 1:
            return message
        case (
            AnthropicMessages(),
            {"type": "error", "error": {"type": kind, "message": str(message), **rest}},
        ) if not rest and kind in anthropic_grammar.ERROR_TYPES and len(error) == 2:
            return message
        case UIMessages() | TextStream(), {"code": str(), "message": str(message), **rest}:
            assert rest.keys() <= {"param"}
            return message
        case AGUI(), {"type": "RUN_ERROR", "message": str(message), "code": str(), **rest}:
            assert not rest
            return message
        case (
            Events(),
            {"type": "error", "message": str(message), "code": str(), "status": int(), **rest},
        ):
            assert rest.keys() <= {"param"}
            return message
    raise AssertionError(f"not this protocol's error: {error}")


async def answer(request: ChatRequest) -> AsyncIterator[Chunk]:
    assert request.prompt == "hi"
    yield Reasoning("Hm.")
    yield Text("Hel")
    yield Text("lo")
    yield ToolCall("a", "f", {"x": 1})
    yield Usage(5, 7)
    yield Finish("tool_calls")


@every_event_stream
@pytest.mark.anyio
async def test_a_request_in_the_protocols_own_words_gives_its_stream(format: RequestFormat) -> None:
    response = await Client(ChatApp(answer)).request(**asking(format))
    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    for name, value in format.headers:
        assert response.headers[name.decode()] == value.decode()
    heard = hear(format, response.body)
    assert (heard.said, heard.thought, heard.error) == ("Hello", "Hm.", None)
    assert heard.calls == [("a", "f", '{"x":1}')]
    assert heard.tokens == (None if isinstance(format, OpenAIChat) else 7)


async def unasked(request: ChatRequest) -> AsyncIterator[Chunk]:
    raise AssertionError("the producer must not be called")
    yield Text("")


def without(format: RequestFormat, name: str) -> Any:
    return {key: value for key, value in ASK[type(format)].items() if key != name}


def refused() -> Iterator[Any]:
    """Requests that no producer may see, and what must stand in the message."""
    missing: dict[type, str] = {
        OpenAIChat: "messages",
        OpenAIResponses: "input",
        AnthropicMessages: "messages",
        UIMessages: "messages",
        AGUI: "threadId",
        TextStream: "messages",
    }
    own: dict[type, dict[str, Any]] = {
        OpenAIChat: {"n": 2, "messages": [], "stream_options": 1},
        OpenAIResponses: {"background": True, "previous_response_id": "resp_1", "input": []},
        AnthropicMessages: {"messages": [], "max_tokens": "many", "tool_choice": "auto"},
        UIMessages: {"messages": [], "id": 1},
        TextStream: {"messages": [], "id": 1},
        AGUI: {"messages": {}, "tools": [{}]},
    }
    for format in DEFAULT_FORMATS:
        kind = type(format)
        if "GET" in format.methods:
            for query in ("", "prompt=", "model=m"):
                yield pytest.param(format, query, "prompt", id=f"{format.route}?{query}")
            continue
        for body in (b"", b"{", b"\xff", b"[]"):
            yield pytest.param(format, body, "JSON", id=f"{format.route} {body!r}")
        name = missing[kind]
        yield pytest.param(format, without(format, name), name, id=f"{format.route} no {name}")
        for name, value in own[kind].items():
            asked = ASK[kind] | {name: value}
            yield pytest.param(format, asked, name, id=f"{format.route} {name}={value!r}")


@pytest.mark.parametrize(("format", "asked", "names"), [*refused()])
@pytest.mark.anyio
async def test_a_bad_request_is_a_400_in_the_protocols_shape_that_says_what_is_wrong(
    format: RequestFormat, asked: Any, names: str
) -> None:
    response = await Client(ChatApp(unasked)).request(**asking(format, asked))
    assert response.status == 400
    assert response.headers["content-type"] == "application/json"
    assert names in message_of(format, response.json())


async def limited(request: ChatRequest) -> AsyncIterator[Chunk]:
    raise RateLimited("Too many.", retry_after=7)
    yield Text("")


async def erring(request: ChatRequest) -> AsyncIterator[Chunk]:
    yield Error("Too many.", status=429)


@pytest.mark.parametrize("producer", [limited, erring])
@every_format
@pytest.mark.anyio
async def test_an_error_before_the_first_chunk_has_its_status_and_the_protocols_shape(
    format: RequestFormat, producer: Any
) -> None:
    response = await Client(ChatApp(producer)).request(**asking(format))
    assert response.status == 429
    assert response.headers.get("retry-after") == ("7" if producer is limited else None)
    assert message_of(format, response.json()) == "Too many."


@every_event_stream
@pytest.mark.anyio
async def test_silence_is_filled_with_heartbeats_that_no_client_hears(
    format: RequestFormat,
) -> None:
    go_on = anyio.Event()

    async def silent(request: ChatRequest) -> AsyncIterator[Chunk]:
        yield Text("Hel")
        await go_on.wait()
        yield Text("lo")

    clock = ManualClock()
    options = StreamOptions(clock=clock, heartbeat_interval=10)
    async with Client(ChatApp(silent, options=options)).stream(**asking(format)) as response:
        await response.started()
        for beats in range(3):
            assert response.comments == beats
            await clock.advance(10)
        go_on.set()
        body = await response.read_to_end()
    assert body.count(b": ping\n") == response.comments == 3
    check_stream(body)
    assert hear(format, body.replace(b": ping\n", b"")).said == "Hello"


@pytest.mark.parametrize("openly", [True, False])
@every_event_stream
@pytest.mark.anyio
async def test_an_error_in_mid_stream_ends_it_visibly_and_shows_only_what_is_safe(
    format: RequestFormat, openly: bool
) -> None:
    async def breaking(request: ChatRequest) -> AsyncIterator[Chunk]:
        yield Text("Hel")
        yield ToolCallDelta(0, "a", "f", "{}")
        if openly:
            raise LLMStreamError("The cat sat on the GPU.", code="cat")
        raise RuntimeError("secret")

    response = await Client(ChatApp(breaking)).request(**asking(format))
    assert response.status == 200
    heard = hear(format, response.body)
    assert (heard.said, heard.calls) == ("Hel", [("a", "f", "{}")])
    assert heard.broken in (None, {"a"})
    assert heard.error
    assert (heard.error == "The cat sat on the GPU.") == openly
    assert b"secret" not in response.body
