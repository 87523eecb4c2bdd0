"""`LLMStreamMiddleware`: heartbeats, limits and honest ends for streams that exist already."""

from __future__ import annotations

from ..arguments import check_app, check_on_finish, explains, options_of
from ..asgi.admission import Door
from ..asgi.http import App, Receive, Scope, Send
from ..options import DEFAULT_OPTIONS, StreamOptions
from ..runtime import OnFinish, process_signals
from .relay import Relay

__all__ = ["LLMStreamMiddleware"]


class LLMStreamMiddleware:
    """Wraps an ASGI application whose responses may be `text/event-stream`.

    Event streams get heartbeats between their events, headers against buffering, `send_timeout`,
    `total_timeout`, `max_streams`, `max_stream_size` and the drain. An application that raises or
    returns in mid-stream aborts the connection instead of ending it cleanly, which a client would
    take for the end; so does one that is stopped. It is told by `http.disconnect`, and cancelled
    if it has not returned after `close_timeout`. Everything else passes through as it is: other
    responses, event streams with a content encoding, web sockets.

    Of a request's body that it does not read while it streams, 1 MiB waits for it; after
    `send_timeout` it is given up, or nobody would hear that the client has gone.

    Streams of this package below it take its options, unless they have their own.

    Args:
        app: the application.
        options: in seconds and bytes; those that are named above count, and the buffer sizes.
        on_finish: called once per event stream with its `StreamResult`, after that of a stream
            of this package. Of others it knows outcome, timings and `scope`, not the message.

    Raises:
        TypeError: if an argument is none of its kind, or is called with others than it takes.
    """

    @explains
    def __init__(
        self,
        app: App,
        options: StreamOptions = DEFAULT_OPTIONS,
        *,
        on_finish: OnFinish | None = None,
    ) -> None:
        check_app(app)
        check_on_finish(on_finish)
        options = options_of(options)
        self._app = app
        self._door = Door(options, on_finish, options.max_streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, as ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with process_signals.watching():
            await Relay(scope, receive, send, self._door).call(self._app)
