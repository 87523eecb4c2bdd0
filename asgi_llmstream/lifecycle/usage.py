"""The tokens of an answer that several model calls make."""

from __future__ import annotations

from ..chunks import Usage

__all__ = ["UsageSum"]


class UsageSum:
    """The usage of the model calls that are over, and of the current one."""

    def __init__(self) -> None:
        self._done: Usage | None = None
        self._current: Usage | None = None

    @property
    def total(self) -> Usage | None:
        if self._done is None or self._current is None:
            return self._done or self._current
        return self._done + self._current

    def report(self, usage: Usage) -> Usage:
        before = self._current or Usage()
        self._current = before + usage if usage.additive else _updated(before, usage)
        total = self.total
        assert total is not None
        return total

    def next_call(self) -> None:
        self._done, self._current = self.total, None


def _updated(before: Usage, usage: Usage) -> Usage:
    """The new counts, and the old one wherever none is told."""
    return Usage(
        usage.input_tokens or before.input_tokens,
        usage.output_tokens or before.output_tokens,
        usage.cached_tokens or before.cached_tokens,
        usage.reasoning_tokens or before.reasoning_tokens,
        usage.cache_write_tokens or before.cache_write_tokens,
    )
