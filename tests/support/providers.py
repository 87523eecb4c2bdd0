"""What the tests of sources share: real packages, recorded streams, and both ends of a pipe."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from asgi_llmstream.chunks import Chunk, Upstream
from asgi_llmstream.formats.openai_chat.stream import OpenAIChat
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.message import Message, MessagePart
from asgi_llmstream.sources import chunks_of
from tests.support.services import need

__all__ = [
    "events_of",
    "message_of",
    "module",
    "ran_by_provider",
    "read",
    "recorded",
    "sse",
    "through_openai",
]

RECORDINGS = Path(__file__).parent / "recordings"


def module(name: str) -> Any:
    """A module of a real package; the test is skipped without the package, and fails in CI."""
    package = name.partition(".")[0]
    need(package, importlib.util.find_spec(package) is not None)
    return importlib.import_module(name)


def read(item: object) -> list[Chunk]:
    """What a provider's object says, without what it says of its model call."""
    return [chunk for chunk in chunks_of(item) if not isinstance(chunk, Upstream)]


def message_of(items: Iterable[object]) -> Message:
    message = Message()
    for item in items:
        message += item
    return message


def ran_by_provider(message: Message) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls that nobody else has to answer."""
    parts = [part for part in message.content if isinstance(part, MessagePart)]
    return [(p.part.id, p.part.name, p.text) for p in parts if p.part.by == "provider"]


def recorded(name: str) -> bytes:
    """The body of a real server's stream."""
    _request, *reads = (RECORDINGS / name).read_text().splitlines()
    return "".join(json.loads(read)["bytes"] for read in reads).encode(errors="surrogateescape")


def events_of(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON of each event of a stream."""
    for line in body.decode().split("\n"):
        data = line.removeprefix("data: ")
        if data != line and data != "[DONE]":
            yield json.loads(data)


def sse(events: Iterable[dict[str, Any]]) -> bytes:
    """A stream of these events as OpenAI (Responses) and Anthropic send it."""
    return b"".join(
        f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n".encode()
        for event in events
    )


def through_openai(items: Iterable[object]) -> Any:
    """The completion that the official client makes of these items, streamed by us to it."""
    chat = module("openai.types.chat")
    state = module("openai.lib.streaming.chat").ChatCompletionStreamState()
    lifecycle = Lifecycle(id="r", created=1, model="m")
    events = lifecycle.start()
    for item in items:
        for chunk in chunks_of(item):
            events += lifecycle.feed(chunk)
    encode = OpenAIChat(include_usage=True).encoder()
    for payload in events_of(b"".join(map(encode, [*events, *lifecycle.finish()]))):
        state.handle_chunk(chat.ChatCompletionChunk.model_validate(payload))
    # Not `get_final_completion`, which raises at the finish reasons that it cannot parse.
    return state.current_completion_snapshot
