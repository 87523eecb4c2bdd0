"""The state machine: chunks in, well-ordered events out."""

from .machine import Lifecycle

__all__ = ["Lifecycle"]
