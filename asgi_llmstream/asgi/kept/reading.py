"""Reading along: the way in which a client reads a run that a store keeps."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from ...events import Event
from ...formats.base import Encoder, Format, cursors_of, takes_merged
from ...formats.shapes.frames import with_cursors
from ...options import StreamOptions
from ...resume import Following
from ...runtime import Ticker, draining
from ...stores import EventDecoder, RunState, StreamStore, UnknownRun
from ..delivery import Delivery
from ..http import Receive, Send
from ..streamed import StreamDelivery
from ..whole import WholeDelivery

__all__ = ["Reading", "encoder_of", "events_of", "named", "state_of"]


class Reading(Struct):
    """The way in which somebody reads a run.

    Attributes:
        format: what he reads it in.
        options: of the delivery.
        status: of the response.
        headers: of the response.
        whole: he wants it in one piece.
    """

    format: Format
    options: StreamOptions
    status: int
    headers: list[tuple[bytes, bytes]]
    whole: bool = False

    async def deliver(
        self,
        following: Following,
        receive: Receive,
        send: Send,
        encode: Encoder | None = None,
        *,
        merges: bool = True,
        has_begun: bool = False,
    ) -> None:
        """Deliver what is read.

        Args:
            following: reads the run.
            receive: the server's, as is the other.
            encode: see `StreamDelivery`, as for the others.
        """
        kind: type[Delivery] = WholeDelivery if self.whole else StreamDelivery
        how: dict[str, Any] = {"status": self.status, "headers": self.headers}
        if not self.whole:
            merges = merges and takes_merged(self.format)
            how |= {"encode": encode, "merges": merges, "has_begun": has_begun}
        delivery = kind(following, following, self.format, self.options, send, **how)
        leaving = _LeavingAtDrain(delivery, following)
        ticker = Ticker.current(self.options.clock)
        ticker.add(leaving, math.inf)
        try:
            await delivery.run(receive)
        finally:
            ticker.remove(leaving)


class _LeavingAtDrain:
    """Breaks a delivery off when the process is told to end, and the run goes on elsewhere: its
    reader comes back, and gets the rest there."""

    def __init__(self, delivery: Delivery, following: Following) -> None:
        self._delivery = delivery
        self._following = following

    def tick(self, now: float) -> float:
        if draining() and not self._following.is_made_here:
            self._delivery.give_up()
        return math.inf


def encoder_of(format: Format, run: str) -> Encoder:
    """Return an encoder whose events have cursors, where clients come back with them."""
    encode = format.encoder()
    return with_cursors(encode, run) if cursors_of(format) == "added" else encode


async def state_of(store: StreamStore, owner: str, id: str) -> RunState:
    """Return how a run is.

    Raises:
        UnknownRun: if there is none.
    """
    return (await store.read(owner, id, _BEYOND, 0)).state


async def named(store: StreamStore, owner: str, name: str) -> RunState | None:
    """Return how the run of this id is, or else the youngest of this conversation."""
    try:
        return await state_of(store, owner, name)
    except UnknownRun:
        states = await store.list_runs(owner, name)
        return states[0] if states else None


async def events_of(store: StreamStore, owner: str, id: str) -> AsyncIterator[Event]:
    """Yield the events that a run has.

    Raises:
        LLMStreamError: if there is no such run, or its beginning is not kept any more.
    """
    decoder, number = EventDecoder(), 0
    while True:
        page = await store.read(owner, id, number, _PAGE)
        for event in decoder.decode(number + 1, page.events):
            yield event
        number += len(page.events)
        if not page.events or number >= page.state.last:
            return


# Events that are read at a time.
_PAGE = 1000
# No run has so many events, so that none is missing behind it.
_BEYOND = 2**53
