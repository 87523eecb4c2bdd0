"""The AI SDK's text stream protocol."""

from .stream import TextStream

__all__ = ["TextStream"]
