"""Server-sent events: one event, one decoder (WHATWG HTML section 9.2)."""

from .decoder import Decoder, parse_sse
from .event import HEARTBEAT, ServerSentEvent, last_event_id

__all__ = [
    "HEARTBEAT",
    "Decoder",
    "ServerSentEvent",
    "last_event_id",
    "parse_sse",
]
