"""Wire formats: a folder for each protocol. Synchronous and deterministic, no I/O.

In every folder `stream` holds the format and writes events as bytes, and `request` reads a body
into a `ChatRequest`; some have a `whole` for answers in one piece, their `words` and an `openapi`.
What several protocols share is in `shapes`.
"""

from typing import Literal

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

FormatName = Literal["openai", "responses", "anthropic", "ui", "ag-ui", "events", "text"]

BY_NAME: dict[FormatName, type[RequestFormat]] = {
    "openai": OpenAIChat,
    "responses": OpenAIResponses,
    "anthropic": AnthropicMessages,
    "ui": UIMessages,
    "ag-ui": AGUI,
    "events": Events,
    "text": TextStream,
}
"""The protocols by the names that stand for them, set up as they are by default."""

AnyFormat = Format | type[Format] | FormatName
"""As users may say which: one that is set up, its class, or its name."""

AnyRequestFormat = RequestFormat | type[RequestFormat] | FormatName
"""The same of those that have requests."""

DEFAULT_FORMATS: tuple[RequestFormat, ...] = tuple(make() for make in BY_NAME.values())
"""Every protocol that `ChatApp` speaks."""
