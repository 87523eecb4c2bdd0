"""Reading a source on behalf of somebody who passes on what it says: as it is, or as chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from itertools import count
from typing import Any

import anyio

from ..chunks import Chunk, Error, Native, Upstream
from ..lifecycle import Underway
from ..sources import Reading
from .iterables import Steps, open_steps
from .kinds import Producer

__all__ = ["chunks", "read_through"]


def chunks(source: Producer) -> AsyncGenerator[Chunk, None]:
    """Read any provider's stream as chunks of ours, to be looked at, changed or left out.

        async for chunk in chunks(client.chat.completions.create(..., stream=True)):
            match chunk:
                case Reasoning():
                    pass
                case _:
                    yield chunk

    Where a provider's answer begins and ends, a note comes along that no client sees: pass on what
    you do not know. A provider's own fields that we have no word for are left out, since a filter
    could not see what is in them.

    The source is closed when it ends or raises, when the iteration is closed or cancelled, and
    after an `Error`.

    Args:
        source: whatever `LLMStream` takes: a provider's stream, an awaitable of one, a
            generator, a function that returns one.

    Raises:
        UpstreamTruncated: after the last chunk, if the source ended in the middle of a
            provider's answer.
        TypeError: at the first step, if there is nothing to iterate over; at an item that no
            producer may yield.
    """
    return read_through(source, _Shown(), [])


class _Shown:
    """Chooses what `chunks` yields.

    Each object of a provider's has a note of its own, which would stand between two pieces of a
    text. One when the first answer has begun, and one when none is under way, tell the lifecycle
    as much, also that a loop was left early; and `read_through` looks at all of them.
    """

    def __init__(self) -> None:
        self._underway = Underway()
        self._call = f"chunks {next(_NUMBERS)}"

    def __call__(self, item: object, said: list[Chunk]) -> Iterator[Chunk]:
        for chunk in said:
            if isinstance(chunk, Upstream):
                was = bool(self._underway)
                self._underway.hear(chunk)
                if bool(self._underway) is not was:
                    yield Upstream("over" if was else "speaking", self._call)
            elif not isinstance(chunk, Native):
                yield chunk


_NUMBERS = count()


_Show = Callable[[object, list[Chunk]], Iterable[Any]]


async def read_through(
    source: Producer, show: _Show, opened: list[Steps]
) -> AsyncGenerator[Any, None]:
    """Step `source` to its end, and close it whatever happens.

    Args:
        source: as for `LLMStream`.
        show: returns what is to be yielded for an item and the chunks that it stands for.
        opened: gets the opened source.

    Raises:
        UpstreamTruncated: as for `chunks`, as is the other.
    """
    steps = await open_steps(source)
    opened.append(steps)
    reading, underway = Reading(), Underway()
    to_yield: deque[Any] = deque()
    try:
        advance = steps.advance()
        while True:
            try:
                item = await advance
            except StopAsyncIteration:
                underway.check()
                for last in _last(reading, show):
                    yield last
                return
            try:
                said = _hear(reading.chunks_of(item), underway)
            except (TypeError, ValueError) as error:
                raise await steps.blame(error) from None
            to_yield.extend(show(item, said))
            while to_yield:
                try:
                    yield to_yield.popleft()
                except GeneratorExit:
                    raise
                except BaseException as error:
                    # It may belong to a scope that the source holds across its `yield`.
                    if steps.throw is None:
                        raise
                    advance = steps.throw(error)
                    break
            else:
                if said and isinstance(said[-1], Error):
                    return
                advance = steps.advance()
    finally:
        await steps.close(lambda: anyio.CancelScope(shield=True))


def _last(reading: Reading, show: _Show) -> Iterable[Any]:
    """Return what is to be yielded behind bytes that ended inside a character: no more of them."""
    return show(b"", [*reading.end()]) if reading.cut else ()


def _hear(chunks: Iterable[Chunk], underway: Underway) -> list[Chunk]:
    """Return an item's chunks up to an `Error`, after which nothing counts."""
    said: list[Chunk] = []
    for chunk in chunks:
        said.append(chunk)
        if isinstance(chunk, Upstream):
            underway.hear(chunk)
        if isinstance(chunk, Error):
            break
    return said
