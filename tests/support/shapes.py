"""One answer in every shape of iterable, which notes where it is closed."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from asgi_llmstream import from_callbacks
from asgi_llmstream.producers.callbacks import Emitter
from asgi_llmstream.testing import settle

WORDS = ["Hel", "lo", ", ", "you"]


class Log:
    """Where each close of a test's producer happened."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def __call__(self, what: str) -> None:
        self.closed.append(what)


async def generator(log: Log) -> AsyncIterator[str]:
    try:
        for word in WORDS:
            yield word
            await settle()
    finally:
        log("generator")


class Iterable:
    """An async iterable that is no generator, with a `close` as SDKs have it."""

    def __init__(self, log: Log) -> None:
        self._words = iter(WORDS)
        self._log = log

    def __aiter__(self) -> Iterable:
        return self

    async def __anext__(self) -> str:
        await settle()
        for word in self._words:
            return word
        raise StopAsyncIteration

    async def close(self) -> None:
        self._log("iterable")


class Manager:
    """An async context manager of a stream, as `client.messages.stream(...)` is."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def __aenter__(self) -> Iterable:
        return Iterable(self._log)

    async def __aexit__(self, *_: object) -> None:
        self._log("manager")


async def awaited(log: Log) -> Any:
    return Iterable(log)


async def awaited_manager(log: Log) -> Any:
    return Manager(log)


def sync_generator(log: Log) -> Iterator[str]:
    me = threading.get_ident()
    try:
        yield from WORDS
    finally:
        assert threading.get_ident() == me
        log("sync generator")


class SyncIterator:
    def __init__(self, log: Log) -> None:
        self._words = iter(WORDS)
        self._log = log

    def __iter__(self) -> SyncIterator:
        return self

    def __next__(self) -> str:
        return next(self._words)

    def close(self) -> None:
        self._log("sync iterator")


def callbacks(log: Log) -> Any:
    async def produce(emit: Emitter) -> None:
        try:
            for word in WORDS:
                await emit.text(word)
                await settle()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log("produce")

    return from_callbacks(produce)


@asynccontextmanager
async def decorated(log: Log) -> AsyncIterator[Any]:
    try:
        yield Iterable(log)
    finally:
        log("decorated")


SHAPES: dict[str, tuple[Callable[[Log], Any], list[str]]] = {
    "async generator": (generator, ["generator"]),
    "async iterable": (Iterable, ["iterable"]),
    "awaitable": (awaited, ["iterable"]),
    "context manager": (Manager, ["iterable", "manager"]),
    "awaitable of a context manager": (awaited_manager, ["iterable", "manager"]),
    "decorated context manager": (decorated, ["iterable", "decorated"]),
    "function": (lambda log: lambda: generator(log), ["generator"]),
    "sync generator": (sync_generator, ["sync generator"]),
    "sync iterator": (SyncIterator, ["sync iterator"]),
    "list": (lambda log: WORDS, []),
    "callbacks": (callbacks, ["produce"]),
}
