"""Tasks and time: how a run is made, kept, followed and ended. No ASGI.

Private: the root shows `StreamResult`, `drain` and `draining`.
"""

from .closing import Closing
from .drain import drain, draining
from .feed import Feed, Framing
from .generation import Generation
from .log import Follower, Forgotten, Log
from .reader import Readable, Reader
from .result import OnFinish, Outcome, StreamResult
from .run import Audience, Observer, Phase, Run, Stopped
from .signals import Signals, process_signals
from .ticker import Ticker

__all__ = [
    "Audience",
    "Closing",
    "Feed",
    "Follower",
    "Forgotten",
    "Framing",
    "Generation",
    "Log",
    "Observer",
    "OnFinish",
    "Outcome",
    "Phase",
    "Readable",
    "Reader",
    "Run",
    "Signals",
    "Stopped",
    "StreamResult",
    "Ticker",
    "drain",
    "draining",
    "process_signals",
]
