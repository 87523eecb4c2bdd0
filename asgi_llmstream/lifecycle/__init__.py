"""The state machine: chunks in, well-ordered events out. Private."""

from .machine import Lifecycle
from .underway import Underway

__all__ = ["Lifecycle", "Underway"]
