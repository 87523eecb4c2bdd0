"""Runs that a store keeps: how tests begin and read them, and a way to a store that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio

from asgi_llmstream import StreamOptions, StreamResult
from asgi_llmstream.events import Event, Terminal, merge
from asgi_llmstream.message import Message
from asgi_llmstream.resume import Following, Host
from asgi_llmstream.runtime import Audience, Generation, Log
from asgi_llmstream.stores import (
    Begun,
    EventDecoder,
    NewRun,
    OnBusy,
    StoreUnavailable,
    StreamStore,
)

__all__ = [
    "ADA",
    "OPTIONS",
    "Between",
    "Switch",
    "begin",
    "host_of",
    "of_store",
    "read_to_end",
    "said",
    "the_same",
]

ADA = "ada"
OPTIONS = StreamOptions(shutdown_grace=0.01)
_PATIENCE = 10  # seconds of real time that any one wait may take


class Between:
    """A store behind something that each question passes through.

    Args:
        store: it.
        ask: called with a method's name and what calls it.
    """

    def __init__(
        self,
        store: StreamStore,
        ask: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> None:
        self._store = store
        self._ask = ask

    @property
    def lease(self) -> float:
        return self._store.lease

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return lambda *args, **named: self._ask(name, partial(method, *args, **named))


class Switch:
    """Takes a store away, for some of its methods or all, and gives it back."""

    def __init__(self) -> None:
        self.away: Sequence[str] = ()
        self.refused = 0

    async def __call__(self, name: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        if name in self.away:
            self.refused += 1
            raise StoreUnavailable()
        return await ask()


@asynccontextmanager
async def host_of(store: Any) -> AsyncIterator[Host]:
    """A host whose lifespan is entered; two on one store are as two workers."""
    host = Host(store)
    with anyio.fail_after(_PATIENCE):
        async with host.running():
            yield host


async def begin(
    host: Host,
    producer: Any,
    *,
    id: str = "run",
    options: StreamOptions = OPTIONS,
    on_finish: Callable[[StreamResult], Any] | None = None,
    over: Callable[[], object] = lambda: None,
    on_busy: OnBusy = "replace",
    **named: Any,
) -> Begun:
    """Begin a run of this producer. A producer that is not used is closed, as `LLMStream` does."""

    def make(log: Log) -> Generation:
        return Generation(producer, options, audience, id=id, model="m", log=log)

    audience = Audience(on_finish=() if on_finish is None else (on_finish,))
    new = NewRun(owner=ADA, id=id, **named)
    begun = None
    try:
        begun = await host.begin(new, options, make, over, on_busy=on_busy)
    finally:
        if (begun is None or not begun.epoch) and hasattr(producer, "aclose"):
            await producer.aclose()
    return begun


async def read_to_end(following: Following, events: int | None = None) -> list[Event]:
    """All that it gives, or so many events at least; then it leaves."""
    found: list[Event] = []
    with anyio.fail_after(_PATIENCE):
        while not (found and isinstance(found[-1], Terminal)):
            if events is not None and len(found) >= events:
                break
            taken = following.take()
            found += taken
            if not taken:
                await following.wait()
    following.leave(had_the_end=True)
    return found


async def of_store(store: StreamStore, id: str = "run") -> list[Event]:
    """What a store has of a run: the one order that everybody has to agree with."""
    page = await store.read(ADA, id, 0, 1_000_000)
    return EventDecoder().decode(1, page.events)


def said(events: Sequence[Event]) -> str:
    message = Message()
    for event in events:
        message.apply(event)
    return message.text


def the_same(some: Sequence[Event], others: Sequence[Event]) -> bool:
    """Tell whether they are the same but for how deltas are joined."""
    return [*merge([*some])] == [*merge([*others])]
