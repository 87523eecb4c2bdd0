"""Wire formats: one module a protocol. Synchronous and deterministic, no I/O."""

from .base import Encoder, Format
from .events import Events
from .openai_chat import OpenAIChat

__all__ = ["Encoder", "Events", "Format", "OpenAIChat"]
