"""Signals: streams learn that the process is told to end, and the process waits for them.

ASGI tells an application of the shutdown only after its open requests have ended, which a stream
would never do, and a mounted one is not told at all. So the first request of a process chains a
handler in front of those that stand for SIGTERM and SIGINT: it begins the drain, and calls what
stood there before. Nothing is patched, nothing happens at import, and when the last stream has
left, the handler that stood before stands again.

What acts are the tickers: each looks at the drain several times a second while streams are open.
Outside the main thread, where Python allows no handlers, call `drain()`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .drain import Drain, process_drain

__all__ = ["Signals", "process_signals"]

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds between looks at whether a signal may be raised; as long the last bytes have to leave.
_STEP = 0.1
# Seconds for which the handlers stay after requests that were no streams, for the next one.
_SHORT = 1.0


class Signals:
    """The handlers that a process has chained, and the streams that its end waits for.

    Args:
        drain: what a signal begins.
    """

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._lock = threading.Lock()
        self._requests = 0  # for which signals are watched, streams among them
        self._streams = 0
        self._streamed = False  # since the handlers were chained
        self._longest = 0.0
        self._chained_at = 0.0
        self._chained: dict[signal.Signals, tuple[_Handler, _Handler]] = {}  # ours, and before
        # Those that would end the process at once, and wait for the streams.
        self._deferred: list[tuple[int, _Handler]] = []
        self._is_due = False
        self._process = 0  # whose streams these are; a fork has none of them

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice signals while this is entered, if this thread may: a request is being answered,
        and may become a stream."""
        self._watch()
        try:
            yield
        finally:
            self._watch_no_more()

    def stream_began(self, longest: float) -> None:
        """Notice signals, and have the end of the process wait for this stream.

        Args:
            longest: how many seconds it may take to end, once it is told to.
        """
        self._watch()
        with self._lock:
            self._streams += 1
            self._streamed = True
            self._longest = max(self._longest, longest)

    def stream_ended(self) -> None:
        """Wait no more for a stream that began."""
        with self._lock:
            self._streams -= 1
        self._watch_no_more()

    def _watch(self) -> None:
        with self._lock:
            self._requests += 1
            self._drain.note_loop()
            if not self._process:
                self._process = os.getpid()
                if hasattr(os, "register_at_fork"):
                    os.register_at_fork(after_in_child=self._forget)
        if threading.current_thread() is threading.main_thread():
            for sig in _SIGNALS:
                self._chain(sig)

    def _watch_no_more(self) -> None:
        with self._lock:
            self._requests -= 1
            last = self._requests == 0
        in_main_thread = threading.current_thread() is threading.main_thread()
        if not last or not in_main_thread or self._drain.has_begun:
            return
        # Not for every short request: that would cost more than the rest of what we do to it.
        if self._streamed or time.monotonic() > self._chained_at + _SHORT:
            self._unchain()

    def _chain(self, sig: signal.Signals) -> None:
        before = signal.getsignal(sig)
        known = self._chained.get(sig)
        # None stands for a handler that is not Python's and could not be called.
        if before is None or before is signal.SIG_IGN or (known and before is known[0]):
            return
        # A new closure for each: with one function and a remembered `before`, a server that
        # chains us too would never be reached.
        handler = self._handler(before)
        try:
            signal.signal(sig, handler)
        except ValueError:
            return  # not the main interpreter
        self._chained[sig] = (handler, before)
        self._chained_at = time.monotonic()

    def _unchain(self) -> None:
        self._streamed = False
        for sig, (ours, before) in list(self._chained.items()):
            del self._chained[sig]
            if signal.getsignal(sig) is ours:
                signal.signal(sig, before)

    def _handler(self, before: _Handler) -> Callable[[int, FrameType | None], None]:
        def note(signum: int, frame: FrameType | None) -> None:
            if os.getpid() != self._process:  # it comes before `_forget` does
                signal.signal(signum, before)
                signal.raise_signal(signum)
                return
            self._drain.begin()
            if _ends_at_once(before):
                self._defer(signum, before)
            elif callable(before) and not _is_a_loops_own(before):
                before(signum, frame)

        # Who looks for a server by its handler, as sse-starlette does, must still find it.
        if (owner := getattr(before, "__self__", None)) is not None:
            note.__self__ = owner  # type: ignore[attr-defined]
        return note

    def _defer(self, signum: int, before: _Handler) -> None:
        """Let the signal wait for the streams, unless somebody is impatient."""
        # Supervisors repeat SIGTERM within milliseconds; who presses Ctrl-C again means it.
        is_second = bool(self._deferred) and signum == signal.SIGINT
        self._deferred.append((signum, before))
        if self._streams == 0 or is_second or self._is_due:
            self._is_due = False
            self._raise_deferred()
        elif len(self._deferred) == 1:
            threading.Thread(target=self._raise_in_time, daemon=True).start()

    def _raise_in_time(self) -> None:
        """In a thread of its own, since no event loop may be left to do it: when the streams have
        ended, or did not in time, have the signal come again."""
        give_up = time.monotonic() + self._longest
        while self._streams and time.monotonic() < give_up:
            time.sleep(_STEP)
        time.sleep(_STEP)
        if not self._deferred:
            return  # it was impatient
        self._is_due = True
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, self._deferred[0][0])  # which wakes it, wherever it waits
        else:
            signal.raise_signal(self._deferred[0][0])

    def _raise_deferred(self) -> None:
        while self._deferred:
            signum, before = self._deferred.pop()
            signal.signal(signum, before)
            signal.raise_signal(signum)

    def _forget(self) -> None:
        """In a process that was forked meanwhile: none of the streams are there, nor is anybody
        who would raise what is deferred."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._streams = self._requests = 0
        self._deferred.clear()
        self._unchain()


def _ends_at_once(handler: _Handler) -> bool:
    """Return whether it would leave the streams no time: the system's default, Python's for
    Ctrl-C, and trio's, which both raise KeyboardInterrupt wherever the main thread happens to
    be."""
    if handler in (signal.SIG_DFL, signal.default_int_handler):
        return True
    return (getattr(handler, "__module__", None) or "").partition(".")[0] == "trio"


def _is_a_loops_own(handler: Any) -> bool:
    """Return whether an event loop set it: such a handler does nothing, since loops hear of the
    signal by a descriptor, also when ours stands. Called from a handler, uvloop's may lock up."""
    module = getattr(handler, "__module__", None) or ""
    return module.partition(".")[0] in ("asyncio", "uvloop")


process_signals = Signals(process_drain)
"""The process's."""
