"""Stores: where the events of runs are kept; `StreamStore` is what one of your own has to do."""

from .addresses import AnyStore, let_go, store_of
from .base import (
    Begun,
    Behind,
    Busy,
    Ended,
    KeyReused,
    LeaseHeld,
    NewRun,
    OnBusy,
    Page,
    RunState,
    Stale,
    StoreFull,
    StoreUnavailable,
    StreamStore,
    TooManyRuns,
    Trimmed,
    UnknownRun,
)
from .codec import EventDecoder, encode_event
from .memory import MemoryStore
from .redis import RedisStore

__all__ = [
    "AnyStore",
    "Begun",
    "Behind",
    "Busy",
    "Ended",
    "EventDecoder",
    "KeyReused",
    "LeaseHeld",
    "MemoryStore",
    "NewRun",
    "OnBusy",
    "Page",
    "RedisStore",
    "RunState",
    "Stale",
    "StoreFull",
    "StoreUnavailable",
    "StreamStore",
    "TooManyRuns",
    "Trimmed",
    "UnknownRun",
    "encode_event",
    "let_go",
    "store_of",
]
