"""A provider's answer that was cut off never looks finished, wherever it was cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Error,
    Finish,
    LLMStream,
    Step,
    StreamResult,
    ToolResult,
    UpstreamError,
    accumulate,
    collect,
)
from asgi_llmstream.errors import LLMStreamError, UpstreamTruncated
from asgi_llmstream.events import Event, NativeAdded, PartEnded, RunFailed, RunFinished
from asgi_llmstream.formats import DEFAULT_FORMATS, OpenAIChat, RequestFormat
from asgi_llmstream.formats.base import is_plain
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.message import Message
from asgi_llmstream.sources import chunks_of
from asgi_llmstream.testing import Client
from tests.formats.test_every_format import ASK, asking, hear
from tests.sources import test_sources_anthropic as anthropic
from tests.sources import test_sources_google as google
from tests.sources import test_sources_langchain as langchain
from tests.sources import test_sources_openai as openai
from tests.sources import test_sources_pydantic_ai as pydantic_ai
from tests.support.providers import module, recorded, sse
from tests.support.wire import EVENT_STREAMS

Items = list[Any]


def events_from(items: Iterable[object]) -> list[Event]:
    """The run of a producer that yields these and returns."""
    lifecycle = Lifecycle(id="run", created=1700000000, model="m")
    events = lifecycle.start()
    for item in items:
        for chunk in chunks_of(item):
            events += lifecycle.feed(chunk)
    try:
        return [*events, *lifecycle.finish()]
    except LLMStreamError as error:
        return [*events, *lifecycle.fail(error)]


def looks_finished(items: Iterable[object]) -> bool:
    """Whether the run does, and a client of every format agrees."""
    # The readers of the formats' grammars know no events that nobody knows yet.
    events = [event for event in events_from(items) if not isinstance(event, NativeAdded)]
    finished = isinstance(events[-1], RunFinished)
    for format in EVENT_STREAMS:
        heard = hear(format, b"".join(map(format.encoder(), events)))
        assert (heard.error is None) == finished, format
    return finished


# Where each source's stream is whole.


def finish_reason(item: Any) -> bool:
    if not isinstance(item, dict):
        item = item.model_dump()
    item = item.get("chunk") or item  # the helper stream's
    return any(choice["finish_reason"] for choice in item.get("choices") or ())


def kind_is(*kinds: str) -> Callable[[Any], bool]:
    return lambda item: (item["type"] if isinstance(item, dict) else item.type) in kinds


def is_last_of_langchain(item: Any) -> bool:
    return bool(item.response_metadata)


class Whole(NamedTuple):
    """A provider's whole stream.

    Attributes:
        ends: whether an item is the one that ends it.
    """

    items: Items
    ends: Callable[[Any], bool]


def ready(items: Items, ends: Callable[[Any], bool]) -> Callable[[], Whole]:
    return lambda: Whole(items, ends)


def of_body(shape: Any, body: bytes, ends: Callable[[Any], bool]) -> Callable[[], Whole]:
    """What a client of the SDK makes of a body."""
    return lambda: Whole(shape(body), ends)


def streams() -> Iterator[Any]:
    """Every recording and every scripted stream, in every shape that its SDK has."""
    response_ends = kind_is("response.completed", "response.incomplete")
    message_stop = kind_is("message_stop")
    kinds: list[tuple[str, dict[str, Any], tuple[Any, ...], Callable[[Any], bool]]] = [
        (
            "openai chat",
            openai.CHATS,
            (openai.as_dicts, openai.as_chunks, openai.as_chat_events),
            finish_reason,
        ),
        (
            "openai responses",
            openai.RESPONSES,
            (openai.as_dicts, openai.as_events, openai.as_helper_events),
            response_ends,
        ),
        (
            "anthropic",
            anthropic.STREAMS,
            (anthropic.as_dicts, anthropic.as_raw_events, anthropic.as_helper_events),
            message_stop,
        ),
    ]
    for source, scripts, shapes, ends in kinds:
        for name, script in scripts.items():
            for shape in shapes:
                make = of_body(shape, sse(script), ends)
                yield pytest.param(make, id=f"{source}, {name}, {shape.__name__}")
    recordings: list[tuple[str, tuple[Any, ...], Callable[[Any], bool]]] = [
        ("openai_chat_text.jsonl", (openai.as_dicts, openai.as_chunks), finish_reason),
        ("openai_chat_length.jsonl", (openai.as_dicts, openai.as_chunks), finish_reason),
        ("openai_chat_logprobs_n.jsonl", (openai.as_dicts, openai.as_chunks), finish_reason),
        ("openai_responses_text.jsonl", (openai.as_dicts, openai.as_events), response_ends),
        (
            "anthropic_messages_text.jsonl",
            (anthropic.as_dicts, anthropic.as_raw_events, anthropic.as_helper_events),
            message_stop,
        ),
    ]
    for name, shapes, ends in recordings:
        for shape in shapes:
            make = of_body(shape, recorded(name), ends)
            yield pytest.param(make, id=f"{name}, {shape.__name__}")
    for name in langchain.STREAMS:
        yield pytest.param(
            lambda name=name: Whole(
                langchain.chunks(langchain.STREAMS[name]), is_last_of_langchain
            ),
            id=f"langchain, {name}",
        )
    for name in ("text", "reasoning", "parallel tool calls", "too long", "filtered"):
        yield pytest.param(
            lambda name=name: Whole(
                google.streams()[name], lambda item: item.candidates[0].finish_reason
            ),
            id=f"google, {name}",
        )
    yield pytest.param(
        lambda: Whole(
            pydantic_ai.events(pydantic_ai.weather_agent()),
            lambda item: item.event_kind == "agent_run_result",
        ),
        id="pydantic ai",
    )
    yield pytest.param(
        lambda: Whole(
            of_graph(langchain.as_events),
            lambda item: item.get("parent_ids") == [] and item["event"] == "on_chain_end",
        ),
        id="astream_events of a graph",
    )
    yield pytest.param(ready(LLAMA_CPP, finish_reason), id="llama-cpp")
    yield pytest.param(ready(LITELLM, finish_reason), id="litellm")
    yield pytest.param(ready(AZURE, finish_reason), id="azure")


def of_graph(source: Any) -> Items:
    async def run() -> Items:
        return [item async for item in source()]

    return asyncio.run(run())


def chat(id: str, *choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": id, "object": "chat.completion.chunk", "choices": [*choices], **fields}


def says(text: str | None = None, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"index": index, "delta": delta, "finish_reason": reason}


LLAMA_CPP = [
    chat("c", {"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}),
    chat("c", says("Hi")),
    chat("c", says(reason="stop")),
]
# Its usage comes in a chunk whose delta is empty.
LITELLM = [chat("c", says("Hi")), chat("c", says(reason="stop")), chat("c", says(), usage={})]
# Its first chunk is about the prompt; what a filter found may follow the end.
AZURE = [
    chat("", prompt_filter_results=[{"prompt_index": 0}], object=""),
    chat("c", says("Hi")),
    chat("", {"index": 0, "finish_reason": None, "content_filter_offsets": {}}),
    chat("c", says(reason="stop")),
    chat("", {"index": 0, "finish_reason": None, "content_filter_offsets": {}}),
]


@pytest.mark.parametrize("stream", [*streams()])
def test_a_stream_looks_finished_in_no_format_before_its_provider_said_the_end(
    stream: Callable[[], Whole],
) -> None:
    items, ends = stream()
    last = next(number for number, item in enumerate(items) if ends(item))
    for cut in range(1, len(items) + 1):
        assert looks_finished(items[:cut]) == (cut > last), f"after {cut} of {len(items)}"


def test_a_graphs_messages_look_finished_only_between_its_models_answers() -> None:
    items = of_graph(langchain.as_pairs)
    under_way = False
    for cut, (message, _) in enumerate(items, 1):
        if message.type == "AIMessageChunk":
            under_way = not message.response_metadata.get("finish_reason") and (
                under_way or bool(message.content or message.tool_call_chunks)
            )
        if not under_way:
            continue
        assert not looks_finished(items[:cut]), cut
    assert looks_finished(items)


# The client's own reading of a body that was cut.


@contextmanager
def upstream(body: bytes, broken: bool) -> Iterator[Any]:
    """An HTTP client whose server says this and then no more, cleanly or not."""
    httpx2 = module("httpx2")

    async def pieces() -> AsyncIterator[bytes]:
        yield body
        if broken:
            raise httpx2.ReadError("the connection was reset")

    def answer(request: Any) -> Any:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=pieces())

    yield httpx2.AsyncClient(transport=httpx2.MockTransport(answer))


def openai_sdk(http: Any) -> Any:
    return module("openai").AsyncOpenAI(
        api_key="k", base_url="http://upstream", http_client=http, max_retries=0
    )


def by_openai(http: Any) -> Any:
    return openai_sdk(http).chat.completions.create(model="m", messages=[], stream=True)


def by_openais_helper(http: Any) -> Any:
    return openai_sdk(http).chat.completions.stream(model="m", messages=[])


def by_responses(http: Any) -> Any:
    return openai_sdk(http).responses.create(model="m", input="x", stream=True)


def anthropic_sdk(http: Any) -> Any:
    return module("anthropic").AsyncAnthropic(
        api_key="k", base_url="http://upstream", http_client=http, max_retries=0
    )


def by_anthropic(http: Any) -> Any:
    return anthropic_sdk(http).messages.create(stream=True, **anthropic.ASK)


def by_anthropics_helper(http: Any) -> Any:
    return anthropic_sdk(http).messages.stream(**anthropic.ASK)


def by_langchain(http: Any) -> Any:
    return chat_openai(http).astream("hi")


def by_langchains_events(http: Any) -> Any:
    return chat_openai(http).astream_events("hi", version="v2")


def chat_openai(http: Any) -> Any:
    return module("langchain_openai").ChatOpenAI(
        model="m", base_url="http://upstream", api_key="-", http_async_client=http, max_retries=0
    )


def by_pydantic_ai(http: Any) -> Any:
    provider = module("pydantic_ai.providers.openai").OpenAIProvider(openai_client=openai_sdk(http))
    model = module("pydantic_ai.models.openai").OpenAIChatModel("m", provider=provider)
    return module("pydantic_ai").Agent(model).run_stream_events("hi")


TEXT, CALLS = "text", "parallel tool calls"
ASKED = [
    *(
        (ask, openai.CHATS[name])
        for ask in (by_openai, by_openais_helper)
        for name in (TEXT, CALLS)
    ),
    *((by_responses, openai.RESPONSES[name]) for name in (TEXT, CALLS)),
    *(
        (ask, anthropic.STREAMS[name])
        for ask in (by_anthropic, by_anthropics_helper)
        for name in (TEXT, CALLS)
    ),
    *(
        (ask, openai.CHATS[name])
        for ask in (by_langchain, by_langchains_events)
        for name in (TEXT, CALLS)
    ),
    (by_pydantic_ai, openai.CHATS[TEXT]),  # it would run the tools of the other
]


@pytest.mark.parametrize("broken", [False, True], ids=["clean end", "broken end"])
@pytest.mark.parametrize(("ask", "script"), ASKED)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # which LangChain and Pydantic AI need
@pytest.mark.anyio
async def test_whoever_reads_a_body_that_was_cut_the_answer_is_not_whole(
    ask: Callable[[Any], Any], script: Items, broken: bool
) -> None:
    usage_follows = script[-1].get("choices") == []
    for cut in range(1, len(script) - usage_follows):
        with upstream(sse(script[:cut]), broken) as http:
            with pytest.raises(Exception):  # noqa: B017, PT011 (the SDKs' own, or ours)
                await collect(ask(http))
    with upstream(sse(script), False) as http:
        assert (await collect(ask(http))).finish_reason


# Every route, streaming and whole.


SHORT: dict[str, Items] = {
    "openai chat": openai.CHATS["parallel tool calls"],
    "anthropic": anthropic.STREAMS["parallel tool calls"],
    "openai responses": openai.RESPONSES["text and then calls"],
}
EVERY_FORMAT = pytest.mark.parametrize(
    "format", DEFAULT_FORMATS, ids=lambda format: type(format).__name__
)


def is_whole(arguments: str) -> bool:
    try:
        json.loads(arguments or "{}")
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("broken", [False, True], ids=["clean end", "broken end"])
@pytest.mark.parametrize("source", SHORT)
@EVERY_FORMAT
@pytest.mark.anyio
async def test_on_every_route_a_cut_is_a_502_or_an_error_event_and_its_outcome_an_error(
    format: RequestFormat, source: str, broken: bool
) -> None:
    items = SHORT[source]
    results: list[StreamResult] = []

    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        for item in given:
            yield item
        if broken:
            raise ConnectionError("reset")

    client = Client(ChatApp(answer, on_finish=results.append))
    for cut in range(1, len(items)):
        given = items[:cut]
        async with client.stream(**asking(format)) as streaming:
            await streaming.read_to_end()
        result = results.pop()
        assert result.outcome == "error"
        assert result.message.finish_reason is None
        if not broken:
            assert isinstance(result.error, UpstreamError)
            assert result.error.code == "upstream_truncated"
        if is_plain(format) and streaming.status == 200:
            assert streaming.aborted
        elif streaming.status == 200:
            assert streaming.complete
            heard = hear(format, streaming.body)
            assert heard.error
            half = {c.id for c in result.message.tool_calls if not is_whole(c.arguments)}
            if heard.broken is not None:
                assert half & {id for id, _, _ in heard.calls} <= heard.broken
        else:
            assert streaming.status == (500 if broken else 502)
        if "POST" in format.methods and "stream" in ASK[type(format)]:
            whole = await client.request(**asking(format, ASK[type(format)] | {"stream": False}))
            assert whole.status == (500 if broken else 502)
            assert results.pop().outcome == "error"


# What it means for a producer.


HALF_A_CALL = [
    chat("a", says("Looking.")),
    chat(
        "a",
        {
            "index": 0,
            "delta": {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_a",
                        "function": {"name": "pay", "arguments": '{"amount": 10'},
                    }
                ]
            },
        },
    ),
]


def test_half_a_tool_call_is_never_closed_as_a_whole_one() -> None:
    events = events_from(HALF_A_CALL)
    (ended,) = [e for e in events if isinstance(e, PartEnded) and e.part.kind == "tool_call"]
    assert not ended.whole
    failed = events[-1]
    assert isinstance(failed, RunFailed)
    assert (failed.code, failed.status) == ("upstream_truncated", 502)


@pytest.mark.anyio
async def test_the_message_so_far_is_kept_and_the_log_says_how_to_mean_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    results: list[StreamResult] = []
    stream = LLMStream(iter(HALF_A_CALL), format=OpenAIChat(), on_finish=results.append)
    response = await Client(stream).request("GET", "/")
    (result,) = results
    assert (result.outcome, result.message.text) == ("error", "Looking.")
    assert result.message.tool_calls[0].arguments == '{"amount": 10'
    (record,) = caplog.records
    assert "Finish(...)" in record.getMessage()
    assert b"Finish(" not in response.body
    assert UpstreamTruncated.default_message.encode() in response.body


def test_a_producer_that_leaves_a_stream_early_on_purpose_says_so() -> None:
    assert looks_finished([chat("a", says("Hi")), Finish("length")])
    assert not looks_finished([Finish("stop"), chat("a", says("Hi"))])
    assert not looks_finished([chat("a", says("Hi")), Finish(), chat("a", says("more"))])


def test_a_stream_of_which_the_producer_passes_on_only_texts_is_the_producers_own() -> None:
    assert looks_finished(["Hi"])
    assert looks_finished([])


def test_items_that_a_producer_keeps_to_itself_change_nothing_but_the_last() -> None:
    whole = openai.CHATS["text"]
    assert looks_finished(whole[1:])
    assert looks_finished([whole[1], whole[3]])
    assert not looks_finished(whole[:3])
    message = anthropic.STREAMS["text"]
    assert looks_finished([item for item in message if item["type"] != "message_start"])
    assert not looks_finished([item for item in message if item["type"] == "content_block_delta"])


@pytest.mark.parametrize(
    "whole",
    [
        {"choices": [{"index": 0, "message": {"content": "Hi"}}]},
        {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": None},
    ],
    ids=["openai", "anthropic"],
)
def test_a_whole_answer_needs_no_end(whole: dict[str, Any]) -> None:
    assert looks_finished([whole])
    assert not looks_finished([chat("a", says("Hi")), whole])


def test_a_whole_message_of_langchain_needs_no_end() -> None:
    assert looks_finished([module("langchain_core.messages").AIMessage("Hi")])


def test_other_choices_neither_begin_nor_end_the_answer() -> None:
    first, second = chat("a", says("A")), chat("a", says("B", index=1))
    end, other_end = chat("a", says(reason="stop")), chat("a", says(reason="stop", index=1))
    assert looks_finished([first, second, end])
    assert looks_finished([first, end, second, other_end])
    assert not looks_finished([second])
    assert not looks_finished([first, second, other_end])


def test_an_error_of_the_provider_is_its_own_end() -> None:
    events = events_from([chat("a", says("Hi")), {"error": {"code": 429}}][:1])
    assert isinstance(events[-1], RunFailed)
    lifecycle = Lifecycle(id="r", created=1, model="m")
    lifecycle.start()
    (*_, failed) = [e for c in (Error("x", "y", 429),) for e in lifecycle.feed(c)]
    assert isinstance(failed, RunFailed)
    assert failed.status == 429


def a_call(source: str, id: str) -> Items:
    """A model call of which each has a name of its own."""
    if source == "openai":
        return [chat(id, says("Hi")), chat(id, says(reason="stop"))]
    if source == "anthropic":
        start = {"type": "message_start", "message": {"id": id}}
        return [start, *anthropic.text(0, "Hi"), *anthropic.end("end_turn")]
    if source == "responses":
        response = {"id": id, "status": "completed"}
        return [
            {"type": "response.created", "response": response},
            {"type": "response.output_text.delta", "delta": "Hi"},
            {"type": "response.completed", "response": response},
        ]
    if source == "langgraph":
        meta = {"langgraph_checkpoint_ns": id}
        return [(said, meta) for said in langchain.chunks(langchain.STREAMS["text"])]
    items = google.streams()["text"]
    return [item.model_copy(update={"response_id": id}) for item in items]


SOURCES = pytest.mark.parametrize(
    "source", ["openai", "anthropic", "responses", "langgraph", "google"]
)


@SOURCES
def test_of_several_calls_one_after_another_each_must_end(source: str) -> None:
    first, second = a_call(source, "a"), a_call(source, "b")
    assert looks_finished([*first, *second])
    assert looks_finished([*first, ToolResult("x", "y"), Step(), *second])
    for cut in range(1, len(first)):
        assert not looks_finished([*first[:cut], *second]), cut
    for cut in range(1, len(second)):
        assert not looks_finished([*first, *second[:cut]]), cut


@SOURCES
def test_of_calls_beside_each_other_each_must_end(source: str) -> None:
    first, second = a_call(source, "a"), a_call(source, "b")
    both = [item for pair in zip(first, second, strict=True) for item in pair]
    assert looks_finished(both)
    for cut in range(1, len(first)):
        short = [item for pair in zip(first[:cut], second, strict=False) for item in pair]
        assert not looks_finished([*short, *second[cut:]]), cut
        assert not looks_finished([*second[:1], *first, *second[1:cut]]), cut


def test_calls_of_several_providers_are_told_apart() -> None:
    assert not looks_finished([*a_call("openai", "a")[:1], *a_call("anthropic", "b")])
    assert not looks_finished([*a_call("anthropic", "b")[:2], *a_call("openai", "a")])
    assert looks_finished([*a_call("openai", "a"), *a_call("anthropic", "b")])


def test_a_server_that_names_each_chunk_anew_still_ends() -> None:
    chunks = [chat(f"c{n}", says("Hi")) for n in range(5)]
    assert not looks_finished(chunks)
    assert looks_finished([*chunks, chat("c5", says(reason="stop")), chat("c6", usage={})])


def test_servers_that_give_no_names_are_told_apart_as_far_as_they_follow_each_other() -> None:
    call = [{"choices": [says("Hi")]}, {"choices": [says(reason="stop")]}]
    assert looks_finished([*call, *call])
    assert not looks_finished([*call, *call[:1]])


def langchain_chunks(*stream: dict[str, Any]) -> Items:
    return langchain.chunks([*stream])


def test_a_langchain_model_of_no_known_provider_ends_where_langchain_says_so() -> None:
    said, last = langchain_chunks({"content": "Hi"}, {"content": "", "chunk_position": "last"})
    assert looks_finished([said, last])
    assert not looks_finished([said])
    named = langchain_chunks({"content": "Hi", "response_metadata": {"model_provider": "openai"}})
    assert not looks_finished([*named, last])
    reason = langchain_chunks({"content": "", "response_metadata": {"finish_reason": "stop"}})
    assert looks_finished([*named, *reason, last])


def test_a_pydantic_ai_response_that_is_incomplete_is_not_whole() -> None:
    seen = pydantic_ai.events(pydantic_ai.agent(["Hi"]))
    assert looks_finished(seen)
    pydantic_ai.responses(seen[-1].result)[-1].state = "incomplete"
    assert not looks_finished(seen)


# An agent's loop.


@pytest.mark.anyio
async def test_an_agent_never_acts_on_a_call_that_was_cut_off() -> None:
    paid: list[str] = []
    turns: list[Message] = []

    async def agent() -> AsyncIterator[Any]:
        turn = accumulate(iter(HALF_A_CALL))
        turns.append(turn.message)
        async for chunk in turn:
            yield chunk
        paid.extend(call.arguments for call in turn.message.tool_calls)

    with pytest.raises(UpstreamTruncated):
        await collect(agent())
    assert paid == []
    assert turns[0].text == "Looking."


@pytest.mark.anyio
async def test_an_agent_may_catch_it_say_so_and_ask_again() -> None:
    async def agent() -> AsyncIterator[Any]:
        try:
            async for chunk in accumulate([chat("a", says("Hm"))]):
                yield chunk
        except UpstreamTruncated:
            if tells:
                yield Finish("other", "cut off")
        async for chunk in accumulate(a_call("openai", "b")):
            yield chunk

    tells = True
    assert (await collect(agent())).finish_reason == "stop"
    tells = False
    with pytest.raises(UpstreamTruncated):
        await collect(agent())


@pytest.mark.anyio
async def test_accumulating_what_has_no_end_of_its_own_needs_none() -> None:
    async def agent() -> AsyncIterator[Any]:
        async for chunk in accumulate(["Hel", "lo"]):
            yield chunk

    assert (await collect(agent())).text == "Hello"


def test_a_message_that_is_added_to_need_not_be_whole() -> None:
    message = Message()
    for item in HALF_A_CALL:
        message += item
    assert message.finish_reason is None
