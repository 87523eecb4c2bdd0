"""Shutdown: streams learn that the process is told to end, and end visibly in time.

ASGI tells an application of the shutdown only after its open requests have ended, which a stream
would never do, and a mounted one is not told at all. So the first request of a process chains a
handler in front of those that stand for SIGTERM and SIGINT: it notes that the signal came, and
calls what stood there before. Nothing is patched, nothing happens at import, and when the last
stream has left, the handler that stood before stands again.

What acts are the tickers: each looks here several times a second while streams are open. Outside
the main thread, where Python allows no handlers, call `drain()`.
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
from weakref import WeakKeyDictionary

from ..backend import loop_key

__all__ = ["drain", "draining", "stream_began", "stream_ended", "watching"]

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds between looks at whether a signal may be raised; as long the last bytes have to leave.
_STEP = 0.1
# Seconds for which the handlers stay after requests that were no streams, for the next one.
_SHORT = 1.0

_lock = threading.Lock()
_drains = 0
# How many drains there had been when a loop's first request came: a server that is started anew,
# in an event loop of its own, does not inherit the end of the last.
_before: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_streams = 0
_watching = 0
_longest = 0.0
_streamed = False  # since the handlers were chained
_chained_at = 0.0
_chained: dict[signal.Signals, tuple[_Handler, _Handler]] = {}  # ours, and what stood before
_deferred: list[tuple[int, _Handler]] = []  # what would end the process, and waits for the streams
_is_due = False
_process = 0  # whose streams these are; a fork has none of them


def drain() -> None:
    """Have every stream of this process end within its `shutdown_grace`, and refuse new ones.

    From any thread, and from signal handlers. There is no way back: the process is to end. Only
    event loops whose first request is yet to come are not concerned.
    """
    global _drains
    _drains += 1


def draining() -> bool:
    """Whether the process is told to end. A producer may look, and come to an end by itself.

    In a thread without an event loop: whether it ever was.
    """
    if not _drains:
        return False
    try:
        return _drains > _before.get(loop_key(), _drains)
    except RuntimeError:
        return True


@contextmanager
def watching() -> Iterator[None]:
    """Notice signals while this is entered, if this thread may: a request is being answered, and
    may become a stream."""
    _watch()
    try:
        yield
    finally:
        _watch_no_more()


def stream_began(longest: float) -> None:
    """Notice signals, and have the end of the process wait for this stream.

    Args:
        longest: how many seconds it may take to end, once it is told to.
    """
    global _streams, _longest, _streamed
    _watch()
    with _lock:
        _streams += 1
        _streamed = True
        _longest = max(_longest, longest)


def stream_ended() -> None:
    """The counterpart of `stream_began`."""
    global _streams
    with _lock:
        _streams -= 1
    _watch_no_more()


def _watch() -> None:
    global _watching, _process
    with _lock:
        _watching += 1
        _before.setdefault(loop_key(), _drains)
        if not _process:
            _process = os.getpid()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget)
    if threading.current_thread() is threading.main_thread():
        for sig in _SIGNALS:
            _chain(sig)


def _watch_no_more() -> None:
    global _watching
    with _lock:
        _watching -= 1
        last = _watching == 0
    if not last or threading.current_thread() is not threading.main_thread() or draining():
        return
    # Not for every short request: that would cost more than the rest of what we do to it.
    if _streamed or time.monotonic() > _chained_at + _SHORT:
        _unchain()


def _chain(sig: signal.Signals) -> None:
    global _chained_at
    before = signal.getsignal(sig)
    known = _chained.get(sig)
    # None stands for a handler that is not Python's and could not be called.
    if before is None or before is signal.SIG_IGN or (known and before is known[0]):
        return
    # A new closure for each: with one function and a remembered `before`, a server that chains
    # us too would never be reached.
    handler = _handler(before)
    try:
        signal.signal(sig, handler)
    except ValueError:
        return  # not the main interpreter
    _chained[sig] = (handler, before)
    _chained_at = time.monotonic()


def _handler(before: _Handler) -> Callable[[int, FrameType | None], None]:
    def note(signum: int, frame: FrameType | None) -> None:
        global _is_due
        if os.getpid() != _process:  # it comes before `_forget` does
            signal.signal(signum, before)
            signal.raise_signal(signum)
            return
        drain()
        if _ends_at_once(before):
            # Supervisors repeat SIGTERM within milliseconds; who presses Ctrl-C again means it.
            is_second = bool(_deferred) and signum == signal.SIGINT
            _deferred.append((signum, before))
            if _streams == 0 or is_second or _is_due:
                _is_due = False
                _raise_deferred()
            elif len(_deferred) == 1:
                threading.Thread(target=_raise_in_time, daemon=True).start()
        elif callable(before) and not _is_a_loops_own(before):
            before(signum, frame)

    # Who looks for a server by its handler, as sse-starlette does, must still find it.
    if (owner := getattr(before, "__self__", None)) is not None:
        note.__self__ = owner  # type: ignore[attr-defined]
    return note


def _ends_at_once(handler: _Handler) -> bool:
    """Whether it would leave the streams no time: the system's default, Python's for Ctrl-C, and
    trio's, which both raise KeyboardInterrupt wherever the main thread happens to be."""
    if handler in (signal.SIG_DFL, signal.default_int_handler):
        return True
    return (getattr(handler, "__module__", None) or "").partition(".")[0] == "trio"


def _is_a_loops_own(handler: Any) -> bool:
    """Event loops set a handler that does nothing, and hear of the signal by a descriptor, also
    when ours stands. Called from a handler, uvloop's may lock up."""
    module = getattr(handler, "__module__", None) or ""
    return module.partition(".")[0] in ("asyncio", "uvloop")


def _raise_in_time() -> None:
    """In a thread of its own, since no event loop may be left to do it: when the streams have
    ended, or did not in time, have the signal come again."""
    global _is_due
    give_up = time.monotonic() + _longest
    while _streams and time.monotonic() < give_up:
        time.sleep(_STEP)
    time.sleep(_STEP)
    if not _deferred:
        return  # it was impatient
    _is_due = True
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, _deferred[0][0])  # which wakes it, wherever it waits
    else:
        signal.raise_signal(_deferred[0][0])


def _unchain() -> None:
    global _streamed
    _streamed = False
    for sig, (ours, before) in list(_chained.items()):
        del _chained[sig]
        if signal.getsignal(sig) is ours:
            signal.signal(sig, before)


def _raise_deferred() -> None:
    while _deferred:
        signum, before = _deferred.pop()
        signal.signal(signum, before)
        signal.raise_signal(signum)


def _forget() -> None:
    """In a process that was forked meanwhile: none of the streams are there, nor is anybody who
    would raise what is deferred."""
    global _lock, _process, _streams, _watching
    _process = os.getpid()
    _lock = threading.Lock()
    _streams = _watching = 0
    _deferred.clear()
    _unchain()
