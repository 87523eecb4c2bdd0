"""Wire formats: one module a protocol. Synchronous and deterministic, no I/O."""

from .ag_ui.stream import AGUI
from .anthropic_messages.stream import AnthropicMessages
from .base import Encoder, Format, RequestFormat, WholeFormat
from .events.stream import Events
from .openai_chat.stream import OpenAIChat
from .openai_responses.stream import OpenAIResponses
from .ui_messages.stream import UIMessages

__all__ = [
    "AGUI",
    "DEFAULT_FORMATS",
    "AnthropicMessages",
    "Encoder",
    "Events",
    "Format",
    "OpenAIChat",
    "OpenAIResponses",
    "RequestFormat",
    "UIMessages",
    "WholeFormat",
]

DEFAULT_FORMATS: tuple[RequestFormat, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    AnthropicMessages(),
    UIMessages(),
    AGUI(),
    Events(),
)
"""Every protocol that `ChatApp` speaks."""
