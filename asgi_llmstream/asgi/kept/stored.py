"""OpenAI's stored responses, as the store has them: found by owner and id, and read."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from ...errors import NotFound
from ...events import Event, RunStarted, Terminal
from ...formats import OpenAIResponses
from ...formats.openai_responses.stored import Item, kept_items, number_of, run_of, with_ids
from ...formats.shapes.fields import bad_field
from ...formats.shapes.frames import frames_of
from ...stores import NewRun, RunState, UnknownRun
from ..http import Scope
from .keeping import About, Keeping
from .reading import events_of, state_of

__all__ = ["Place", "StoredResponse", "StoredResponses"]


class Place(NamedTuple):
    """A place in a stream: behind an event, and so many server-sent events of the next one."""

    number: int
    frames: int = 0


class StoredResponse(NamedTuple):
    """A response as the store has it.

    Attributes:
        run: as it was begun.
        format: set up as its request wanted it.
        events: those that there are.
    """

    run: NewRun
    format: OpenAIResponses
    events: list[Event]

    @property
    def response(self) -> dict[str, Any]:
        """The response as it is now."""
        begun = RunStarted(1, self.run.id, self.run.created, "")
        return self.format.response_of(self.events or [begun])

    @property
    def conversation(self) -> list[Item]:
        """The items that it answers, and those of its answer."""
        asked = with_ids(self.format.input, self.run.id)
        return [*asked, *kept_items(self.response["output"])]

    def behind(self, number: int) -> Place:
        """Return the place behind this `sequence_number`.

        Raises:
            BadRequest: if there is none so large.
        """
        encode, last = self.format.encoder(), -1
        for event in self.events:
            numbers = [*map(number_of, frames_of(encode(event)))]
            past = sum(n <= number for n in numbers)
            if past < len(numbers):
                return Place(event.seq - 1, past)
            last = max(last, *numbers, -1)
        if number > last:
            raise bad_field("starting_after", "is beyond the end")
        return Place(len(self.events))

    def ends_at(self, place: Place) -> bool:
        """Tell whether nothing will ever come behind this place."""
        at_the_end = place.number == len(self.events)
        return at_the_end and any(isinstance(event, Terminal) for event in self.events[-1:])


class StoredResponses:
    """The stored responses of an application.

    Args:
        keeping: how its streams are kept.
        format: what its responses are asked in.
    """

    def __init__(self, keeping: Keeping, format: OpenAIResponses) -> None:
        self._keeping = keeping
        self._store = keeping.store
        self._format = format

    async def find(self, id: str, scope: Scope) -> RunState:
        """Return how a response is.

        Raises:
            NotFound: if who asks has none of this id.
        """
        try:
            return await self.state(await self._keeping.owner_of(scope), run_of(id))
        except UnknownRun:
            said = f"There is no response {id!r}: it was not stored, or it has expired."
            raise NotFound(said, code="response_not_found") from None

    async def state(self, owner: str, run: str) -> RunState:
        """Return how a response of this owner is.

        Raises:
            UnknownRun: if there is none of this run.
        """
        state = await state_of(self._store, owner, run)
        if About.read(state.run).route != self._format.route:
            raise UnknownRun()  # it was asked in another protocol
        return state

    async def read(self, state: RunState) -> StoredResponse:
        """Return a response with its events.

        Raises:
            LLMStreamError: if they are not there any more.
        """
        run = state.run
        events = [event async for event in events_of(self._store, run.owner, run.id)]
        return StoredResponse(run, self.format_of(run), events)

    def format_of(self, run: NewRun) -> OpenAIResponses:
        """Return the format as the response's request wanted it."""
        return cast(OpenAIResponses, About.read(run).set_up(self._format))
