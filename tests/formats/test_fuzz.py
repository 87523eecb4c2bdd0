"""Whatever is asked or yielded: an answer, never a traceback, a hang or a torn stream."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_llmstream import (
    ChatApp,
    ChatRequest,
    Data,
    Error,
    File,
    Finish,
    LLMStream,
    Reasoning,
    Refusal,
    ServerSentEvent,
    Source,
    Step,
    StreamOptions,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.formats import DEFAULT_FORMATS, RequestFormat
from asgi_llmstream.formats.base import is_plain
from asgi_llmstream.testing import check_stream
from tests.support import ag_ui_grammar, anthropic_grammar, responses_grammar, ui_grammar
from tests.support.fuzzing import ask, check_answer, fuzzed
from tests.support.requests import EVERY_REQUEST, mutated
from tests.support.strategies import JSON
from tests.support.wire import EVENT_STREAMS

every_format = pytest.mark.parametrize("format", DEFAULT_FORMATS, ids=lambda it: type(it).__name__)
every_event_stream = pytest.mark.parametrize(
    "format", EVENT_STREAMS, ids=lambda it: type(it).__name__
)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Thousands of producers fail here, and each would be logged with its traceback."""
    logger = logging.getLogger("asgi_llmstream")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


# Requests.


async def echo(request: ChatRequest) -> AsyncIterator[str]:
    """Looks at everything that a producer might."""
    yield f"{len(request.to_openai())} {len(request.to_anthropic())} "
    yield request.prompt


APP = ChatApp(echo, models=("m", "org/m"), options=StreamOptions(max_body_size=4096))

USERS = st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=9)})
JSON_TYPE = {"content-type": "application/json"}
MESSAGES = st.lists(
    USERS
    | st.dictionaries(st.sampled_from(["role", "content", "parts", "id", "tool_calls"]), JSON),
    min_size=1,
    max_size=3,
)
# Near enough to requests of any protocol that some are.
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "messages": MESSAGES | JSON,
        "input": st.text() | MESSAGES | JSON,
        "model": st.text(max_size=5) | JSON,
        "stream": st.booleans() | JSON,
        "max_tokens": st.integers() | JSON,
        "system": JSON,
        "tools": JSON,
        "tool_choice": JSON,
        "stream_options": JSON,
        "threadId": st.text(max_size=3) | JSON,
        "runId": st.text(max_size=3) | JSON,
        "id": JSON,
        "trigger": JSON,
        "previous_response_id": JSON,
        "state": JSON,
        "context": JSON,
        "forwardedProps": JSON,
    },
)
BODIES = st.none() | st.binary(max_size=60) | NEARLY.map(json.dumps).map(str.encode)
ROUTES = [format.route for format in DEFAULT_FORMATS]
# As a server hands them on: one line, whatever was in it.
LINE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from(["accept", "content-length", "content-type", "last-event-id", "x-a"]),
    st.sampled_from(["application/json", "text/plain; charset=x", "-1", "9" * 5000, "²"]) | LINE,
    max_size=3,
)
QUERIES = (
    st.text(max_size=20).map(quote)
    | st.binary(max_size=20).map(quote)
    | st.sampled_from(
        [
            "prompt=hi",
            "prompt=",
            "prompt=a&prompt=b",
            "prompt=%ff%00&model=%0d%0a",
            "prompt",
            "=&;%",
        ]
    )
)


@fuzzed(500)
@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE"]) | st.text(max_size=5),
    st.sampled_from([*ROUTES, "/models", "/models/m", "/models/org/m"])
    | st.text(st.characters(exclude_characters="?", codec="utf-8"), max_size=9).map("/".__add__),
    QUERIES,
    HEADERS,
    BODIES,
)
@example("POST", "/ui", "", {}, b"[" * 4000)
@example("POST", "/messages", "", {}, b'{"a":' * 800)
@example("POST", "/responses", "", {"content-length": "9" * 5000}, b"{}")
@example("GET", "/models/%0d%0aset-cookie: a=b", "", {}, None)
def test_no_request_gets_a_500_a_hang_or_a_traceback(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes | None
) -> None:
    check_answer(ask(APP, method, f"{quote(path)}?{query}", headers=headers, body=body))


@every_format
@fuzzed(120)
@given(NEARLY)
def test_no_body_gets_a_500_a_hang_or_a_traceback(format: RequestFormat, body: Any) -> None:
    path = f"{format.route}?prompt=hi"
    check_answer(ask(APP, format.methods[-1], path, json=body))


@every_format
@fuzzed(60)
@given(st.randoms(use_true_random=False))
def test_no_mutated_request_gets_a_500_a_hang_or_a_traceback(
    format: RequestFormat, dice: Any
) -> None:
    body = mutated(EVERY_REQUEST[format.route], dice)
    if "GET" in format.methods:
        check_answer(ask(APP, "GET", f"{format.route}?{quote(body, safe='=&%+')}"))
    else:
        check_answer(ask(APP, "POST", format.route, body=body, headers=JSON_TYPE))


# Chunks.


class Anything:
    """An object that has every attribute."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class Nasty:
    """An object whose every attribute raises."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise ValueError("secret")


TEXTS = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["", "\r\n\r\ndata: x\n\n", "\u2028\u2029\x85", "\ud83d", "\ufeff", "\0", "[DONE]", "event: a"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.binary(max_size=8)
    | TEXTS
    | st.datetimes()
    | st.decimals()
    | st.uuids()
    | st.builds(object)
    | st.builds(Anything)
    | st.builds(Nasty)
    | st.just(Text)
    | st.just(ValueError("secret")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(TEXTS | st.integers(), inner, max_size=3)
        | st.sets(st.integers(), max_size=2)
    ),
    max_leaves=6,
)
KEYS = [
    *("type", "choices", "delta", "error", "event", "data", "id", "index", "content", "usage"),
    *("message", "content_block", "response", "item", "retry", "name", "output_index"),
]
TYPES = [
    *("content_block_delta", "message_start", "response.output_text.delta", "error"),
    "on_chat_model_stream",
]
INNER_KEYS = st.sampled_from(["delta", "index", "finish_reason", "text", "type"])
# Near enough to what providers send to be read as that.
SHAPED = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from(TYPES)
    | st.lists(st.dictionaries(INNER_KEYS, VALUES, max_size=3), max_size=2)
    | st.dictionaries(INNER_KEYS, VALUES, max_size=3)
    | VALUES,
    min_size=1,
    max_size=5,
)
OURS = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(Reasoning, TEXTS, st.none() | TEXTS),
    st.builds(Refusal, TEXTS),
    st.builds(ToolCall, TEXTS, TEXTS, TEXTS),
    st.builds(ToolCallDelta, st.integers(0, 2), st.none() | TEXTS, st.none() | TEXTS, TEXTS),
    st.builds(ToolResult, TEXTS, VALUES, st.booleans()),
    st.builds(Source, TEXTS, st.none() | TEXTS),
    st.builds(File, TEXTS, TEXTS),
    st.builds(Data, TEXTS, VALUES),
    st.builds(Step, st.none() | TEXTS),
    st.builds(Usage, st.integers(0), st.integers(0)),
    st.builds(Finish, st.sampled_from(["stop", "length", "other", None]), st.none() | TEXTS),
    st.builds(Error, TEXTS, TEXTS, st.integers(400, 599)),
    st.builds(ServerSentEvent, TEXTS),
)
# The types say no to these; Python does not.
WRONG = st.one_of(
    st.builds(Text, VALUES),
    st.builds(Reasoning, VALUES, VALUES),
    st.builds(ToolCall, VALUES, VALUES, VALUES),
    st.builds(ToolCallDelta, VALUES, VALUES, VALUES, VALUES),
    st.builds(ToolResult, VALUES, VALUES, VALUES),
    st.builds(Source, VALUES, VALUES),
    st.builds(File, VALUES, VALUES),
    st.builds(Data, VALUES, VALUES),
    st.builds(Usage, VALUES, VALUES),
    st.builds(Finish, VALUES, VALUES),
    st.builds(Error, VALUES, VALUES, VALUES),
)

GRAMMARS: dict[str, Any] = {
    "/chat/completions": lambda body: check_stream(body, "openai"),
    "/responses": responses_grammar.check,
    "/messages": anthropic_grammar.check,
    "/ui": ui_grammar.read,
    "/ag-ui": ag_ui_grammar.read,
    "/events": lambda body: check_stream(body, "events"),
}


def asking(format: RequestFormat) -> dict[str, Any]:
    """The arguments of the shortest request of this protocol that wants a stream."""
    if "GET" in format.methods:
        return {"method": "GET", "path": f"{format.route}?prompt=hi"}
    user = {"id": "m", "role": "user", "content": "hi", "parts": [{"type": "text", "text": "hi"}]}
    question: dict[str, Any] = {"model": "m", "messages": [user], "stream": True}
    match format.route:
        case "/responses":
            question = {"model": "m", "input": "hi", "stream": True}
        case "/messages":
            question |= {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        case "/ag-ui":
            question |= {"threadId": "t", "runId": "r", "tools": [], "context": [], "state": {}}
            question |= {"forwardedProps": {}}
    return {"method": "POST", "path": format.route, "json": question}


def yielding(chunks: list[Any]) -> ChatApp:
    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    return ChatApp(answer)


@every_event_stream
@fuzzed(150)
@given(st.lists(OURS | TEXTS, max_size=5))
def test_chunks_with_any_text_in_them_give_a_valid_stream(
    format: RequestFormat, chunks: list[Any]
) -> None:
    check_chunks(format, chunks)


@every_event_stream
@fuzzed(150)
@given(st.lists(st.just("Hel"), max_size=1), st.lists(OURS | VALUES | SHAPED, max_size=4))
def test_whatever_is_yielded_gives_a_valid_stream(
    format: RequestFormat, first: list[str], chunks: list[Any]
) -> None:
    check_chunks(format, [*first, *chunks])


@every_event_stream
@fuzzed(100)
@given(st.lists(st.just("Hel"), max_size=1), WRONG)
@example([], Usage([], {}))  # type: ignore[arg-type]
@example([], Source(0j))  # type: ignore[arg-type]
@example([], Finish([], []))  # type: ignore[arg-type]
@example([], File(None, None))  # type: ignore[arg-type]
@example([], Data([], {}))  # type: ignore[arg-type]
@example([], Error([0j], None, None))  # type: ignore[arg-type]
@example(["Hel"], Error(None, [], None))  # type: ignore[arg-type]
@example([], Error(None, object(), None))  # type: ignore[arg-type]
def test_a_chunk_whose_fields_have_the_wrong_types_gives_a_valid_stream(
    format: RequestFormat, first: list[str], chunk: Any
) -> None:
    check_chunks(format, [*first, chunk])


def check_chunks(format: RequestFormat, chunks: list[Any]) -> None:
    response = ask(yielding(chunks), **asking(format))
    assert response.complete
    assert b"Traceback" not in response.body
    if response.status == 200:
        check_stream(response.body)
        raw = any(isinstance(chunk, ServerSentEvent) for chunk in chunks)
        if not raw and not any(isinstance(chunk, dict) for chunk in chunks):
            GRAMMARS[format.route](response.body)
    else:  # the first of them was none, and that is known in time
        assert 400 <= response.status <= 599
        json.loads(response.body)


# Headers and logs.


@fuzzed(200)
@given(st.text(max_size=5), st.text(max_size=5))
@example("x-a", "b\r\nset-cookie: c=d")
@example("x-a\r\nset-cookie", "b")
@example("x-a", "b\0")
@example("x-a", "\u2028")
@example("", "b")
def test_a_header_either_is_sent_as_one_header_or_is_a_value_error(name: str, value: str) -> None:
    try:
        stream = LLMStream(["Hel"], headers={name: value})
    except ValueError:
        return
    assert (name.lower().encode("ascii"), value.encode("latin-1")) in stream.headers
    assert name.strip()
    assert not any(c in name + value for c in "\r\n\0")


@pytest.mark.parametrize("breaks", [False, True])
def test_neither_the_request_nor_its_headers_are_ever_logged(
    breaks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hel"
        if breaks:
            raise RuntimeError("broken")

    caplog.set_level(logging.DEBUG)
    logging.getLogger("asgi_llmstream").setLevel(logging.DEBUG)
    try:
        for format in DEFAULT_FORMATS:
            asked = json.loads(json.dumps(asking(format)).replace('"hi"', '"hunter2"'))
            asked["path"] = asked["path"].replace("=hi", "=hunter2")
            headers = {"authorization": "Bearer hunter2", "cookie": "session=hunter2"}
            if is_plain(format) and breaks:
                with pytest.raises(ConnectionAbortedError):
                    ask(ChatApp(answer), **asked, headers=headers)
            else:
                assert ask(ChatApp(answer), **asked, headers=headers).status == 200
    finally:
        logging.getLogger("asgi_llmstream").setLevel(logging.CRITICAL)
    assert ("broken" in caplog.text) == breaks
    assert "hunter2" not in caplog.text
