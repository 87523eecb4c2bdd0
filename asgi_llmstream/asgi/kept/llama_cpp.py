"""The routes by which llama.cpp's page comes back to a conversation's stream.

Source: llama.cpp, `tools/server/server-stream.cpp` and the page's `chat.service.ts` and
`stream-resume.service.ts`. It names the conversation in `X-Conversation-Id` of its question in
OpenAI chat's words, behind a "::" perhaps the model, too, and counts the bytes of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from msgspec.structs import replace

from ...errors import NotFound
from ...events import RunFinished
from ...formats import OpenAIChat
from ...formats.base import RequestFormat
from ...formats.shapes.fields import bad_field
from ...formats.shapes.frames import behind_bytes
from ...formats.wire import dumps
from ...stores import RunState, Trimmed
from ..admission import Door
from ..body import read_json
from ..http import NO_STORE, Handler, Receive, Scope, Send, query_fields, send_empty, send_json
from ..streamed import headers_of
from .keeping import About, Keeping
from .reading import events_of

__all__ = ["Conversations", "counted"]


def counted(format: RequestFormat, scope: Scope) -> RequestFormat:
    """Return the format for a request that names its conversation as llama.cpp's page does."""
    names_one = any(name == b"x-conversation-id" for name, _ in scope["headers"])
    if names_one and isinstance(format, OpenAIChat):
        return replace(format, counts_bytes=True)
    return format


class Conversations:
    """The routes of an application's conversations, as llama.cpp's page asks for them.

    Args:
        keeping: how its streams are kept.
        door: of the application.
    """

    def __init__(self, keeping: Keeping, door: Door) -> None:
        self._keeping = keeping
        self._store = keeping.store
        self._door = door

    def handlers(self, path: str) -> dict[str, Handler]:
        """Return what answers at `path`, by method; nothing if it is none of ours."""
        match path.strip("/").split("/"):
            case ["streams", "lookup"]:
                return {"POST": self._look_up}
            case ["stream", *name]:  # which may have slashes, and was in the path once
                named = "/".join(name)
                return {"GET": partial(self._follow, named), "DELETE": partial(self._end, named)}
        return {}

    async def _look_up(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Describe the conversations that the client knows already, for each of their models."""
        asked = await read_json(scope, receive, self._door.options_for(scope))
        if asked is None:
            return
        given = asked.get("conversation_ids")
        known = given if isinstance(given, list) else []
        names = {name for name in known if isinstance(name, str)}
        states = _newest(await self._store.list_runs(await self._keeping.owner_of(scope)))
        found = [s for s in states if s.run.key in names or s.run.key.partition("::")[0] in names]
        await send_json(send, 200, dumps([await self._described(s) for s in found]), [NO_STORE])

    async def _described(self, state: RunState) -> dict[str, Any]:
        run, size, completed = state.run, 0, 0
        encode = _format_of(state).encoder()
        async for event in events_of(self._store, run.owner, run.id):
            size += len(encode(event))
            if isinstance(event, RunFinished):
                completed = event.completed or 0
        return {
            "conversation_id": run.key,
            "is_done": not state.is_live,
            "total_bytes": size,
            "started_at": run.created,
            "completed_at": 0 if state.is_live else completed or run.created,
        }

    async def _follow(self, named: str, scope: Scope, receive: Receive, send: Send) -> None:
        size = query_fields(scope).get("from", "0")
        if not (size.isascii() and size.isdigit() and len(size) < 16):
            raise bad_field("from", "must be how many bytes there are already")
        state = await self._find(named, scope)
        if state is None:
            raise NotFound("There is no stream of this conversation, or it has expired.")
        if state.first > 1:
            raise Trimmed()
        run, format, options = state.run, _format_of(state), self._door.options_for(scope)
        keeping = self._keeping.beside("/stream", scope)
        reading = keeping.reading(format, options, run.id, headers=headers_of(format))
        if scope["method"] == "HEAD":
            await send_empty(send, 200, reading.headers)
            return
        following = keeping.host.follow(
            run.owner, run.id, merges=False, at_most=options.max_readers
        )
        encode = behind_bytes(format.encoder(), int(size))
        await reading.deliver(following, receive, send, encode, has_begun=True)

    async def _end(self, named: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Stop the answer, and forget it, as its page has."""
        state = await self._find(named, scope)
        if state is not None:
            run = state.run
            await self._keeping.host.stop(run.owner, run.id)
            await self._keeping.host.erase(run.owner, run.id)
        await send_empty(send, 204, [NO_STORE])

    async def _find(self, named: str, scope: Scope) -> RunState | None:
        name = named or query_fields(scope).get("conv_id", "")
        if not name:
            raise bad_field("conv_id", "is required")
        owner = await self._keeping.owner_of(scope)
        return next(iter(_newest(await self._store.list_runs(owner, name))), None)


def _newest(states: Iterable[RunState]) -> list[RunState]:
    """Return the newest run of each conversation, of those whose bytes are counted."""
    newest: dict[str, RunState] = {}
    for state in states:
        if state.run.key and About.read(state.run).fields.get("counts_bytes"):
            newest.setdefault(state.run.key, state)
    return [*newest.values()]


def _format_of(state: RunState) -> OpenAIChat:
    format = About.read(state.run).set_up(OpenAIChat())
    assert isinstance(format, OpenAIChat)
    return format
