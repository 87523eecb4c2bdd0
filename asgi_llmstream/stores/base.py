"""The interface of a store, which keeps runs so that clients can leave, come back and follow.

A run has one writer, whose *claim* is an epoch, and any number of readers. Its events are numbered
from 1 without gaps, the last one is its *terminal*. Every look-up is by owner and id, so that
another owner's run is an unknown one. Events are opaque bytes here: see `codec`.

A run is *live* until it has its terminal. Its writer has to append something, or nothing, at least
every `lease` seconds: a run that is live although its lease is over has lost its producer, and
whoever finds it so may `seal` it. From its terminal on it is kept for the store's retention, and a
lost one that nobody seals as long from the end of its lease. Reading extends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from ..errors import LLMStreamError, NotFound, Overloaded, RateLimited

__all__ = [
    "Begun",
    "Behind",
    "Busy",
    "Ended",
    "KeyReused",
    "LeaseHeld",
    "NewRun",
    "OnBusy",
    "Page",
    "RunState",
    "Stale",
    "StoreFull",
    "StoreUnavailable",
    "StreamStore",
    "TooManyRuns",
    "Trimmed",
    "UnknownRun",
]

OnBusy = Literal["replace", "refuse"]
"""What a new run does to a live one of the same key: end it, or give way to it."""


class NewRun(Struct, frozen=True, kw_only=True):
    """A run that is to begin.

    Attributes:
        owner: whose it is; "" where nobody was identified.
        id: names it; never used before.
        key: names the conversation, within those of the owner; "" for none.
        request: a digest of what was asked: the same question again joins the live run.
        idempotency_key: names the question; "" for none. The same again, within retention, is
            the same run.
        created: when, in Unix seconds.
        about: what its readers have to know beside its events; no business of the store's.
    """

    owner: str
    id: str
    key: str = ""
    request: str = ""
    idempotency_key: str = ""
    created: int = 0
    about: bytes = b""


class RunState(Struct, frozen=True, kw_only=True):
    """A run as a store tells of it.

    Attributes:
        run: as it was begun.
        first: the number of the first event that is kept.
        last: the number of the last event.
        outcome: the word for its end; "" while it is live.
        stopping: somebody asked it to end while it was live.
        expires: when it is forgotten, in Unix seconds; None while it is live.
    """

    run: NewRun
    first: int = 1
    last: int = 0
    outcome: str = ""
    stopping: bool = False
    expires: float | None = None

    @property
    def is_live(self) -> bool:
        """Tell whether it has no terminal yet."""
        return not self.outcome


class Begun(NamedTuple):
    """The answer to a request to begin.

    Attributes:
        state: of the run that answers the request.
        epoch: the writer's claim on it; 0 if the run was there already, and is another's.
        replaced: the id of the run that was told to end for it; "" if there was none.
    """

    state: RunState
    epoch: int
    replaced: str = ""


class Page(NamedTuple):
    """Events of a run, and its state as it was at that moment."""

    state: RunState
    events: list[bytes]


class UnknownRun(NotFound):
    """There is no such run, it is forgotten, or it is another owner's."""

    default_code = "unknown_stream"
    default_message = "There is no such stream, or it has expired."


class Trimmed(LLMStreamError):
    """The events behind this cursor are not kept any more."""

    default_status = 410
    default_code = "stream_trimmed"
    default_message = "The stream's beginning is not kept any more."


class Busy(LLMStreamError):
    """A live run has this key. `state` is its."""

    default_status = 409
    default_code = "stream_busy"
    default_message = "An answer to this conversation is still being made."

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self.state = state

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Those of every error, and which run it is."""
        return [*super().headers, (b"x-run-id", self.state.run.id.encode("ascii"))]


class KeyReused(LLMStreamError):
    """The idempotency key was used for another request."""

    default_status = 409
    default_code = "idempotency_key_reused"
    default_message = "This Idempotency-Key was used for another request."


class TooManyRuns(RateLimited):
    """The owner has as many live runs as an owner may have."""

    default_code = "too_many_streams"
    default_message = "Too many answers are being made for you at once."


class StoreFull(Overloaded):
    """The store holds as much as it may."""

    default_code = "store_full"


class StoreUnavailable(Overloaded):
    """The store did not answer, or its answer was lost: what was asked may have happened."""

    default_code = "store_unavailable"


class Stale(Exception):
    """Another one has the claim on the run, or nobody: this writer must not go on."""


class LeaseHeld(Exception):
    """The run's writer lives: nobody else may end the run."""


class Ended(Exception):
    """The run has its terminal, and it is another than the one to be written. `state` is its."""

    def __init__(self, state: RunState) -> None:
        super().__init__(f"the run ended as {state.outcome!r}")
        self.state = state


class Behind(Exception):
    """The store has fewer events than the writer thinks: go on behind `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(f"the store has {last} events")
        self.last = last


class StreamStore(Protocol):
    """A place where runs are kept. Its methods may be called from any event loop.

    Each but `wait` may raise `StoreUnavailable`; then it may have happened or not, and is to be
    asked again.

    Attributes:
        lease: seconds within which a live run's writer has to append something, or nothing.
    """

    @property
    def lease(self) -> float: ...

    async def begin(self, run: NewRun, *, on_busy: OnBusy = "replace") -> Begun:
        """Begin a run, or find the one that answers the same request already. Atomic.

        - The owner's run with this id is there: its own retried begin. Its first epoch again.
        - The owner's run with this idempotency key is there, live or ended: that one.
        - The owner's live run with this key was asked the same: that one.
        - It was asked something else: it is told to stop, and the new one has the key.

        A live run has its key no more when it was told to stop; and when its lease is over it is
        told so, whatever it was asked and whatever `on_busy` says: the new one replaces it.

        Raises:
            Busy: if it was asked something else, and `on_busy` is "refuse".
            KeyReused: if the idempotency key stands for another request.
            TooManyRuns: if the owner has too many live ones.
            StoreFull: if the store has no room.
        """

    async def append(
        self, owner: str, id: str, epoch: int, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        """Add the events behind number `after`, renew the lease, and say how the run is.

        Events that the store has are passed over, so that the same again changes nothing. No
        events only renew, also a lease that is over, unless somebody has sealed. Never creates a
        run. What is refused changes nothing.

        Args:
            owner: whose it is.
            id: names it.
            epoch: the claim, from `begin`.
            after: the number of the last event before these.
            events: one after the other, each encoded.
            outcome: with the last of them, which is the terminal; else "".

        Raises:
            UnknownRun: if it is not there (any more).
            Stale: if the claim does not hold, also after the end.
            Behind: if it has fewer events than `after`.
            Ended: if it has ended, and not with this: its last event has another number or outcome.
        """

    async def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        """End a run whose writer is gone: the events are its last, and its claim is void.

        Where it has a terminal already, that one stays, and nothing happens: whoever seals sees
        from the state which one it is.

        Raises:
            UnknownRun: as `append`.
            LeaseHeld: if its writer has renewed in time, or written more than `after`.
        """

    async def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        """Return the events behind number `after`: so many at the most, none if there are none.

        It sees all that any append was acknowledged for.

        Raises:
            UnknownRun: as `append`.
            Trimmed: if the next one is not kept any more.
        """

    async def wait(self, owner: str, id: str, after: int | None) -> None:
        """Wait until there may be news: an event behind number `after`, the end, or that it was
        forgotten. With None: until it is told to stop, has ended, or was forgotten.

        It may return early, and never raises.
        """

    async def stop(self, owner: str, id: str) -> RunState:
        """Tell a run's writer to end it; nothing, if it has ended.

        Raises:
            UnknownRun: as `append`.
        """

    async def list_runs(self, owner: str, key: str = "") -> list[RunState]:
        """Return the owner's runs, the youngest first; with a key only those of this key."""

    async def forget(self, owner: str, id: str) -> None:
        """Erase the run with all of its events, and wake who waits; nothing, if there is none."""
