"""Wire formats: a folder for each protocol. Synchronous and deterministic, no I/O.

In every folder `stream` holds the format and writes events as bytes, and `request` reads a body
into a `ChatRequest`; some have a `whole` for answers in one piece, their `words` and an `openapi`.
What several protocols share is in `shapes`.
"""

from .ag_ui import AGUI
from .anthropic_messages import AnthropicMessages
from .base import DocumentedFormat, Encoder, Format, PlainFormat, RequestFormat, WholeFormat
from .events import Events
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .text_stream import TextStream
from .ui_messages import UIMessages

__all__ = [
    "AGUI",
    "DEFAULT_FORMATS",
    "AnthropicMessages",
    "DocumentedFormat",
    "Encoder",
    "Events",
    "Format",
    "OpenAIChat",
    "OpenAIResponses",
    "PlainFormat",
    "RequestFormat",
    "TextStream",
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
    TextStream(),
)
"""Every protocol that `ChatApp` speaks."""
