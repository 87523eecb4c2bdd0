"""The state machine: chunks in, well-ordered events out. Private."""

from .halves import without_halves
from .machine import Lifecycle
from .underway import Underway
from .unfinished import Unfinished

__all__ = ["Lifecycle", "Underway", "Unfinished", "without_halves"]
