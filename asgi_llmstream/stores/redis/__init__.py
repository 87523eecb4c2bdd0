"""Runs in a Redis or Valkey server. redis-py is imported by the first `RedisStore`. Private."""

from .store import RedisStore

__all__ = ["RedisStore"]
