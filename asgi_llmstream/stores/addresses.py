"""Stores by their address."""

from __future__ import annotations

from typing import TypeAlias

from ..arguments import check_store
from .base import StreamStore
from .redis import RedisStore

__all__ = ["AnyStore", "let_go", "store_of"]

AnyStore: TypeAlias = StreamStore | str
"""A store, or the address of a Redis or Valkey server, as "redis://localhost:6379/0"."""

# So that a route, its lifespan and each of its requests mean the same one.
_BY_ADDRESS: dict[str, RedisStore] = {}


def store_of(store: AnyStore) -> StreamStore:
    """Return the store that is meant: with the same address always the same.

    Raises:
        TypeError: if it is none.
        ValueError: if it is an address of nothing.
        ImportError: if redis-py is not installed.
    """
    if isinstance(store, str):
        if store not in _BY_ADDRESS:
            _BY_ADDRESS[store] = RedisStore(store)
        return _BY_ADDRESS[store]
    check_store(store)
    return store


async def let_go(store: StreamStore) -> None:
    """Close what a store has open in this event loop, if it was given by its address: nobody else
    can. A call opens it again."""
    if isinstance(store, RedisStore) and store in _BY_ADDRESS.values():
        await store.aclose()
