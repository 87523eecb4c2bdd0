"""The AI SDK's UI message stream."""

from .stream import UIMessages

__all__ = ["UIMessages"]
