"""Test streams as they come: a client that reads one event at a time, and a clock to step.

`httpx.ASGITransport` and the frameworks' test clients collect the whole body before they return
it, so with them nothing can be said about timing, heartbeats or disconnects. This client is a
small ASGI server in the test's own event loop (asyncio or trio): what the app sends is there at
once, and the test decides when the client leaves or stops reading.

    clock = ManualClock()
    chat = ChatApp(answer, options=StreamOptions(clock=clock, heartbeat_interval=10))
    async with Client(chat).stream("POST", "/chat/completions", json=question) as response:
        await response.started()
        await clock.advance(10)
        assert response.comments == 1
        response.disconnect()
        await response.returned()
"""

from ..sse import parse_sse
from .check import check_stream
from .client import Client
from .clock import ManualClock, settle
from .response import Response

__all__ = ["Client", "ManualClock", "Response", "check_stream", "parse_sse", "settle"]
