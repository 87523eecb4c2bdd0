"""A generation as an iterator of bytes, for those who own the response themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from ..events import RunFinished
from ..formats.base import Format, is_plain
from ..options import StreamOptions
from ..runtime import Generation, Ticker
from .delivery import conclude, error_of, feed_of

__all__ = ["encoded"]


async def encoded(
    make: Callable[[], Generation], format: Format, options: StreamOptions
) -> AsyncGenerator[bytes, None]:
    """Make and start the generation at the first step; end it when this is closed or cancelled.

    Before the first step there may be no event loop to make it in.

    Raises:
        LLMStreamError: of a format that has no word for a failure, so that whoever sends this
            breaks the connection off.
    """
    generation = make()
    follower = generation.log.follow()
    feed = feed_of(follower, format, options, generation.fail)
    ticker = Ticker.current(options.clock)
    generation.start()
    feed.commit()  # the response is somebody else's
    ticker.add(feed, options.clock.now() + feed.patience)
    had_the_end = False
    try:
        while feed.end is None:
            body = feed.take()
            if body is None:
                await feed.wait()
            elif body:
                yield body
                feed.sent()
        had_the_end = True
        if is_plain(format) and not isinstance(feed.end, RunFinished):
            raise error_of(feed.end)
    finally:
        ticker.remove(feed)
        if options.on_disconnect == "cancel":
            generation.stop("disconnected")
        follower.leave(had_the_end=had_the_end)
        if options.on_disconnect == "complete":
            # How a framework tells of the disconnect is by this very cancellation.
            with anyio.CancelScope(shield=True):
                await generation.wait()
        else:
            await conclude(generation)
