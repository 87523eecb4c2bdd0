"""Producers of any kind: iterables, threads, callbacks, and what passes their words on.

Private: the root shows `accumulate`, `chunks`, `from_callbacks` and `Emitter`.
"""

from .accumulate import accumulate
from .callbacks import Emitter, from_callbacks
from .iterables import Steps, discard, open_steps
from .kinds import Producer, Stream, is_function, is_producer, is_reusable, name_of
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
    "is_function",
    "is_producer",
    "is_reusable",
    "name_of",
    "open_steps",
]
