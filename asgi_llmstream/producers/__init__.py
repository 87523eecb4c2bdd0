"""Producers of any kind: iterables, threads, callbacks, and what passes their words on.

Private: the root shows `accumulate`, `chunks`, `from_callbacks` and `Emitter`.
"""

from .accumulate import accumulate
from .callbacks import Emitter, from_callbacks
from .iterables import Producer, Steps, Stream, discard, is_reusable, name_of, open_steps
from .threads import in_thread
from .through import chunks

__all__ = [
    "Emitter",
    "Producer",
    "Steps",
    "Stream",
    "accumulate",
    "chunks",
    "discard",
    "from_callbacks",
    "in_thread",
    "is_reusable",
    "name_of",
    "open_steps",
]
