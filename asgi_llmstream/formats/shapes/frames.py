"""Server-sent events one by one, where a format writes several for one event of the run."""

from __future__ import annotations

from ...events import Event
from ..base import Encoder

__all__ = ["behind", "behind_bytes", "frames_of", "with_cursors"]

_END = b"\n\n"


def frames_of(body: bytes) -> list[bytes]:
    """Return the server-sent events of which `body` is made. Its JSON has no line ends."""
    return [frame + _END for frame in body.split(_END)[:-1]]


def behind(encode: Encoder, frames: int) -> Encoder:
    """Return the encoder without the next so many server-sent events: a client has them."""
    left = frames

    def rest(event: Event) -> bytes:
        nonlocal left
        body = encode(event)
        if left and body:
            own = frames_of(body)
            body = b"".join(own[left:])
            left = max(0, left - len(own))
        return body

    return rest


def behind_bytes(encode: Encoder, size: int) -> Encoder:
    """Return the encoder without the next so many bytes: a client has them."""
    left = size

    def rest(event: Event) -> bytes:
        nonlocal left
        body = encode(event)
        if left:
            left, body = max(0, left - len(body)), body[left:]
        return body

    return rest


def with_cursors(encode: Encoder, run: str) -> Encoder:
    """Return the encoder with an `id:` on each server-sent event: the run's, and the number of the
    event whose last one it is; of one before that, also how many of the next event there were.
    Events that have the number of the one before are none of the run's: whoever has them comes
    back as if he had not.

    Args:
        encode: an encoder of a format that sends none by itself.
        run: the run's id.
    """
    name = run.encode("ascii")
    reached = 0

    def numbered(event: Event) -> bytes:
        nonlocal reached
        previous, reached = reached, event.seq
        body = encode(event)
        if not body:
            return body
        *before, last = frames_of(body)
        if previous == reached:
            ids = [b"id: %b:%d\n" % (name, reached)] * len(before)
        else:
            ids = [b"id: %b:%d.%d\n" % (name, reached - 1, n) for n in range(1, len(before) + 1)]
        ids.append(b"id: %b:%d\n" % (name, event.seq))
        return b"".join(map(bytes.__add__, ids, [*before, last]))

    return numbered
