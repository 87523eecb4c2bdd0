"""Signals of this process, with handlers and a drain of a test's own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from asgi_llmstream.runtime import Signals
from asgi_llmstream.runtime.drain import Drain, draining

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's"),
]


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What the handler hears that stood there before, as a server's does."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_a_signal_begins_the_drain_and_reaches_whoever_stood_there(heard: list[int]) -> None:
    drain = Drain()
    signals = Signals(drain)
    with signals.watching():
        assert not drain.has_begun
        signal.raise_signal(signal.SIGTERM)
        assert drain.has_begun
    assert heard == [signal.SIGTERM]
    assert not draining()  # the process's own is another


async def test_the_handler_of_before_stands_again_when_the_last_stream_has_left(
    heard: list[int],
) -> None:
    stood = signal.getsignal(signal.SIGTERM)
    signals = Signals(Drain())
    signals.stream_began(1.0)
    signals.stream_began(1.0)
    assert signal.getsignal(signal.SIGTERM) is not stood
    signals.stream_ended()
    assert signal.getsignal(signal.SIGTERM) is not stood
    signals.stream_ended()
    assert signal.getsignal(signal.SIGTERM) is stood


async def test_a_handler_that_somebody_sets_meanwhile_is_left_alone(heard: list[int]) -> None:
    signals = Signals(Drain())
    signals.stream_began(1.0)

    def theirs(signum: int, frame: object) -> None:
        heard.append(-signum)

    signal.signal(signal.SIGTERM, theirs)
    signals.stream_ended()
    assert signal.getsignal(signal.SIGTERM) is theirs


async def test_a_server_that_starts_anew_in_a_loop_of_its_own_does_not_inherit_the_drain() -> None:
    drain = Drain()
    drain.begin()
    drain.note_loop()  # this loop's first request comes only now
    assert not drain.has_begun
    drain.begin()
    assert drain.has_begun
