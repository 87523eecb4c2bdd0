"""Arguments are checked where they are given. Private.

Whoever takes them calls these first, so that wrong use raises when an app is built and not at its
first request, and says what is wrong, whose it is, and what to write instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .calls import check_call, kind_of, near
from .formats import BY_NAME, AnyFormat, AnyRequestFormat, Format, RequestFormat
from .options import StreamOptions
from .producers import is_function, is_producer
from .sources import unknown

__all__ = [
    "check_answer",
    "check_app",
    "check_identify",
    "check_key",
    "check_names",
    "check_on_busy",
    "check_on_finish",
    "check_producer",
    "check_store",
    "explains",
    "format_of",
    "formats_of",
    "models_of",
    "needs",
    "options_of",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def check_answer(answer: object) -> None:
    """Refuse what cannot be called with a `ChatRequest`, or makes nothing to stream.

    Raises:
        TypeError: if it is none, as do all that follow.
    """
    check_call(answer, "answer", "the ChatRequest", "async def answer(request): ...")
    if inspect.isclass(answer) and not any(hasattr(answer, name) for name in _STREAMED):
        raise TypeError(
            f"answer is the class {answer.__qualname__}, whose instances are nothing to stream: "
            f"give one that is called, {answer.__qualname__}(...), or a method of it"
        )


_STREAMED = ("__aiter__", "__iter__", "__aenter__", "__await__", "to_chunks")


def check_producer(producer: object) -> None:
    """Refuse what is nothing to stream."""
    if not is_producer(producer):
        raise unknown(producer, "return")
    if is_function(producer) and not inspect.isclass(producer):
        name = getattr(producer, "__name__", None)
        write = f"{name}(...)" if name else "LLMStream(answer(request))"
        check_call(producer, "the producer", "", write)


def check_on_finish(on_finish: object) -> None:
    """Refuse what cannot be called with a `StreamResult`."""
    if on_finish is not None:
        check_call(on_finish, "on_finish", "the StreamResult", "async def save(result): ...")


def check_app(app: object) -> None:
    """Refuse what is no ASGI application."""
    write = "LLMStreamMiddleware(ChatApp(answer))"
    check_call(app, "app, as ASGI has it,", "scope, receive, send", write)


def check_store(store: object) -> None:
    """Refuse what is no store."""
    write = "MemoryStore(), RedisStore(...), an address, or a StreamStore of your own"
    if inspect.isclass(store):
        name = store.__qualname__
        raise TypeError(f"store is the class {name}: give one that you made, {name}()")
    missing = [name for name in _STORES if not callable(getattr(store, name, None))]
    if missing:
        raise TypeError(f"store must be {write}, not {kind_of(store)}: it has no {missing[0]}()")


# What a `StreamStore` does.
_STORES = ("begin", "append", "seal", "read", "wait", "stop", "list_runs", "forget")


def check_identify(identify: object) -> None:
    """Refuse what cannot be called with a scope."""
    if identify is not None:
        check_call(identify, "identify", "the scope", "def identify(scope): ...")


def check_key(key: object) -> None:
    """Refuse what names no conversation."""
    if not isinstance(key, str | None):
        raise TypeError(f"key names the conversation, as text: {key!r} is {kind_of(key)}")


def check_on_busy(on_busy: object) -> None:
    """Refuse what is no policy.

    Raises:
        ValueError: if there is none of this name.
    """
    if on_busy not in ("replace", "refuse"):
        raise ValueError(f"on_busy must be 'replace' or 'refuse', not {on_busy!r}")


def options_of(options: object) -> StreamOptions:
    """Return the options."""
    if isinstance(options, StreamOptions):
        return options
    if isinstance(options, Mapping):
        given = ", ".join(f"{name}=..." for name in options)
        raise TypeError(f"options must be StreamOptions, not a dict: StreamOptions({given})")
    raise TypeError(
        f"options must be StreamOptions, not {kind_of(options)}: StreamOptions(idle_timeout=60)"
    )


def models_of(models: Sequence[str]) -> list[str]:
    """Return the names.

    Raises:
        ValueError: if there are none.
    """
    if isinstance(models, str):
        raise TypeError(f"models must be a list of names, not a text: models=[{models!r}]")
    names = [*_several(models, "models", '"my-model"')]
    if not names:
        raise ValueError('models must name at least one model, as models=["my-model"]')
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"models are names, as text: {name!r} is {kind_of(name)}")
    return names


def format_of(format: AnyFormat) -> Format:
    """Return the format that is meant by one, its class, or its name.

    Raises:
        ValueError: if there is none of the name.
    """
    if isinstance(format, str):
        if format not in BY_NAME:
            raise ValueError(f"there is no format {format!r}: {near(format, BY_NAME)}")
        return BY_NAME[format]()
    if inspect.isclass(format):
        format = _made(format)
    if not callable(getattr(format, "encoder", None)):
        raise TypeError(
            f"format must be a format or the name of one, not {kind_of(format)}: "
            f"there are {', '.join(BY_NAME)}"
        )
    return format


def formats_of(formats: Iterable[AnyRequestFormat]) -> tuple[RequestFormat, ...]:
    """Return the formats that are meant, each of which has requests.

    Raises:
        ValueError: if there is none of a name, or two have the same route.
    """
    if isinstance(formats, str):
        raise TypeError(f"formats must be a list, not a text: formats=[{formats!r}]")
    found: list[Any] = [format_of(one) for one in _several(formats, "formats", '"openai"')]
    if not found:
        raise ValueError("formats must have at least one: leave it out for all that there are")
    for format in found:
        if not hasattr(format, "route"):
            name = type(format).__qualname__
            raise TypeError(
                f"{name} has no route and no requests: make it a RequestFormat, or give it to "
                f"LLMStream(..., format={name}(...))"
            )
    routes = [format.route for format in found]
    for route in routes:
        if routes.count(route) > 1:
            raise ValueError(
                f"two formats have the route {route!r}: leave one out, or give a class of your own "
                "another `route`"
            )
    return tuple(found)


def _made(cls: Any) -> Format:
    try:
        format: Format = cls()
    except TypeError as error:
        raise TypeError(
            f"format is the class {cls.__qualname__}, which needs arguments: give one that you "
            f"made, {cls.__qualname__}(...) ({error})"
        ) from None
    return format


def _several(values: Iterable[Any], name: str, example: str) -> Iterable[Any]:
    if isinstance(values, Iterable):
        return values
    raise TypeError(f"{name} must be a list, not {kind_of(values)}: {name}=[{example}]")


def check_names(taker: str, given: Iterable[str], *functions: Callable[..., Any]) -> None:
    """Refuse the name of an argument that none of the functions has, and say which was meant.

    Args:
        taker: who was given it, as "ChatApp".
        functions: those that have the arguments.
    """
    known = {name for function in functions for name in inspect.signature(function).parameters}
    for name in given:
        if name in known:
            continue
        if name in StreamOptions.__struct_fields__ and "options" in known:
            meant = f"it is an option, options=StreamOptions({name}=...)"
        else:
            meant = near(name, known - {"self", "cls", "router"})
        raise TypeError(f"{taker} has no argument {name!r}: {meant}") from None


def explains(make: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have the call of `make` with an argument that it does not have say which was meant."""
    taker = make.__qualname__.removesuffix(".__init__")

    @wraps(make)
    def explained(*args: _P.args, **given: _P.kwargs) -> _R:
        try:
            return make(*args, **given)
        except TypeError as error:
            if "unexpected keyword argument" in str(error):
                check_names(taker, given, make)
            raise

    return explained


@contextmanager
def needs(extra: str, *packages: str) -> Iterator[None]:
    """Import a framework within this, which says how to get it where it is missing.

    Args:
        extra: of this package.
        packages: whose absence is meant, by the names that they are imported by.

    Raises:
        ImportError: if one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages:
            raise
        raise ImportError(
            f"asgi_llmstream.{extra} needs {missing}, which is not installed: "
            f"pip install 'asgi-llmstream[{extra}]'",
            name=missing,
        ) from error
