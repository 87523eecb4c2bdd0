"""The routes of streams that a store keeps: list, follow, look at, stop, erase."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from ...errors import Forbidden
from ...events import Event, RunAborted, RunFailed, RunFinished
from ...formats.base import RequestFormat
from ...formats.wire import dumps
from ...message import Message
from ...stores import UnknownRun
from ..admission import Door
from ..http import NO_STORE, Handler, Receive, Scope, Send, send_empty, send_json
from .follow import Followed, described, formats_by_name
from .keeping import Keeping
from .reading import events_of, named
from .transport import Transport

__all__ = ["Streams"]


class Streams:
    """The routes of an application's streams.

    Args:
        keeping: how they are kept.
        formats: those that they can be read in, by `?format=` with their routes' names.
        door: of the application.
    """

    def __init__(self, keeping: Keeping, formats: Iterable[RequestFormat], door: Door) -> None:
        self._keeping = keeping
        self._store = keeping.store
        self._by_route = {format.route.strip("/"): format for format in formats}
        self._formats = formats_by_name(self._by_route.values())
        self._door = door

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
            case [*route, name, "stream"] if format := self._by_route.get("/".join(route)):
                return {"GET": partial(self._active, format, name)}
            case [*route, name, "stop"] if "/".join(route) in self._by_route:
                return {"POST": partial(self._stop_active, name)}
        return {}

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        if not owner:
            raise Forbidden("Streams are listed for those who are identified only.")
        states = await self._store.list_runs(owner)
        live = [described(state) for state in states if state.is_live]
        await send_json(send, 200, dumps({"streams": live}), [NO_STORE])

    async def _follow(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        keeping = self._keeping.beside(f"/streams/{id}", scope)
        follow = Followed(keeping, id, self._door, self._formats).follow
        await follow(scope, receive, send)

    async def _active(
        self, format: RequestFormat, name: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        keeping = self._keeping.beside(f"{format.route}/{name}/stream", scope)
        transport = Transport(keeping, format, self._door.options_for(scope))
        await transport.answer(name, scope, receive, send)

    async def _message(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        message, last = Message(), Event(0)
        async for event in events_of(self._store, owner, id):
            message.apply(event)
            last = event
        body = {"cursor": f"{id}:{last.seq}", "message": message.to_dict(), **_end_of(last)}
        await send_json(send, 200, dumps(body), [NO_STORE])

    async def _stop_active(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Stop what is made for a conversation: a page may know no more than its name."""
        state = await named(self._store, await self._keeping.owner_of(scope), name)
        if state is None:
            raise UnknownRun()
        await self._stop(state.run.id, scope, receive, send)

    async def _stop(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        state = await self._keeping.host.stop(owner, id)
        await send_json(send, 202 if state.is_live else 200, dumps(described(state)), [NO_STORE])

    async def _erase(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        owner = await self._keeping.owner_of(scope)
        await self._keeping.host.erase(owner, id)
        await send_empty(send, 204, [NO_STORE])


def _end_of(last: Event) -> dict[str, Any]:
    """Return how the run is after this event, and why it broke off if it did."""
    match last:
        case RunFinished():
            return {"live": False, "outcome": "finished"}
        case RunAborted(reason=reason):
            return {"live": False, "outcome": reason}
        case RunFailed(message=message, code=code):
            error = {"message": message, "code": code}
            return {"live": False, "outcome": "error", "error": error}
        case _:
            return {"live": True, "outcome": None}
