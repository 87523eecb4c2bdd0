"""The official openai client, sync and async, over a real uvicorn socket."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.from_thread
import httpx
import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Finish,
    LLMStreamError,
    RateLimited,
    Reasoning,
    Refusal,
    StreamOptions,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from tests.support.scripted import Silence, serving
from tests.support.servers import serve

ASK: Any = [{"role": "user", "content": "hi"}]


async def everything(request: ChatRequest) -> AsyncIterator[Any]:
    yield Reasoning("Let me ")
    yield Reasoning("think.")
    yield "Hel"
    yield "lo \u2028 wörld 🎉"
    # Unasked: the client's helper wants no tools but strict ones.
    yield ToolCallDelta(0, "call_a", "add", '{"x":', by="client")
    yield ToolCallDelta(1, "call_b", "sub", by="client")
    yield ToolCallDelta(0, arguments="1}")
    yield ToolCallDelta(1, arguments='{"y":2}')
    yield ToolCall("call_c", "mul", {"z": 3}, by="client")
    yield Finish("tool_calls")
    yield Usage(input_tokens=5, output_tokens=7, cached_tokens=2, reasoning_tokens=3)


async def scripted(request: ChatRequest) -> AsyncIterator[Any]:
    """Does what the prompt says."""
    match request.prompt:
        case "everything":
            async for chunk in everything(request):
                yield chunk
        case "refuse":
            yield Refusal("I would ")
            yield Refusal("rather not.")
        case "break":
            yield "Hel"
            raise RuntimeError("secret: the database password is hunter2")
        case "break openly":
            yield "Hel"
            raise LLMStreamError("The cat sat on the GPU.", code="cat")
        case "limit":
            raise RateLimited(retry_after=7)
        case "limit upstream":
            raise upstream_error(openai.RateLimitError, 429, {"retry-after": "7"})
        case "deny upstream":
            raise upstream_error(openai.AuthenticationError, 401, {})
        case "length":
            yield "Hel"
            yield Finish("length")


def upstream_error(kind: Any, status: int, headers: dict[str, str]) -> Exception:
    request = httpx2.Request("POST", "http://upstream.invalid/v1/chat/completions")
    response = httpx2.Response(status, headers=headers, request=request)
    error: Exception = kind("upstream said: key sk-secret is bad", response=response, body=None)
    return error


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(ChatApp(scripted, models=["m"])) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
        yield client


def streamed(client: OpenAI, prompt: str) -> ChatCompletion:
    """What the client's own accumulator makes of the stream."""
    with client.chat.completions.stream(
        model="m",
        messages=[{"role": "user", "content": prompt}],
        stream_options={"include_usage": True},
    ) as stream:
        return stream.get_final_completion()


def whole(client: OpenAI, prompt: str) -> ChatCompletion:
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])


def answer_of(completion: ChatCompletion) -> Any:
    """The answer without what differs by design: ids, times, the parser's own fields, and what
    only a whole answer says where there is none: no annotations, and zeros for the usage."""
    choice = completion.choices[0]
    message = choice.message.model_dump(exclude_none=True, exclude={"parsed", "annotations"})
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    usage = completion.usage
    counted = usage.model_dump() if usage is not None and usage.total_tokens else None
    return message, choice.finish_reason, counted


@pytest.mark.parametrize("prompt", ["everything", "refuse"])
def test_the_stream_accumulates_to_the_same_as_the_whole_answer(
    client: OpenAI, prompt: str
) -> None:
    assert answer_of(streamed(client, prompt)) == answer_of(whole(client, prompt))


def test_text_reasoning_tool_calls_and_usage_arrive(client: OpenAI) -> None:
    completion = streamed(client, "everything")
    message = completion.choices[0].message
    assert message.content == "Hello \u2028 wörld 🎉"
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Let me think."
    assert message.tool_calls is not None
    assert [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("call_a", "add", '{"x":1}'),
        ("call_b", "sub", '{"y":2}'),
        ("call_c", "mul", '{"z":3}'),
    ]
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 3


def test_an_answer_cut_by_its_length_says_so(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        streamed(client, "length")
    assert whole(client, "length").choices[0].finish_reason == "length"


# The client leaves generators of its own to trio's finalizer, after [DONE].
@pytest.mark.filterwarnings("ignore:Async generator 'openai:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_async_client_reads_the_same_tokens(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "everything"}], stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello \u2028 wörld 🎉"
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1


@pytest.mark.parametrize(
    ("prompt", "said"), [("break", "could not finish"), ("break openly", "The cat sat")]
)
def test_an_error_in_mid_stream_raises_and_shows_only_what_is_safe(
    client: OpenAI, prompt: str, said: str
) -> None:
    texts = []
    with pytest.raises(openai.APIError, match=said) as caught:
        for chunk in client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], stream=True
        ):
            texts.append(chunk.choices[0].delta.content)
    assert "".join(filter(None, texts)) == "Hel"
    assert "hunter2" not in str(caught.value.body)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("prompt", ["limit", "limit upstream"])
def test_a_rate_limit_before_the_first_chunk_is_a_429_with_retry_after(
    client: OpenAI, prompt: str, stream: bool
) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], stream=stream
        )
    assert caught.value.response.headers["retry-after"] == "7"
    assert "sk-secret" not in caught.value.response.text


def test_our_own_trouble_with_the_provider_is_a_502_without_its_text(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "deny upstream"}], stream=True
        )
    assert caught.value.status_code == 502
    assert "sk-secret" not in caught.value.response.text


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["m"]
    assert client.models.retrieve("m").id == "m"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("n")


def test_twenty_silent_heartbeat_intervals_lose_nothing_and_add_no_event() -> None:
    with serve(Silence(enough=20)) as url:
        with OpenAI(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
            stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
            deltas = [chunk.choices[0].delta for chunk in stream]
    assert [delta.content for delta in deltas] == ["", "Hel", "lo", "!", None]


def test_httpx_sse_sees_no_event_that_is_not_one() -> None:
    from httpx_sse import connect_sse

    with serve(Silence(enough=20)) as url, httpx.Client(timeout=10) as client:
        with connect_sse(client, "GET", f"{url}/events?prompt=hi") as source:
            events = list(source.iter_sse())
    assert all(event.data and event.event and event.id for event in events)
    deltas = [e.json()["text"] for e in events if e.event == "part-delta"]
    assert deltas == ["Hel", "lo", "!"]
    assert [e.event for e in events].count("run-finished") == 1


def test_a_producer_slower_than_commit_after_still_gets_headers_on_time() -> None:
    release = threading.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        await anyio.to_thread.run_sync(release.wait)
        yield "late"

    app = ChatApp(answer, options=StreamOptions(commit_after=0.05, heartbeat_interval=0.05))
    with serve(app) as url, httpx.Client(timeout=10) as client:
        body = {"messages": ASK, "stream": True}
        with client.stream("POST", f"{url}/chat/completions", json=body) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            assert ": ping" in lines  # reads on until one comes
            release.set()
            rest = list(lines)
    assert any('"late"' in line for line in rest)
    assert rest[-2] == "data: [DONE]"


@pytest.mark.parametrize(
    ("approve", "output", "error", "said"),
    [(True, '{"gone":"/tmp/x"}', None, "Done."), (False, None, "No.", "I did not.")],
)
def test_responses_ask_for_an_approval_and_take_the_answer(
    approve: bool, output: str | None, error: str | None, said: str
) -> None:
    asked: list[Any] = [{"role": "user", "content": "approve"}]
    with serving() as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0)
        with client.responses.stream(model="m", input=asked) as stream:
            first = stream.get_final_response()
        assert first.output_text == "May I? "
        [request] = [item for item in first.output if item.type == "mcp_approval_request"]
        assert (request.name, request.arguments) == ("delete", '{"path":"/tmp/x"}')
        answer = {
            "type": "mcp_approval_response",
            "approval_request_id": request.id,
            "approve": approve,
            "reason": None if approve else "No.",
        }
        history = [*asked, *(item.to_dict() for item in first.output), answer]
        second = client.responses.create(model="m", input=history)
    call = second.output[0]
    assert (call.type, second.output_text) == ("mcp_call", said)
    assert (call.approval_request_id, call.output) == (request.id, output)
    assert (call.error and call.error.content[0]["text"]) == error
