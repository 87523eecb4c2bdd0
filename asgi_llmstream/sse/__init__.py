"""Server-sent events: one event, one decoder (WHATWG HTML section 9.2)."""

from .decoder import Parser, parse_sse
from .event import HEARTBEAT, Boundaries, ServerSentEvent, last_event_id

__all__ = [
    "HEARTBEAT",
    "Boundaries",
    "Parser",
    "ServerSentEvent",
    "last_event_id",
    "parse_sse",
]
