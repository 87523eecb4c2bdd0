"""Plain typed events for a browser's `EventSource`."""

from .stream import Events

__all__ = ["Events"]
