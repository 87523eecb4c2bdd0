"""A generation as an iterator of bytes, for those who own the response themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from ..formats.base import Encoder
from ..options import StreamOptions
from ..runtime import Feed, Generation, Ticker
from .delivery import conclude

__all__ = ["encoded"]


async def encoded(
    make: Callable[[], Generation], encode: Encoder, options: StreamOptions
) -> AsyncGenerator[bytes, None]:
    """Make and start the generation at the first step; end it when this is closed or cancelled.

    Before the first step there may be no event loop to make it in.
    """
    generation = make()
    follower = generation.log.follow()
    feed = Feed(follower, encode, options, generation.fail)
    ticker = Ticker.current(options.clock)
    generation.start()
    feed.commit()  # the response is somebody else's
    ticker.add(feed, options.clock.now() + feed.patience)
    try:
        while feed.end is None:
            body = feed.take()
            if body is None:
                await feed.wait()
            elif body:
                yield body
                feed.sent()
    finally:
        ticker.remove(feed)
        if options.on_disconnect == "cancel":
            generation.stop("disconnected")
        follower.leave(had_the_end=feed.end is not None)
        if options.on_disconnect == "complete":
            # How a framework tells of the disconnect is by this very cancellation.
            with anyio.CancelScope(shield=True):
                await generation.wait()
        else:
            await conclude(generation)
