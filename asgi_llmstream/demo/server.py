"""The demo's server: uvicorn as it is. What ends its streams is the package's own drain."""

from __future__ import annotations

import signal
from types import FrameType

import uvicorn

from .app import Demo

__all__ = ["server_of"]

# Seconds for readers that take nothing any more, when every stream has ended; a whole number.
_LAST_RESORT = 1


def server_of(demo: Demo) -> uvicorn.Server:
    """Return the server, to be run in this thread. From here on SIGINT and SIGTERM end it."""
    config = uvicorn.Config(
        demo, lifespan="on", log_level="warning", timeout_graceful_shutdown=_LAST_RESORT
    )
    server = uvicorn.Server(config)

    def end(signum: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # For a signal that is early. And uvicorn raises its own once more when it has ended, which
    # would end the command with a traceback, or as if it was killed.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, end)
    return server
