"""`accumulate`: pass a model's chunks through, and have the message that they make."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio

from ..chunks import Error, Upstream
from ..lifecycle import Underway
from ..message import Message
from ..sources import chunks_of
from .iterables import Producer, Steps, discard, open_steps

__all__ = ["Accumulation", "accumulate"]


def accumulate(source: Producer) -> Accumulation:
    """Stream `source` and keep what it says, for the next step of an agent.

        answer = accumulate(client.chat.completions.create(..., stream=True))
        async for chunk in answer:
            yield chunk
        history += answer.message.to_openai()

    Args:
        source: whatever `LLMStream` takes: a provider's stream, an awaitable of one, a
            generator, a function that returns one.
    """
    return Accumulation(source)


class Accumulation:
    """An async iterable of the source's chunks, unchanged; good for one iteration.

    The source is closed when it ends or raises, when the iteration is closed or cancelled, and
    after an `Error` chunk. A loop that is left early closes it when the garbage is collected;
    to have it closed at once use `contextlib.aclosing`.

    Attributes:
        message: what has come so far.
    """

    def __init__(self, source: Producer) -> None:
        self.message = Message()
        self._source = source
        # It holds no reference to `self`: a circle would keep both from being closed in time.
        self._opened: list[Steps] = []
        self._chunks = _pass_through(source, self.message, self._opened)

    def __aiter__(self) -> AsyncIterator[Any]:
        """The chunks.

        Raises:
            UpstreamTruncated: after the last, if the source ended in the middle of a provider's
                answer: nobody shall act on half a tool call.
            TypeError: at the first step, if there is nothing to iterate over; at a chunk that no
                producer may yield.
        """
        return self._chunks

    async def aclose(self) -> None:
        """Close the source, also if no step was taken."""
        await self._chunks.aclose()
        if not self._opened:
            await discard(self._source)


async def _pass_through(
    source: Producer, message: Message, opened: list[Steps]
) -> AsyncGenerator[Any, None]:
    steps = await open_steps(source)
    opened.append(steps)
    underway = Underway()
    try:
        advance = steps.advance()
        while True:
            try:
                item = await advance
            except StopAsyncIteration:
                underway.check()
                return
            failed = _add(message, underway, item)
            try:
                yield item
            except GeneratorExit:
                raise
            except BaseException as error:
                # It may belong to a scope that the source holds across its `yield`.
                if steps.throw is None:
                    raise
                advance = steps.throw(error)
            else:
                if failed:
                    return
                advance = steps.advance()
    finally:
        await steps.close(lambda: anyio.CancelScope(shield=True))


def _add(message: Message, underway: Underway, item: object) -> bool:
    """Add the item's chunks, and say whether one was an `Error`, after which nothing counts."""
    for chunk in chunks_of(item):
        message += chunk
        if type(chunk) is Upstream:
            underway.hear(chunk)
        if isinstance(chunk, Error):
            return True
    return False
