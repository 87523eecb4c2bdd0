"""The routes of streams that a store keeps: list, follow, look at, stop, erase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from ..errors import BadRequest, Forbidden, Overloaded, RateLimited
from ..formats import Events
from ..formats.base import Format, RequestFormat
from ..formats.shapes.frames import behind
from ..formats.wire import dumps
from ..message import Message
from ..options import StreamOptions
from ..resume import Cursor
from ..sse import ServerSentEvent
from ..stores import EventDecoder, RunState, StreamStore, UnknownRun
from .http import Handler, Receive, Scope, Send, send_empty, send_json
from .kept import NO_STORE, About, Keeping, Reading, cursor_of, encoder_of, resume
from .stream import headers_of

__all__ = ["Streams"]

# Events that are read at a time.
_PAGE = 1000
# Milliseconds after which an `EventSource` tries again what is not to be had now.
_RETRY = 1000


class Streams:
    """The routes of an application's streams.

    Args:
        keeping: how they are kept.
        formats: those that they can be read in, by `?format=` with their routes' names.
        options_for: returns the options that count for a request.
    """

    def __init__(
        self,
        keeping: Keeping,
        formats: Sequence[RequestFormat],
        options_for: Callable[[Scope], StreamOptions],
    ) -> None:
        self._keeping = keeping
        self._store = keeping.store
        self._formats: dict[str, Format] = {f.route.strip("/"): f for f in formats}
        self._options_for = options_for

    def handlers(self, path: str) -> dict[str, Handler]:
        """Return what answers below `path`, by method; nothing if it is none of ours."""
        match path.strip("/").split("/"):
            case ["streams"]:
                return {"GET": self._list}
            case ["streams", id]:
                return {"GET": partial(self._follow, id), "DELETE": partial(self._erase, id)}
            case ["streams", id, "message"]:
                return {"GET": partial(self._message, id)}
            case ["streams", id, "stop"]:
                return {"POST": partial(self._stop, id)}
            case [*route, name, "stream"] if format := self._formats.get("/".join(route)):
                return {"GET": partial(self._active, format, name)}
        return {}

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        if not owner:
            raise Forbidden("Streams are listed for those who are identified only.")
        states = await self._store.list_runs(owner)
        live = [_described(state) for state in states if state.is_live]
        await send_json(send, 200, dumps({"streams": live}), [NO_STORE])

    async def _follow(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        if _accepts(scope) == "application/json":
            state = await self._state(owner, id)
            await send_json(send, 200, dumps(_described(state)), [NO_STORE])
            return
        try:
            await self._stream(owner, id, scope, receive, send)
        except (Overloaded, RateLimited) as error:
            if _accepts(scope) != "text/event-stream":
                raise
            # An `EventSource` comes back from nothing but a stream that ends.
            fields = {"type": "unavailable", "message": error.message, "code": error.code}
            event = ServerSentEvent(dumps(fields).decode(), event="unavailable", retry=_RETRY)
            start = {"type": "http.response.start", "status": 200, "headers": headers_of(Events())}
            await send(start)
            await send({"type": "http.response.body", "body": event.encode()})

    async def _stream(
        self, owner: str, id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        query = _query(scope)
        cursor = cursor_of(scope)._replace(run=id)
        state = await self._state(owner, id)
        if query.get("from") == "now":
            cursor = Cursor(state.last, 0, id)
        format = self._format(query.get("format"), state)
        await resume(self._keeping, owner, cursor, self._reading(format, id, scope), receive, send)

    async def _active(
        self, format: Format, name: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Follow the live run of a conversation, as the AI SDK asks for it: from its beginning, or
        from behind so many events. 204 if there is none."""
        owner = await self._keeping.owner_of(scope)
        state = await self._named(owner, name)
        start = _query(scope).get("startIndex")
        if state is None or (start is None and not state.is_live):
            await send_empty(send, 204, [NO_STORE])
            return
        id = state.run.id
        format = About.read(state.run).set_up(format)
        reading = self._reading(format, id, scope)
        most = reading.options.max_readers
        encode = encoder_of(format, id)
        if start is not None:
            encode = behind(encode, await self._index(owner, id, format, start))
        following = self._keeping.host.follow(owner, id, merges=False, at_most=most)
        await reading.deliver(following, receive, send, encode)

    async def _named(self, owner: str, name: str) -> RunState | None:
        """Return the run of this id, or else the youngest of this conversation."""
        try:
            return await self._state(owner, name)
        except UnknownRun:
            states = await self._store.list_runs(owner, name)
            return states[0] if states else None

    async def _index(self, owner: str, id: str, format: Format, start: str) -> int:
        try:
            index = int(start)
        except ValueError:
            raise BadRequest("startIndex must be an integer.", param="startIndex") from None
        if index >= 0:
            return index
        encode = format.encoder()
        count = 0
        async for event in _events(self._store, owner, id):
            count += encode(event).count(b"\n\n")
        return max(0, count + index)

    async def _message(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        message, number = Message(), 0
        async for event in _events(self._store, owner, id):
            message.apply(event)
            number = event.seq
        body = {"cursor": f"{id}:{number}", "message": message.to_dict()}
        await send_json(send, 200, dumps(body), [NO_STORE])

    async def _stop(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        state = await self._keeping.host.stop(owner, id)
        await send_json(send, 202 if state.is_live else 200, dumps(_described(state)), [NO_STORE])

    async def _erase(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        await self._keeping.host.erase(owner, id)
        await send_empty(send, 204, [NO_STORE])

    async def _state(self, owner: str, id: str) -> RunState:
        return await state_of(self._store, owner, id)

    def _format(self, name: str | None, state: RunState) -> Format:
        """Return the format of this name; without one, what the run was asked in."""
        about = About.read(state.run)
        format = self._formats.get(about.route.strip("/") if name is None else name)
        if format is None:
            names = ", ".join(sorted(self._formats))
            raise BadRequest(f"format must be one of {names}.", param="format")
        return about.set_up(format)

    def _reading(self, format: Format, id: str, scope: Scope) -> Reading:
        headers = [header for header in headers_of(format) if header[0] != b"cache-control"]
        headers += self._keeping.headers_of(scope, id)
        return Reading(format, self._options_for(scope), 200, headers)


async def state_of(store: StreamStore, owner: str, id: str) -> RunState:
    """Return how a run is.

    Raises:
        UnknownRun: if there is none.
    """
    for state in await store.list_runs(owner):
        if state.run.id == id:
            return state
    raise UnknownRun()


async def _events(store: StreamStore, owner: str, id: str) -> Any:
    """Yield the events that there are."""
    decoder, number = EventDecoder(), 0
    while True:
        page = await store.read(owner, id, number, _PAGE)
        for event in decoder.decode(number + 1, page.events):
            yield event
        number += len(page.events)
        if not page.events or number >= page.state.last:
            return


def _described(state: RunState) -> Mapping[str, Any]:
    return {
        "id": state.run.id,
        "key": state.run.key,
        "created": state.run.created,
        "live": state.is_live,
        "outcome": state.outcome or None,
        "last": state.last,
        "expires": None if state.expires is None else int(state.expires),
    }


def _query(scope: Scope) -> dict[str, str]:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return {name: values[0] for name, values in query.items()}


def _accepts(scope: Scope) -> str:
    """Return the media type that a client asks for, if it asks for one only."""
    found = [value for name, value in scope["headers"] if name == b"accept"]
    return found[0].split(b";")[0].strip().decode("latin-1").lower() if found else ""
