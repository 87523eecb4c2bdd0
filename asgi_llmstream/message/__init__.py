"""The answer as it builds up: a fold over events, its history, its stored form.

Private: the root shows `Message` and `MessageToolCall`.
"""

from .content import MessagePart, MessageToolCall, merge_fields
from .message import Message

__all__ = ["Message", "MessagePart", "MessageToolCall", "merge_fields"]
