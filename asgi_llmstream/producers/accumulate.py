"""`accumulate`: pass a model's chunks through, and have the message that they make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ..chunks import Chunk
from ..message import Message
from .iterables import Steps, discard
from .kinds import Producer
from .through import read_through

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
        self.message = message = Message()
        self._source = source
        self._opened: list[Steps] = []

        # It holds no reference to `self`: a circle would keep both from being closed in time.
        def add(item: object, said: list[Chunk]) -> tuple[object]:
            nonlocal message
            for chunk in said:
                message += chunk
            return (item,)

        self._chunks = read_through(source, add, self._opened)

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
