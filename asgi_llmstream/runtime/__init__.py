"""Tasks and time: how a run is made, kept and ended. No ASGI."""

from .closing import Closing
from .deadlines import Deadlines
from .drain import drain, draining, stream_began, stream_ended, watching
from .generation import Generation, Stopped
from .result import OnFinish, Outcome, StreamResult, tell
from .tail import Tail
from .ticker import Ticker

__all__ = [
    "Closing",
    "Deadlines",
    "Generation",
    "OnFinish",
    "Outcome",
    "Stopped",
    "StreamResult",
    "Tail",
    "Ticker",
    "drain",
    "draining",
    "stream_began",
    "stream_ended",
    "tell",
    "watching",
]
