"""A client's request, whatever protocol it speaks."""

from .chat import ChatRequest
from .conversation import ChatMessage
from .pairs import NO_RESULT

__all__ = ["NO_RESULT", "ChatMessage", "ChatRequest"]
