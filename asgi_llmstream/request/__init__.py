"""A client's request, whatever protocol it speaks."""

from .chat import ChatRequest
from .conversation import ChatMessage

__all__ = ["ChatMessage", "ChatRequest"]
