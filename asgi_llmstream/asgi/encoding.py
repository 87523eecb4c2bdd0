"""A generation as an iterator of bytes, for those who own the response themselves."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable

import anyio

from ..backend import spawn
from ..errors import ReadTooLate
from ..events import RunFinished
from ..formats.base import Format, says_failures
from ..options import StreamOptions
from ..runtime import Feed, Generation, Stopped, Ticker
from .delivery import conclude, error_of, pieces_of
from .streamed import options_for

__all__ = ["encoded"]


async def encoded(
    make: Callable[[], Generation], format: Format, options: StreamOptions
) -> AsyncGenerator[bytes, None]:
    """Make and start the generation at the first step; end it when this is closed or cancelled.

    Before the first step there may be no event loop to make it in.

    Raises:
        ReadTooLate: to a reader that was given up meanwhile.
        LLMStreamError: of a format that has no word for a failure, so that whoever sends this
            breaks the connection off.
    """
    reading = _Reading(make(), format, options)
    feed = reading.feed
    try:
        while feed.end is None:
            body = feed.take()
            if body is None:
                await feed.wait()
            elif body:
                for piece in pieces_of(body):
                    reading.is_away()
                    yield piece
                    reading.is_back()
                feed.sent()
        reading.had_the_end = True
        if not (says_failures(format) or isinstance(feed.end, RunFinished)):
            raise error_of(feed.end)
    finally:
        reading.leave("disconnected")
        await reading.conclude()


class _Reading:
    """A generation, and whoever iterates over its bytes.

    While the reader is away, with a piece for the client, it may be dropped without being closed:
    in a cycle of references, which stays until the garbage is collected.

    Args:
        generation: not started yet.
        format: of the bytes.
        options: `send_timeout`, `on_disconnect` and those of the feed count.

    Attributes:
        feed: of the bytes.
        had_the_end: whether the reader came back for more than the last piece.
    """

    def __init__(self, generation: Generation, format: Format, options: StreamOptions) -> None:
        self._generation = generation
        self._follower = generation.log.follow()
        self.feed = Feed(
            self._follower, format.encoder(), options_for(format, options), generation.fail
        )
        self.had_the_end = False
        self._options = options
        self._now = options.clock.now
        self._timeout = math.inf if options.send_timeout is None else options.send_timeout
        self._give_up_at = math.inf  # on a reader that is away
        self._given_up = False
        self._ticker = Ticker.current(options.clock)
        generation.start()
        self.feed.commit()  # the response is somebody else's
        self._ticker.add(self, self._now() + self._patience)
        self._watcher = spawn(self._leave_with_the_loop)

    def is_away(self) -> None:
        """Note that the reader gets a piece."""
        self._give_up_at = self._now() + self._timeout

    def is_back(self) -> None:
        """Note that it wants the next.

        Raises:
            ReadTooLate: if it was given up.
        """
        self._give_up_at = math.inf
        if self._given_up:
            raise ReadTooLate(
                f"nobody read this stream on for send_timeout ({self._timeout} s), and so it was "
                "given up: read on in time, or give StreamOptions a longer send_timeout"
            )

    def leave(self, how: Stopped) -> None:
        """Read no more."""
        self._watcher.cancel()
        self._ticker.remove(self)
        if self._options.on_disconnect != "complete":
            self._generation.stop(how)
        self._follower.leave(had_the_end=self.had_the_end)

    async def conclude(self) -> None:
        """Wait until the generation is over."""
        if self._options.on_disconnect == "complete":
            # How a framework tells of the disconnect is by this very cancellation.
            with anyio.CancelScope(shield=True):
                await self._generation.wait()
        else:
            await conclude(self._generation)

    async def _leave_with_the_loop(self) -> None:
        """Leave when the event loop ends: a reader that is away then is told by nobody else, and
        the loop would wait for the generation, and that for the reader."""
        try:
            await anyio.sleep_forever()
        finally:
            self.leave("cancelled")

    def tick(self, now: float) -> float:
        if now >= self._give_up_at:
            self._given_up = True
            self.leave("stalled")
            return math.inf
        return min(self._give_up_at, now + self._patience, self.feed.tick(now))

    @property
    def _patience(self) -> float:
        """No deadline can begin and pass within so many seconds: looking as often is enough."""
        return min(self._timeout, self.feed.patience)
