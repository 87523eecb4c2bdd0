"""The names of what is in the server: keys and channels."""

from __future__ import annotations

from hashlib import blake2b
from zlib import crc32

from ..base import NewRun

__all__ = ["Names", "encoded"]


class Names:
    """Names for one application. Owners and keys are digests there: they may be long, and private.

    Args:
        prefix: begins them all.
        buckets: over how many hash slots the owners are spread.

    Raises:
        ValueError: if the prefix would make another hash tag.
    """

    def __init__(self, prefix: str, buckets: int) -> None:
        if not prefix or set(prefix) & set("{}"):
            raise ValueError(f"prefix must be a text without braces: {prefix!r}")
        self._prefix = prefix
        self._buckets = buckets

    def run(self, owner: str, id: str) -> list[bytes]:
        """Return the keys of a run: its state, its events."""
        return [self.runs_of(owner) + encoded(id), self._of("events", owner) + b":" + encoded(id)]

    def runs_of(self, owner: str) -> bytes:
        """Return how the keys of all of an owner's runs begin."""
        return self._of("run", owner) + b":"

    def new(self, run: NewRun) -> list[bytes]:
        """Return the keys that beginning a run is about."""
        return [*self.run(run.owner, run.id), self.all(run.owner), self._of("live", run.owner)]

    def looked_up(self, run: NewRun) -> list[bytes]:
        """Return the keys under which another run may be found in its place; "" for none."""
        once = self._of("once", run.owner) + b":" + _digest(run.idempotency_key)
        return [
            self.of_key(run.owner, run.key) if run.key else b"",
            once if run.idempotency_key else b"",
        ]

    def all(self, owner: str) -> bytes:
        """Return the key of an owner's runs."""
        return self._of("runs", owner)

    def of_key(self, owner: str, key: str) -> bytes:
        """Return the key of the runs of a conversation."""
        return self._of("key", owner) + b":" + _digest(key)

    def channel(self, owner: str, id: str, kind: str) -> bytes:
        """Return the channel of a run for its readers, "news", or for its writer, "stop"."""
        return b"%s:%s" % (self.run(owner, id)[0], kind.encode())

    def _of(self, kind: str, owner: str) -> bytes:
        bucket = crc32(encoded(owner)) % self._buckets
        return b"{%s:%d}:%s:%s" % (encoded(self._prefix), bucket, kind.encode(), _digest(owner))


def _digest(text: str) -> bytes:
    return blake2b(encoded(text), digest_size=16).hexdigest().encode()


def encoded(text: str) -> bytes:
    """Return a text as the server has it, also half an emoji, which JSON may have."""
    return text.encode("utf-8", "surrogatepass")
