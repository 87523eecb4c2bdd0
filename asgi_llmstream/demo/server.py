"""uvicorn, owned by the demo: a signal ends everything at once, open streams included."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from .app import Demo

__all__ = ["DemoServer"]

# Seconds that streams get for their last words. They need milliseconds, unless a reader stalls.
_LAST_WORDS = 0.4
# And then whatever else still runs; uvicorn takes whole seconds.
_LAST_RESORT = 1


class DemoServer(uvicorn.Server):
    """Serves the demo until SIGINT or SIGTERM.

    Args:
        demo: the application.
        on_ready: called once when connections are accepted.
    """

    def __init__(self, demo: Demo, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                demo,
                lifespan="on",
                log_level="warning",
                timeout_graceful_shutdown=_LAST_RESORT,
            )
        )
        self._demo = demo
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own would raise the signal again after the shutdown: for a server that someone
        # else runs that is right, here it turns a wanted end into a traceback.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._demo.stop()
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._abort_connections)
        await super().shutdown(sockets)

    def _abort_connections(self) -> None:
        """Drop what stalled readers do not take: uvicorn would wait until they have."""
        for connection in tuple(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
