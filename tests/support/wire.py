"""What formats write of chunks, and texts that try to break it."""

from __future__ import annotations

from asgi_llmstream.chunks import Chunk
from asgi_llmstream.events import Event
from asgi_llmstream.formats import DEFAULT_FORMATS, Format, RequestFormat
from asgi_llmstream.formats.base import is_plain
from asgi_llmstream.lifecycle import Lifecycle

EVENT_STREAMS: tuple[RequestFormat, ...] = tuple(f for f in DEFAULT_FORMATS if not is_plain(f))


def events_of(*chunks: Chunk, abort: str | None = None) -> list[Event]:
    """The events of a run of these chunks, with an id and a time that stay the same."""
    lifecycle = Lifecycle(id="run", created=1700000000, model="m")
    events = lifecycle.start()
    for chunk in chunks:
        events += lifecycle.feed(chunk)
    if abort is not None:
        events += lifecycle.abort(abort)
    elif not lifecycle.ended:
        events += lifecycle.finish()
    return events


def wire(format: Format, *chunks: Chunk, abort: str | None = None) -> bytes:
    """Its bytes."""
    encode = format.encoder()
    return b"".join(encode(event) for event in events_of(*chunks, abort=abort))


# Texts, and how JSON must write them.
ESCAPES = [
    ("a\u2028b", rb"a\u2028b"),
    ("a\u2029b", rb"a\u2029b"),
    ("a\x85b", rb"a\u0085b"),
    ("\u2028\u2028\x85", rb"\u2028\u2028\u0085"),
    ("a\r\nb\x0b\x0c\x1c\x1d\x1eb", rb"a\r\nb\u000b\f\u001c\u001d\u001eb"),
    ("\0", rb"\u0000"),
    ("half \ud83d of it", b"half \xef\xbf\xbd of it"),
    ("\ude00 half \u2028", rb"%b half \u2028" % b"\xef\xbf\xbd"),
    ("\ud83d\ude00", b"\xf0\x9f\x98\x80"),
    ("ø\xa0", b"\xc3\xb8\xc2\xa0"),
    ('"\\', rb"\"\\"),
    ("\ufeff", b"\xef\xbb\xbf"),
    ("\n\ndata: [DONE]\n\n", rb"\n\ndata: [DONE]\n\n"),
]
