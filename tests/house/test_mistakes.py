"""The mistakes of a first hour: when each is told, and in which words.

A mistake is told as early as it can be: when the app is built, else in the log, with the
producer, the request and the user's own line, else in the answer to the client at fault. Each
sentence says what is wrong, whose it is, and what to do.
"""

from __future__ import annotations

import importlib
import json
import linecache
import logging
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

import pytest

from asgi_llmstream import (
    ChatApp,
    Data,
    Finish,
    LLMStream,
    LLMStreamMiddleware,
    MemoryStore,
    Overloaded,
    RateLimited,
    ServerSentEvent,
    StreamOptions,
    Text,
    ToolResult,
    accumulate,
    collect,
    encode_stream,
    from_callbacks,
    store_lifespan,
    store_routes,
)
from asgi_llmstream.fastapi import LLMStreamResponse, chat_router
from asgi_llmstream.formats import Events, OpenAIChat, UIMessages
from asgi_llmstream.litestar import LLMStreamPlugin
from asgi_llmstream.litestar import LLMStreamResponse as LitestarResponse
from asgi_llmstream.testing import Client, Response

pytestmark = pytest.mark.anyio

HERE = sys._getframe().f_code.co_filename


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# What a user has


async def answer(request: Any) -> AsyncIterator[Any]:
    yield "Hello"


async def words() -> AsyncIterator[Any]:
    yield "Hello"


async def fetch(request: Any = None) -> str:
    return "Hello"


async def forgot_the_request() -> AsyncIterator[Any]:
    yield "Hello"


async def wants_a_user(request: Any, user: str) -> AsyncIterator[Any]:
    yield f"Hello {user}"


async def save(result: Any) -> None: ...


async def saves_nothing() -> None: ...


async def saves_too_much(outcome: Any, message: Any) -> None: ...


class Agent:
    async def answer(self, request: Any) -> AsyncIterator[Any]:
        yield "Hello"


class Caller:
    def __init__(self, model: str) -> None: ...

    def __call__(self, request: Any) -> str:
        return "Hello"


class SyncClient:
    """Of a provider's, say."""


class Plain:
    password = "hunter2"

    def __repr__(self) -> str:
        return f"<Plain password={self.password}>"


class HTMLResponse:
    status_code = 200
    headers: dict[str, str] = {}  # noqa: RUF012


class OneWay:
    """A format of one's own that has no requests."""

    headers = ()
    carries_raw = False
    error_body = offered = None

    def encoder(self) -> None: ...


class NeedsArguments:
    def __init__(self, colour: str) -> None: ...


def flask_app(environ: Any, start_response: Any) -> None: ...


def wrong(make: Callable[..., Any], *args: Any, **given: Any) -> Callable[[], Any]:
    """A call that no type checker would let pass."""
    return lambda: make(*args, **given)


# Told when the app is built


class Told(NamedTuple):
    mistake: str
    do: Callable[[], Any]
    kind: type[Exception]
    says: str


BUILT = [
    Told(
        "the answer was called",
        lambda: ChatApp(answer(None)),  # type: ignore[arg-type]
        TypeError,
        "answer is what answer() returned: give the function itself, answer, which is called when "
        "it is time",
    ),
    Told(
        "the answer was called, and is a coroutine",
        lambda: ChatApp(fetch(None)),  # type: ignore[arg-type]
        TypeError,
        "answer is what fetch() returned: give the function itself, fetch, which is called when "
        "it is time",
    ),
    Told(
        "the answer takes no request",
        wrong(ChatApp, forgot_the_request),
        TypeError,
        "answer is called with the ChatRequest, and forgot_the_request() does not take that: too "
        "many positional arguments. Write `async def answer(request): ...`, or bind what else it "
        "needs with functools.partial",
    ),
    Told(
        "the answer wants more than the request",
        wrong(ChatApp, wants_a_user),
        TypeError,
        "answer is called with the ChatRequest, and wants_a_user() does not take that: missing a "
        "required argument: 'user'. Write `async def answer(request): ...`, or bind what else it "
        "needs with functools.partial",
    ),
    Told(
        "the answer is a method of the class",
        wrong(ChatApp, Agent.answer),
        TypeError,
        "answer is called with the ChatRequest, and Agent.answer() does not take that: missing a "
        "required argument: 'request'. It is a method of a class: give an instance's, "
        "Agent(...).answer",
    ),
    Told(
        "the answer is a class",
        wrong(ChatApp, Agent),
        TypeError,
        "answer is called with the ChatRequest, and Agent() does not take that: too many "
        "positional arguments. It is a class: give a method of an instance, or write `async def "
        "answer(request): ...`",
    ),
    Told(
        "the answer is a class whose instances are called",
        wrong(ChatApp, Caller),
        TypeError,
        "answer is the class Caller, whose instances are nothing to stream: give one that is "
        "called, Caller(...), or a method of it",
    ),
    Told(
        "the answer is a provider's client",
        wrong(ChatApp, SyncClient()),
        TypeError,
        "answer must be a function, not a SyncClient: write `async def answer(request): ...`",
    ),
    Told(
        "the models are one text",
        wrong(ChatApp, answer, models="gpt"),
        TypeError,
        "models must be a list of names, not a text: models=['gpt']",
    ),
    Told(
        "the models are none",
        wrong(ChatApp, answer, models=[]),
        ValueError,
        'models must name at least one model, as models=["my-model"]',
    ),
    Told(
        "a format by a name that there is not",
        wrong(LLMStream, words, format="opena"),
        ValueError,
        "there is no format 'opena': did you mean 'openai'?",
    ),
    Told(
        "a format that is something else",
        wrong(LLMStream, words, format=json),
        TypeError,
        "format must be a format or the name of one, not a module: there are openai, responses, "
        "anthropic, ui, ag-ui, events, text",
    ),
    Told(
        "a format's class that cannot be made without arguments",
        wrong(LLMStream, words, format=NeedsArguments),
        TypeError,
        "format is the class NeedsArguments, which needs arguments: give one that you made, "
        "NeedsArguments(...) (NeedsArguments.__init__() missing 1 required positional argument: "
        "'colour')",
    ),
    Told(
        "one format where several are wanted",
        wrong(ChatApp, answer, formats=OpenAIChat()),
        TypeError,
        'formats must be a list, not an OpenAIChat: formats=["openai"]',
    ),
    Told(
        "a format without requests in an app",
        wrong(ChatApp, answer, formats=[OneWay()]),
        TypeError,
        "OneWay has no route and no requests: make it a RequestFormat, or give it to "
        "LLMStream(..., format=OneWay(...))",
    ),
    Told(
        "the same format twice",
        wrong(ChatApp, answer, formats=["ui", UIMessages]),
        ValueError,
        "two formats have the route '/ui': leave one out, or give a class of your own another "
        "`route`",
    ),
    Told(
        "options as a dict",
        wrong(ChatApp, answer, options={"idle_timeout": 60}),
        TypeError,
        "options must be StreamOptions, not a dict: StreamOptions(idle_timeout=...)",
    ),
    Told(
        "the options' class",
        wrong(LLMStreamResponse, words(), options=StreamOptions),
        TypeError,
        "options must be StreamOptions, not the class StreamOptions: "
        "StreamOptions(idle_timeout=60)",
    ),
    Told(
        "an option that there is not",
        wrong(StreamOptions, hearbeat_interval=5),
        TypeError,
        "StreamOptions has no option 'hearbeat_interval': did you mean 'heartbeat_interval'?",
    ),
    Told(
        "an option that is text",
        wrong(StreamOptions, idle_timeout="60"),
        ValueError,
        "idle_timeout must be a positive number, not '60'",
    ),
    Told(
        "an option that is given to the app",
        wrong(ChatApp, answer, heartbeat_interval=5),
        TypeError,
        "ChatApp has no argument 'heartbeat_interval': it is an option, "
        "options=StreamOptions(heartbeat_interval=...)",
    ),
    Told(
        "an option that is given to the router",
        wrong(chat_router, answer, heartbeat_interval=5),
        TypeError,
        "chat_router has no argument 'heartbeat_interval': it is an option, "
        "options=StreamOptions(heartbeat_interval=...)",
    ),
    Told(
        "an argument that is nearly one",
        wrong(LLMStream, words, on_finished=save),
        TypeError,
        "LLMStream has no argument 'on_finished': did you mean 'on_finish'?",
    ),
    Told(
        "an argument of the plugin that is nearly one",
        wrong(LLMStreamPlugin, answer, model=["a"]),
        TypeError,
        "LLMStreamPlugin has no argument 'model': did you mean 'models'?",
    ),
    Told(
        "settings beside an app that has its own",
        wrong(chat_router, ChatApp(answer), models=["a"]),
        TypeError,
        "this ChatApp has settings of its own: give it models=, as ChatApp(answer, models=...)",
    ),
    Told(
        "an address of no store",
        wrong(ChatApp, answer, store="sqlite:///streams.db"),
        ValueError,
        "'sqlite:///streams.db' is no address of a Redis server: there are redis://, rediss://, "
        "valkey://, valkeys://, unix://, as redis://localhost:6379/0",
    ),
    Told(
        "the store's class",
        wrong(chat_router, answer, store=MemoryStore),
        TypeError,
        "store is the class MemoryStore: give one that you made, MemoryStore()",
    ),
    Told(
        "a store that is none",
        wrong(LLMStreamPlugin, answer, store={}),
        TypeError,
        "store must be MemoryStore(), RedisStore(...), an address, or a StreamStore of your own, "
        "not a dict: it has no begin()",
    ),
    Told(
        "the store's class in a lifespan",
        wrong(store_lifespan, MemoryStore),
        TypeError,
        "store is the class MemoryStore: give one that you made, MemoryStore()",
    ),
    Told(
        "identify takes nothing",
        wrong(LLMStreamResponse, words(), store=MemoryStore(), identify=lambda: "ada"),
        TypeError,
        "identify is called with the scope, and <lambda>() does not take that: too many "
        "positional arguments. Write `def identify(scope): ...`, or bind what else it needs with "
        "functools.partial",
    ),
    Told(
        "identify is a name",
        wrong(store_routes, MemoryStore(), identify="ada"),
        TypeError,
        "identify must be a function, not a str: write `def identify(scope): ...`",
    ),
    Told(
        "a policy that there is not",
        wrong(LLMStreamResponse.using, store=MemoryStore(), on_busy="queue"),
        ValueError,
        "on_busy must be 'replace' or 'refuse', not 'queue'",
    ),
    Told(
        "a key that is no text",
        wrong(LitestarResponse, words(), store=MemoryStore(), key=7),
        TypeError,
        "key names the conversation, as text: 7 is an int",
    ),
    Told(
        "a key without a store",
        wrong(LLMStream, words, key="c"),
        TypeError,
        "key is for streams that a store keeps: give a store, too",
    ),
    Told(
        "somebody to identify without a store",
        wrong(ChatApp, answer, identify=lambda scope: "ada"),
        TypeError,
        "identify is for streams that a store keeps: give a store, too",
    ),
    Told(
        "a policy without a store",
        wrong(ChatApp, answer, on_busy="refuse"),
        TypeError,
        "on_busy is for streams that a store keeps: give a store, too",
    ),
    Told(
        "something to follow without a store",
        wrong(LLMStreamResponse.following, "x", store=None),
        TypeError,
        "there is nothing to follow without the store that keeps it",
    ),
    Told(
        "a store beside an app that has its own settings",
        wrong(chat_router, ChatApp(answer), store=MemoryStore()),
        TypeError,
        "this ChatApp has settings of its own: give it store=, as ChatApp(answer, store=...)",
    ),
    Told(
        "on_finish was called",
        lambda: ChatApp(answer, on_finish=save(None)),  # type: ignore[arg-type]
        TypeError,
        "on_finish is what save() returned: give the function itself, save, which is called when "
        "it is time",
    ),
    Told(
        "on_finish is no function",
        wrong(LLMStreamResponse.using, on_finish="save"),
        TypeError,
        "on_finish must be a function, not a str: write `async def save(result): ...`",
    ),
    Told(
        "on_finish takes nothing",
        wrong(ChatApp, answer, on_finish=saves_nothing),
        TypeError,
        "on_finish is called with the StreamResult, and saves_nothing() does not take that: too "
        "many positional arguments. Write `async def save(result): ...`, or bind what else it "
        "needs with functools.partial",
    ),
    Told(
        "on_finish takes too much",
        wrong(encode_stream, words, on_finish=saves_too_much),
        TypeError,
        "on_finish is called with the StreamResult, and saves_too_much() does not take that: "
        "missing a required argument: 'message'. Write `async def save(result): ...`, or bind "
        "what else it needs with functools.partial",
    ),
    Told(
        "a stream of a function that wants the request",
        wrong(LLMStreamResponse, answer),
        TypeError,
        "the producer is called with no arguments, and answer() does not take that: missing a "
        "required argument: 'request'. Write `answer(...)`, or bind what else it needs with "
        "functools.partial",
    ),
    Told(
        "a stream of an app",
        wrong(LLMStream, ChatApp(answer)),
        TypeError,
        "the producer is called with no arguments, and ChatApp() does not take that: missing a "
        "required argument: 'scope'. Write `LLMStream(answer(request))`, or bind what else it "
        "needs with functools.partial",
    ),
    Told(
        "a stream of what a function forgot to return",
        wrong(LitestarResponse, None),
        TypeError,
        "cannot stream from NoneType: the function returned nothing: `return` what is to be "
        "streamed, or `yield` it. A producer may return str, bytes, a chunk such as Text or Data, "
        "and what providers' clients return (README: What a producer may yield)",
    ),
    Told(
        "a stream of a number",
        wrong(encode_stream, 42),
        TypeError,
        "cannot stream from int: `return str(...)` if it is text. A producer may return str, "
        "bytes, a chunk such as Text or Data, and what providers' clients return (README: What a "
        "producer may yield)",
    ),
    Told(
        "a middleware around a producer",
        wrong(LLMStreamMiddleware, answer),
        TypeError,
        "app, as ASGI has it, is called with scope, receive, send, and answer() does not take "
        "that: too many positional arguments. Write `LLMStreamMiddleware(ChatApp(answer))`, or "
        "bind what else it needs with functools.partial",
    ),
    Told(
        "a middleware around an app for WSGI",
        wrong(LLMStreamMiddleware, flask_app),
        TypeError,
        "app, as ASGI has it, is called with scope, receive, send, and flask_app() does not take "
        "that: too many positional arguments. Write `LLMStreamMiddleware(ChatApp(answer))`, or "
        "bind what else it needs with functools.partial",
    ),
    Told(
        "callbacks without an emitter",
        lambda: from_callbacks(fetch(None)),
        TypeError,
        "produce is what fetch() returned: give the function itself, fetch, which is called when "
        "it is time",
    ),
    Told(
        "a refusal whose text is a number",
        wrong(RateLimited, 60),
        TypeError,
        "message must be a str, which the client reads, not 60: seconds to wait are "
        "RateLimited(retry_after=...)",
    ),
    Told(
        "a prefix without its slash",
        wrong(ChatApp, answer, prefix="ai"),
        ValueError,
        "prefix must begin with a slash, as '/ai'",
    ),
    Told(
        "a format that is not at the root",
        lambda: importlib.import_module("asgi_llmstream").OpenAIChat,
        ImportError,
        "OpenAIChat is not in asgi_llmstream, import it from asgi_llmstream.formats",
    ),
    Told(
        "a response class that is not at the root",
        lambda: importlib.import_module("asgi_llmstream").LLMStreamResponse,
        ImportError,
        "LLMStreamResponse is not in asgi_llmstream, import it from asgi_llmstream.fastapi, "
        ".starlette or .litestar",
    ),
]


@pytest.mark.parametrize("told", BUILT, ids=lambda told: told.mistake)
def test_a_mistake_in_what_is_given_is_told_when_the_app_is_built(told: Told) -> None:
    with pytest.raises(told.kind) as raised:
        told.do()
    assert type(raised.value) is told.kind
    assert str(raised.value) == told.says


@pytest.mark.parametrize("extra", ["fastapi", "starlette", "litestar"])
def test_a_missing_framework_is_told_when_it_is_imported_with_the_command_that_gets_it(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"asgi_llmstream.{extra}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == extra]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as raised:
        importlib.import_module(f"asgi_llmstream.{extra}")
    assert str(raised.value) == (
        f"asgi_llmstream.{extra} needs {extra}, which is not installed: "
        f"pip install 'asgi-llmstream[{extra}]'"
    )


# Told in the log: what a producer says is known when it says it


async def yields_none(request: Any) -> AsyncIterator[Any]:
    yield None  # here


async def yields_a_coroutine(request: Any) -> AsyncIterator[Any]:
    yield fetch()  # here


async def yields_a_generator(request: Any) -> AsyncIterator[Any]:
    yield words()  # here


async def yields_a_list(request: Any) -> AsyncIterator[Any]:
    yield ["Hello", "you"]  # here


async def yields_a_message(request: Any) -> AsyncIterator[Any]:
    yield {"role": "assistant", "content": "hunter2"}  # here


async def yields_a_number(request: Any) -> AsyncIterator[Any]:
    yield 42  # here


async def yields_a_response(request: Any) -> AsyncIterator[Any]:
    yield HTMLResponse()  # here


async def yields_an_error(request: Any) -> AsyncIterator[Any]:
    yield ValueError("hunter2")  # here


async def yields_a_class(request: Any) -> AsyncIterator[Any]:
    yield Finish  # here


async def yields_a_function(request: Any) -> AsyncIterator[Any]:
    yield words  # here


async def yields_an_object(request: Any) -> AsyncIterator[Any]:
    yield Plain()  # here


async def yields_data_that_is_none(request: Any) -> AsyncIterator[Any]:
    yield Data("user", {"account": Plain()})  # here


async def yields_a_result_that_is_no_json(request: Any) -> AsyncIterator[Any]:
    yield ToolResult("call_1", Plain())  # here


async def yields_a_number_for_text(request: Any) -> AsyncIterator[Any]:
    yield Text(42)  # type: ignore[arg-type]  # here


async def yields_an_event_of_its_own(request: Any) -> AsyncIterator[Any]:
    yield ServerSentEvent("hello")  # here


def yields_none_in_a_thread(request: Any) -> Iterator[Any]:
    yield None  # here


def returns_where_it_should_yield(request: Any) -> Iterator[Any]:
    if request:
        return "Sorry"  # type: ignore[return-value]
    yield "Hello"


async def returns_nothing(request: Any) -> None:
    await fetch()


async def returns_a_response(request: Any) -> Any:
    return HTMLResponse()


async def returns_a_function(request: Any) -> Any:
    return words


async def returns_a_message(request: Any) -> Any:
    return {"role": "assistant", "content": "hunter2"}


class Logged(NamedTuple):
    answer: Callable[[Any], Any]
    says: str
    is_at_a_yield: bool = True


LOGGED = [
    Logged(
        yields_none,
        "cannot stream NoneType: leave out what is empty, as in `if text: yield text`.",
    ),
    Logged(
        yields_none_in_a_thread,
        "cannot stream NoneType: leave out what is empty, as in `if text: yield text`.",
    ),
    Logged(
        yields_a_coroutine,
        "cannot stream coroutine: an `await` is missing: `yield await fetch(...)`.",
    ),
    Logged(
        yields_a_generator,
        "cannot stream async_generator: iterate over it: `async for item in words(...): yield "
        "item`.",
    ),
    Logged(
        yields_a_list,
        "cannot stream list: yield its items one by one: `for item in items: yield item`.",
    ),
    Logged(
        yields_a_message,
        "cannot stream a dict with content, role: of a message yield the text, `yield "
        'message["content"]`.',
    ),
    Logged(yields_a_number, "cannot stream int: `yield str(...)` if it is text."),
    Logged(
        yields_a_response,
        "cannot stream HTMLResponse: the response is made for you: yield what would be in it, or "
        "raise LLMStreamError to refuse.",
    ),
    Logged(
        yields_an_error,
        "cannot stream ValueError: raise it, or yield Error(...), which the client reads.",
    ),
    Logged(
        yields_a_class,
        "it is the class Finish: make one with `Finish(...)`.",
    ),
    Logged(
        yields_a_function,
        "cannot stream function: it was not called: `yield words(...)`.",
    ),
    Logged(
        yields_an_object,
        'cannot stream Plain: for a value of your own `yield Data("its name", value)`.',
    ),
    Logged(
        yields_data_that_is_none,
        "Data('user').value['account'] is no JSON, which is all that a client is sent, but: Plain. "
        "Make it text, a dict, a dataclass or a pydantic model of what the client may see",
    ),
    Logged(
        yields_a_result_that_is_no_json,
        "ToolResult('call_1').output is no JSON, which is all that a client is sent, but: Plain.",
    ),
    Logged(yields_a_number_for_text, "Text.text must be a str, not int"),
    Logged(
        yields_an_event_of_its_own,
        "a ServerSentEvent goes out on the plain format only, as it is: use format=Events(), or "
        "yield what every format has a word for, as Text or Data",
    ),
    Logged(
        returns_where_it_should_yield,
        "returns_where_it_should_yield() is a generator that returned a value and yielded "
        "nothing, and nobody sees what a generator returns: yield it",
        is_at_a_yield=False,
    ),
    Logged(
        returns_nothing,
        "cannot stream from NoneType: the function returned nothing: `return` what is to be "
        "streamed, or `yield` it.",
        is_at_a_yield=False,
    ),
    Logged(
        returns_a_response,
        "cannot stream from HTMLResponse: the response is made for you: return what would be in "
        "it, or raise LLMStreamError to refuse.",
        is_at_a_yield=False,
    ),
    Logged(
        returns_a_function,
        "cannot stream from function: it was not called: `return words(...)`.",
        is_at_a_yield=False,
    ),
    Logged(
        returns_a_message,
        "cannot stream a dict with content, role: of a message yield the text, `yield "
        'message["content"]`.',
        is_at_a_yield=False,
    ),
]


async def ask(app: Any, path: str = "/chat/completions", **body: Any) -> Response:
    question = {"messages": [{"role": "user", "content": "Ada"}], "stream": True, **body}
    return await Client(app).request("POST", path, json=question)


@pytest.mark.parametrize("logged", LOGGED, ids=lambda logged: logged.answer.__name__)
async def test_a_mistake_of_a_producer_is_told_in_the_log_with_its_name_the_path_and_the_line(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    response = await ask(ChatApp(logged.answer))
    assert response.status == 500
    assert b"could not finish" in response.body
    assert b"hunter2" not in response.body
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    name = f"{__name__}.{logged.answer.__name__}"
    assert record.getMessage() == f"{name}, answering POST /chat/completions: the producer raised"
    assert record.exc_info is not None
    _, error, trace = record.exc_info
    assert logged.says in str(error)
    assert "hunter2" not in str(error)
    if logged.is_at_a_yield:
        last = traceback.extract_tb(trace)[-1]
        assert last.filename == HERE
        assert last.name == logged.answer.__name__
        assert "# here" in linecache.getline(last.filename, last.lineno or 0)


async def goes_on_regardless(request: Any) -> AsyncIterator[Any]:
    try:
        yield None
    except TypeError:
        yield "Hello"


async def fails_while_it_cleans_up(request: Any) -> AsyncIterator[Any]:
    try:
        yield None
    finally:
        raise RuntimeError("the database is closed")


@pytest.mark.parametrize(
    ("answer", "error"), [(goes_on_regardless, TypeError), (fails_while_it_cleans_up, RuntimeError)]
)
async def test_a_producer_that_does_not_take_the_blame_ends_with_an_error_all_the_same(
    answer: Any, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    response = await ask(ChatApp(answer))
    assert response.status == 500
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert record.exc_info[0] is error


async def passes_on_what_is_wrong(request: Any) -> AsyncIterator[Any]:
    async with aclosing(accumulate(yields_none(request))) as turn:
        async for chunk in turn:
            yield chunk


async def test_below_accumulate_the_line_is_that_of_the_inner_generator(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert (await ask(ChatApp(passes_on_what_is_wrong))).status == 500
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert traceback.extract_tb(record.exc_info[2])[-1].name == "yields_none"


async def test_what_is_emitted_wrongly_is_told_with_the_name_of_the_function_that_emits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def produce(emit: Any) -> None:
        await emit(None)

    assert (await Client(LLMStream(from_callbacks(produce))).request("GET", "/")).status == 500
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "<locals>.produce, answering GET /: the producer raised" in record.getMessage()


# Told in the log, by its level


@pytest.mark.parametrize(
    ("refusal", "level"),
    [(RateLimited(retry_after=5), logging.INFO), (Overloaded(), logging.WARNING)],
    ids=["RateLimited", "Overloaded"],
)
async def test_a_refusal_of_the_clients_request_is_no_warning(
    refusal: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asgi_llmstream")

    async def refuses(request: Any) -> str:
        raise refusal

    await ask(ChatApp(refuses))
    (record,) = caplog.records
    assert record.levelno == level
    assert record.exc_info is None
    assert f"the producer raised {type(refusal).__name__}: {refusal}" in record.getMessage()


async def test_a_timeout_of_ones_own_is_not_the_models(caplog: pytest.LogCaptureFixture) -> None:
    async def asks_a_database(request: Any) -> str:
        raise TimeoutError("the database took too long")

    response = await ask(ChatApp(asks_a_database))
    assert response.status == 500
    assert b"could not finish the answer" in response.body
    assert "the database took too long" in caplog.text


async def test_an_on_finish_that_raises_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def cannot_save(result: Any) -> None:
        raise RuntimeError("the database is closed")

    await ask(ChatApp(answer, on_finish=cannot_save))
    (record,) = caplog.records
    assert "cannot_save" in record.getMessage()
    assert record.getMessage().endswith(f"of {__name__}.answer, answering POST /chat/completions")


# Told in the answer: the client is at fault, or whoever put the app where it is


class Answered(NamedTuple):
    mistake: str
    ask: Callable[[], Any]
    status: int
    says: str


THERE_ARE = "There are POST /chat/completions, POST /ui, GET /models."


def app(**settings: Any) -> ChatApp:
    return ChatApp(answer, formats=["openai", "ui"], **settings)


ANSWERED = [
    Answered(
        "a path that there is not",
        lambda: ask(app(), "/chat"),
        404,
        f"There is nothing at /chat. {THERE_ARE}",
    ),
    Answered(
        "a base URL that has the route in it",
        lambda: ask(app(), "/v1/chat/completions/chat/completions"),
        404,
        f"There is nothing at /chat/completions/chat/completions. {THERE_ARE} The "
        "/chat/completions before /chat/completions is too much: take it off the client's base "
        "URL, or tell the app where it is: mount it there, or "
        "ChatApp(prefix='/chat/completions').",
    ),
    Answered(
        "an app below a prefix that nobody told it",
        lambda: ask(app(), "/ai/ui"),
        404,
        f"There is nothing at /ai/ui. {THERE_ARE} The /ai before /ui is too much: take it off the "
        "client's base URL, or tell the app where it is: mount it there, or "
        "ChatApp(prefix='/ai').",
    ),
    Answered(
        "a server whose root_path is another",
        lambda: Client(app(), root_path="/api").request("POST", "/ai/ui", json={}),
        404,
        f"There is nothing at /ai/ui. {THERE_ARE} The /ai before /ui is too much: take it off the "
        "client's base URL, or tell the app (its root_path is '/api') where it is: mount it "
        "there, or ChatApp(prefix='/ai').",
    ),
    Answered(
        "the wrong method",
        lambda: Client(app()).request("GET", "/chat/completions"),
        405,
        "This path answers POST, OPTIONS only.",
    ),
    Answered(
        "a body that is not said to be JSON",
        lambda: Client(app()).request("POST", "/chat/completions", body=b"{}"),
        415,
        "The request body must be JSON, and say so: send the header content-type: "
        "application/json.",
    ),
    Answered(
        "a model that there is not",
        lambda: ask(app(models=["a"]), model="b"),
        404,
        "There is no model 'b': GET /models lists those that there are.",
    ),
    Answered(
        "messages that are one text",
        lambda: ask(app(), messages="Ada"),
        400,
        "messages is not valid: Expected `array`, got `str`.",
    ),
]


@pytest.mark.parametrize("answered", ANSWERED, ids=lambda answered: answered.mistake)
async def test_a_mistake_of_the_client_is_told_in_the_answer(answered: Answered) -> None:
    response = await answered.ask()
    assert response.status == answered.status
    assert json.loads(response.body)["error"]["message"] == answered.says


async def test_a_stream_that_is_used_up_says_at_its_second_request_what_to_give_instead() -> None:
    stream = LLMStream(words())
    await Client(stream).request("GET", "/")
    with pytest.raises(RuntimeError) as raised:
        await Client(stream).request("GET", "/")
    assert str(raised.value) == (
        "this LLMStream was given an iterator, which its first request used up: make one per "
        "request, or give a function"
    )


def test_there_are_more_than_forty() -> None:
    assert len(BUILT) + len(LOGGED) + len(ANSWERED) > 40


# No mistakes: what one would write first is taken as it is meant


@pytest.mark.parametrize("format", ["events", Events, Events()], ids=repr)
async def test_a_format_may_be_given_by_its_name_its_class_or_as_it_is(format: Any) -> None:
    for made in (
        LLMStream(words, format=format),
        LLMStreamResponse(words, format=format),
        LLMStreamResponse.using(format=format)(words),
    ):
        response = await Client(made).request("GET", "/")
        assert b"event: run-started" in response.body
    encoded = [body async for body in encode_stream(words, format=format)]
    assert b"event: run-started" in b"".join(encoded)


@pytest.mark.parametrize("formats", [["ui"], [UIMessages], [UIMessages()]], ids=repr)
async def test_so_may_those_of_an_app(formats: Any) -> None:
    made = ChatApp(answer, formats=formats)
    assert [format.route for format in made.formats] == ["/ui"]


@pytest.mark.parametrize("by", ["emit", "text", "nowait", "text_nowait", "from_thread"])
async def test_callbacks_may_come_from_a_plain_function_which_runs_in_a_thread(by: str) -> None:
    threads = []

    def produce(emit: Any) -> None:
        threads.append(threading.get_ident())
        say = emit if by == "emit" else getattr(emit, by)
        for number in range(200):  # more than may wait for the reader
            say(f"{number} ")

    message = await collect(from_callbacks(produce))
    assert message.text.split() == [str(number) for number in range(200)]
    assert threads != [threading.get_ident()]


async def test_what_a_plain_function_raises_is_the_streams_error() -> None:
    def produce(emit: Any) -> None:
        emit("Hel")
        raise RateLimited("Not now.")

    with pytest.raises(RateLimited):
        await collect(from_callbacks(produce))


async def test_a_plain_function_that_returns_an_awaitable_is_awaited() -> None:
    async def say(emit: Any) -> None:
        await emit("Hello")

    def produce(emit: Any) -> Any:
        return say(emit)

    assert (await collect(from_callbacks(produce))).text == "Hello"
