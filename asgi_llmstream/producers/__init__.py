"""Producers of any kind: iterables, threads, callbacks, and one whose words are kept.

Private: the root shows `accumulate`, `from_callbacks` and `Emitter`.
"""

from .accumulate import accumulate
from .callbacks import Emitter, from_callbacks
from .iterables import Producer, Steps, Stream, discard, is_reusable, open_steps

__all__ = [
    "Emitter",
    "Producer",
    "Steps",
    "Stream",
    "accumulate",
    "discard",
    "from_callbacks",
    "is_reusable",
    "open_steps",
]
