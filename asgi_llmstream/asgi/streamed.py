"""The answer as a stream, from the first chunk to the last."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ..events import RunFinished, Terminal
from ..formats.base import Encoder, Format, counts_bytes, is_plain, says_failures
from ..options import StreamOptions
from ..runtime import Feed, Framing
from .delivery import Delivery, Phase
from .http import NO_SNIFFING, RawHeaders

__all__ = ["StreamDelivery", "headers_of", "options_for"]


class StreamDelivery(Delivery):
    """The answer as an event stream.

    Args:
        framing: of a stream that was encoded elsewhere. Its headers do not wait, heartbeats
            stand between its events, and it ends without a final message where it broke off.
        encode: an encoder of the format that has seen what the reader begins behind; a new one,
            if left out.
        merges: see `Feed`.
        has_begun: the client knows of the stream already: its headers do not wait, and a failure
            before the first word is told in it.
        args: as `Delivery`'s, as are the named ones.
    """

    def __init__(
        self,
        *args: Any,
        framing: Framing | None = None,
        encode: Encoder | None = None,
        merges: bool = True,
        has_begun: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._framing = framing
        self._waits = framing is None and not has_begun
        self._says_failures = framing is None and says_failures(self._format)
        self._feed = Feed(
            self._reader,
            encode or self._format.encoder(),
            options_for(self._format, self._options),
            self._run.fail,
            framing,
            merges,
        )

    async def _deliver(self) -> None:
        if self._waits and (failed := await self._feed.begin()) is not None:
            await self._send_error(failed)
            return
        await self._start(self._status, self._headers)
        self._feed.commit()
        await self._follow()

    async def _follow(self) -> None:
        feed = self._feed
        while feed.end is None:
            body = feed.take()
            if body is None:
                await feed.wait()
                continue
            more = feed.end is None or self._breaks_off(feed.end)
            if body or not more:
                await self._send_body(body, more=more)
                feed.sent()

    def _breaks_off(self, end: Terminal) -> bool:
        """Return whether the stream is to end without a final message: as it did elsewhere, or
        because the format has no word for a failure."""
        return not (self._says_failures or isinstance(end, RunFinished))

    async def _end_in_haste(self) -> None:
        if self._phase is Phase.WAITING:
            await self._send_error(None)
            return
        feed = self._feed
        while feed.end is None and (body := feed.take()) is not None:
            more = feed.end is None or self._breaks_off(feed.end)
            await self._send_body(body, more=more)

    def tick(self, now: float) -> float:
        return min(super().tick(now), self._feed.tick(now))

    @property
    def _patience(self) -> float:
        return min(super()._patience, self._feed.patience)


# Of every format; what the user sets wins.
_STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    NO_SNIFFING,
)


def headers_of(format: Format) -> RawHeaders:
    """Return the headers of a stream in this format."""
    media_type = format.media_type if is_plain(format) else "text/event-stream; charset=utf-8"
    content_type = (b"content-type", media_type.encode("ascii"))
    return (content_type, *_STREAM_HEADERS, *format.headers)


def options_for(format: Format, options: StreamOptions) -> StreamOptions:
    """Return the options of a stream in this format: one that is no event stream has no
    heartbeats, and one whose client counts bytes."""
    if is_plain(format) or counts_bytes(format):
        return replace(options, heartbeat_interval=None)
    return options
