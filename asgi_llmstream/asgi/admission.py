"""Admission: the one door through which every stream goes.

May there be a stream now, and what counts for it: which options, and which `on_finish` with
which context? `ChatApp`, `LLMStream` and the middleware have a door each, and ask it once a
request. A middleware leaves word in the scope of what it puts around the request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from ..errors import Overloaded, ShuttingDown
from ..options import DEFAULT_OPTIONS, StreamOptions
from ..request import ChatRequest
from ..runtime import Audience, OnFinish, draining
from .http import Scope

__all__ = ["Admitted", "Around", "Door"]

_SCOPE_KEY = "asgi_llmstream.around"

# Seconds after which a client that was turned away may try again.
_RETRY_AFTER = 1


class Admitted(NamedTuple):
    """The options and the audience of one stream.

    Attributes:
        options: intervals, deadlines and limits.
        audience: who is told of it.
    """

    options: StreamOptions
    audience: Audience


class Door:
    """The door of one application.

    Args:
        options: its own; where it was given none, those of a middleware around it count.
        on_finish: its own; those around it are called after it.
        max_streams: how many streams it may have at the same time; None for any number.

    Attributes:
        options: as given.
        on_finish: as given.
        closed: whether the application was stopped.
    """

    def __init__(
        self,
        options: StreamOptions,
        on_finish: OnFinish | None = None,
        max_streams: int | None = None,
    ) -> None:
        self.options = options
        self.on_finish = on_finish
        self.closed = False
        self._max_streams = max_streams
        self._streams = 0
        self._lock = threading.Lock()  # several servers may run the same application

    def check(self) -> None:
        """Refuse what comes when there is to be no more.

        Raises:
            ShuttingDown: if the process drains, or the application was stopped.
        """
        if self.closed or draining():
            raise ShuttingDown(retry_after=_RETRY_AFTER)

    def options_for(self, scope: Scope) -> StreamOptions:
        """Return the options that count for a request."""
        around = Around.of(scope)
        return (
            self.options
            if around is None or self.options is not DEFAULT_OPTIONS
            else (around.door.options)
        )

    @contextmanager
    def admit(self, scope: Scope, request: ChatRequest | None = None) -> Iterator[Admitted]:
        """Let one stream of ours through, as long as this is entered.

        What stands around it is told to leave the response alone, and counts it as its own.

        Raises:
            Overloaded: if there is to be no stream now.
        """
        self.check()
        around = [*Around.all_of(scope)]
        doors = [self, *(one.door for one in around)]
        for one in around:
            one.stands_aside = True
        with ExitStack() as held:
            for door in doors:
                held.enter_context(door.slot())
            yield Admitted(self.options_for(scope), _audience(doors, scope, request))

    @contextmanager
    def admit_foreign(self, scope: Scope) -> Iterator[Admitted]:
        """Let a stream through that others write: it is this door's only.

        Raises:
            Overloaded: if there is to be no stream now.
        """
        self.check()
        with self.slot():
            yield Admitted(self.options, _audience([self], scope, None))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take one of `max_streams`, as long as this is entered.

        Raises:
            Overloaded: if all are taken.
        """
        with self._lock:
            if self._max_streams is not None and self._streams >= self._max_streams:
                raise Overloaded(retry_after=_RETRY_AFTER)
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1


def _audience(doors: list[Door], scope: Mapping[str, Any], request: ChatRequest | None) -> Audience:
    on_finish = tuple(door.on_finish for door in doors if door.on_finish is not None)
    return Audience(on_finish=on_finish, scope=scope, request=request)


class Around:
    """Word of a middleware in the scope of one request.

    Args:
        door: of the middleware.
        scope: of the request.

    Attributes:
        stands_aside: whether a stream of ours answers, which does by itself what the middleware
            would do.
    """

    def __init__(self, door: Door, scope: Scope) -> None:
        self.door = door
        self.stands_aside = False
        self._scope = scope
        self._outer = Around.of(scope)
        scope[_SCOPE_KEY] = self

    def leave(self) -> None:
        """Take the word back: the request is answered."""
        # It would be a cycle, too, which stays until the garbage is collected.
        if self._outer is None:
            self._scope.pop(_SCOPE_KEY, None)
        else:
            self._scope[_SCOPE_KEY] = self._outer

    @staticmethod
    def of(scope: Mapping[str, Any]) -> Around | None:
        """Return the nearest word, if there is one."""
        around: Around | None = scope.get(_SCOPE_KEY)
        return around

    @staticmethod
    def all_of(scope: Mapping[str, Any]) -> Iterator[Around]:
        """Return all words, from the inside out."""
        around = Around.of(scope)
        while around is not None:
            yield around
            around = around._outer
