"""AG-UI."""

from .stream import AGUI

__all__ = ["AGUI"]
