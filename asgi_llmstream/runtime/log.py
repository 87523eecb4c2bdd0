"""The log: a run's events in order, written once, read by any number of followers.

Events are numbered from 1 without gaps, as their `seq` says. Writer and followers run in one
event loop, so looking and waiting need no lock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio.lowlevel

from ..backend import wakeup
from ..events import Event, PartDelta, size_of

__all__ = ["Follower", "Forgotten", "Log"]


class Forgotten(Exception):
    """The events after this cursor are not in the log any more."""


class Log:
    """The events of one run.

    It forgets what no holding follower still has to take, unless it is `kept`.

    Args:
        max_events: how many events a holding follower may be behind before the writer has to
            wait.
        max_size: how many characters it may be.
        kept: forget nothing, so that a follower may begin at any event.
        published_later: have followers see events only when `publish` says so: a store's writer
            calls it after its append has succeeded.
        after: the number of the last event before those that it holds.

    Attributes:
        last: the number of the last event.
        published: the watermark: the number of the last event that followers see.
        full: whether the writer should wait for `room`.
        left_early: whether a holding follower left without the end.
    """

    def __init__(
        self,
        max_events: int,
        max_size: int,
        *,
        kept: bool = False,
        published_later: bool = False,
        after: int = 0,
    ) -> None:
        self.last = self.published = after
        self.full = False
        self.left_early = False
        self._max_events = max_events
        self._max_size = max_size
        self._kept = kept
        self._published_later = published_later
        self._events: list[Event] = []  # the window: all from `_first` on
        self._first = after + 1
        self._size = 0  # of all events that there ever were
        self._followers: list[Follower] = []
        self._limit: float = math.inf
        self._size_limit: float = math.inf
        self._taken = wakeup()
        self._leaving = wakeup()
        self._closed: Exception | None = None

    # The writer's side.

    def append(self, events: Sequence[Event]) -> None:
        """Add events. Never blocks: look at `full` afterwards."""
        self.last = last = self.last + len(events)
        for event in events:
            self._size += len(event.text) if type(event) is PartDelta else size_of(event)
        if self._followers or self._kept or self._published_later:
            self._events += events
            self.full = last >= self._limit or self._size >= self._size_limit
            if len(self._events) > self._max_events:
                self._move_on()
        else:
            self._first = last + 1
        if self._published_later:
            self._wake(ahead=True)
            return
        self.published = last
        for follower in self._followers:
            follower.wake()

    def publish(self, number: int) -> None:
        """Let followers see the events up to this one."""
        self.published = number
        self._move_on()
        self._wake(ahead=False)

    def _wake(self, *, ahead: bool) -> None:
        for follower in self._followers:
            if follower.ahead is ahead:
                follower.wake()

    def retract(self) -> None:
        """Take back what is not published."""
        del self._events[self.published + 1 - self._first :]
        self.last = self.published

    def close(self, reason: Exception) -> None:
        """Add nothing more: a follower who has all that there is gets the reason raised."""
        self._closed = reason
        for follower in self._followers:
            follower.wake()

    async def room(self) -> None:
        """Let others run, until every holding follower is near enough or has left."""
        if not self.full:
            await anyio.lowlevel.checkpoint()
        while self.full:
            await self._taken.wait()

    async def read(self) -> None:
        """Wait until every holding follower has left."""
        while self._limit < math.inf:
            await self._leaving.wait()

    # The followers' side.

    def follow(self, after: int = 0, *, holds: bool = True, ahead: bool = False) -> Follower:
        """Begin to follow behind the event of this number.

        Args:
            after: a cursor; 0 begins at the first event.
            holds: whether the log keeps for the follower what it has not taken, and the writer
                waits when that is too much. If not, what it leaves too long is forgotten: all but
                the last `max_events`.
            ahead: see events before they are published, as their publisher has to.

        Raises:
            Forgotten: if the next event is not in the log any more.
            ValueError: if there is no event of this number yet.
        """
        if after > self.last:
            raise ValueError(f"there is no event {after} yet: the last one is {self.last}")
        behind = sum(map(size_of, self._after(after)))
        follower = Follower(self, after, self._size - behind, holds=holds, ahead=ahead)
        self._followers.append(follower)
        self._move_on()
        return follower

    def _after(self, number: int) -> list[Event]:
        """The events behind this one."""
        if number < self._first - 1:
            raise Forgotten(f"the events before {self._first} are forgotten")
        return self._events[number + 1 - self._first :]

    def _take(self, follower: Follower, until: int) -> list[Event]:
        is_alone = len(self._followers) == 1 and follower.holds and not self._kept
        if is_alone and self.published == self.last and follower.cursor == self._first - 1:
            return self._take_all(follower)
        events = self._after(follower.cursor)[: until - follower.cursor]
        follower.cursor = until
        if follower.holds:  # of the others there may be many, and nobody waits for them
            follower.taken_size += sum(map(size_of, events))
            self._move_on()
        return events

    def _take_all(self, follower: Follower) -> list[Event]:
        """Mostly there is one reader, who takes what there is."""
        events, self._events = self._events, []
        follower.cursor = last = self.last
        follower.taken_size = self._size
        self._first = last + 1
        self._limit = last + self._max_events
        self._size_limit = self._size + self._max_size
        if self.full:
            self.full = False
            self._taken.set()
        return events

    def _leave(self, follower: Follower, had_the_end: bool) -> None:
        self._followers.remove(follower)
        if follower.holds:
            self.left_early = self.left_early or not had_the_end
        self._move_on()
        self._leaving.set()

    def _move_on(self) -> None:
        """Forget what every holding follower has, and look again whether the writer may go on."""
        holding = [follower for follower in self._followers if follower.holds]
        slowest = min((follower.cursor for follower in holding), default=math.inf)
        self._limit = slowest + self._max_events
        taken_size = min((follower.taken_size for follower in holding), default=math.inf)
        self._size_limit = taken_size + self._max_size
        self.full = self.last >= self._limit or self._size >= self._size_limit
        if not self.full:
            self._taken.set()
        if not self._kept:
            # What is not published yet is nowhere else.
            self._forget(int(min(slowest, self._window_begins(), self.published)))

    def _window_begins(self) -> float:
        """The cursor of the slowest follower that does not hold, if it is not too far behind."""
        cursors = (follower.cursor for follower in self._followers if not follower.holds)
        return max(min(cursors, default=math.inf), self.last - self._max_events)

    def _forget(self, number: int) -> None:
        """Forget the events up to this one."""
        if number >= self._first:
            del self._events[: number + 1 - self._first]
            self._first = number + 1


class Follower:
    """One reader's place in a log: `Log.follow` makes it.

    Attributes:
        cursor: the number of the last event that it has taken.
        taken_size: how many characters there were up to it.
        holds: see `Log.follow`.
        ahead: likewise.
        wait: waits until there may be something to take, or somebody calls `wake`.
        wake: has `wait` return.
    """

    def __init__(self, log: Log, cursor: int, taken_size: int, *, holds: bool, ahead: bool) -> None:
        self.cursor = cursor
        self.taken_size = taken_size
        self.holds = holds
        self.ahead = ahead
        self._log = log
        news = wakeup()
        self.wait = news.wait
        self.wake = news.set
        self._has_left = False

    def take(self) -> list[Event]:
        """Return everything that is ready; nothing if nothing is.

        Raises:
            Forgotten: if it does not hold, and the next event is not in the log any more.
            Exception: the reason for which the log was closed, if there is nothing more.
        """
        log = self._log
        until = log.last if self.ahead else log.published
        if until > self.cursor and not self._has_left:
            return log._take(self, until)
        if log._closed is not None and not self._has_left:
            raise log._closed.with_traceback(None)
        return []

    def leave(self, *, had_the_end: bool = False) -> None:
        """Take nothing more: nothing is kept for it, and nobody waits for it.

        Args:
            had_the_end: whether the last event reached whom it reads for.
        """
        if not self._has_left:
            self._has_left = True
            self._log._leave(self, had_the_end)
