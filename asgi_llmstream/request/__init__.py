"""A client's request, whatever protocol it speaks."""

from .chat import ChatRequest
from .conversation import ChatMessage
from .decisions import Decision, decided, denial, undecided
from .pairs import NO_RESULT
from .results import DENIED, told_of

__all__ = [
    "DENIED",
    "NO_RESULT",
    "ChatMessage",
    "ChatRequest",
    "Decision",
    "decided",
    "denial",
    "told_of",
    "undecided",
]
