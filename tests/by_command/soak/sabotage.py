"""Proof that the soak can fail: each of these breaks the package on purpose, in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from asgi_llmstream.asgi import delivery
from asgi_llmstream.asgi.delivery import Delivery
from asgi_llmstream.asgi.streamed import StreamDelivery
from asgi_llmstream.backend.asyncio import Task
from asgi_llmstream.foreign.framing import AsIs
from asgi_llmstream.foreign.run import ForeignRun
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.producers.threads import ThreadIterator
from asgi_llmstream.runtime.drain import Drain
from asgi_llmstream.runtime.generation import Generation


class Sabotage(NamedTuple):
    """How the package is broken, and what the soak must say of it."""

    act: Callable[[], None]
    noticed: str


_kept: list[object] = []


def _replace(owner: Any, name: str, make: Callable[[Any], object]) -> None:
    """Put what `make` makes of an attribute in its place."""
    setattr(owner, name, make(getattr(owner, name)))


def _watcher_stays() -> None:
    def make(original: Any) -> Any:
        async def watch(self: Any, receive: Any) -> None:
            try:
                await original(self, receive)
            finally:
                await asyncio.Event().wait()

        return watch

    _replace(Delivery, "_watch", make)


def _producer_is_not_cancelled() -> None:
    _replace(Task, "cancel", lambda _: lambda self: None)


def _thread_is_not_told() -> None:
    async def aclose(self: Any) -> None:
        """As if it were closed."""

    _replace(ThreadIterator, "aclose", lambda _: aclose)


def _descriptor_is_forgotten() -> None:
    _before(Generation, "start", lambda self: os.open(os.devnull, os.O_RDONLY))


def _stream_is_kept() -> None:
    _before(Delivery, "run", _kept.append)


def _before(owner: Any, name: str, act: Callable[[Any], object]) -> None:
    def make(original: Any) -> Any:
        def method(self: Any, *args: Any) -> Any:
            act(self)
            return original(self, *args)

        return method

    _replace(owner, name, make)


def _told(owner: Any, times: int) -> None:
    def make(original: Any) -> Any:
        async def tell(self: Any, result: Any) -> None:
            for _ in range(times):
                self._untold = iter(self._audience.on_finish)
                await original(self, result)

        return tell

    _replace(owner, "_tell", make)


def _large_chunks_go_out_whole() -> None:
    _replace(delivery, "_PIECE", lambda _: 2**30)


def _broken_looks_finished() -> None:
    for name in ("fail", "abort"):
        _replace(Lifecycle, name, lambda _: lambda self, *args: self.finish())


def _foreign_broken_looks_finished() -> None:
    _replace(StreamDelivery, "_breaks_off", lambda _: lambda self, end: False)


def _heartbeat_inside_events() -> None:
    _replace(AsIs, "between_events", lambda _: property(lambda self: True))


def _foreign_is_left_running() -> None:
    _replace(ForeignRun, "stop", lambda _: lambda self, outcome, *_: self._abort(outcome))


def _nobody_drains() -> None:
    _replace(Drain, "has_begun", lambda _: property(lambda self: False))


SABOTAGES = {
    "task": Sabotage(_watcher_stays, r"leaked \d+ tasks"),
    "producer": Sabotage(
        _producer_is_not_cancelled,
        r"(open producers: \d+ (async|callbacks|stubborn)|hung: .*'silent')",
    ),
    "thread": Sabotage(_thread_is_not_told, r"not quiet: thread: llmstream"),
    "descriptor": Sabotage(_descriptor_is_forgotten, r"leaked \d+ descriptors"),
    "memory": Sabotage(_stream_is_kept, r"streams stay in memory: .*'StreamDelivery': \d\d"),
    "on_finish twice": Sabotage(
        lambda: _told(Generation, 2),
        r"on_finish was told \['finished', 'finished'\] of 1 streams",
    ),
    "on_finish never": Sabotage(
        lambda: _told(Generation, 0), r"on_finish was told \[\] of 1 streams"
    ),
    "no progress": Sabotage(_large_chunks_go_out_whole, r"has no end: .* steady "),
    "silent end": Sabotage(_broken_looks_finished, r"ended as if it had finished: .*'raises"),
    "foreign silent end": Sabotage(
        _foreign_broken_looks_finished, r"ended as if it had finished: .* /foreign "
    ),
    "foreign on_finish twice": Sabotage(
        lambda: _told(ForeignRun, 2),
        r"on_finish was told \['finished', 'finished'\] of 1 streams",
    ),
    "foreign on_finish never": Sabotage(
        lambda: _told(ForeignRun, 0), r"on_finish was told \[\] of 1 streams"
    ),
    "foreign heartbeat": Sabotage(
        _heartbeat_inside_events, r"foreign: other events were read than were written"
    ),
    "foreign goes on": Sabotage(
        _foreign_is_left_running, r"not quiet: open producers: \d+ hand_written"
    ),
    "no drain": Sabotage(_nobody_drains, r"hung: .* is there at the end"),
}
