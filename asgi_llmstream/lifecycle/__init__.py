"""The state machine: chunks in, well-ordered events out. Private."""

from .halves import without_halves
from .machine import Lifecycle
from .underway import Underway

__all__ = ["Lifecycle", "Underway", "without_halves"]
