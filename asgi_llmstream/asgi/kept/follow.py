"""Following: one client reads one run that a store keeps, from where it is on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...arguments import format_of, options_of
from ...errors import BadRequest, LLMStreamError
from ...formats import BY_NAME, DEFAULT_FORMATS, AnyFormat, OpenAIChat
from ...formats.base import Format, RequestFormat
from ...formats.wire import dumps
from ...options import StreamOptions
from ...resume import Cursor
from ...stores import AnyStore, RunState
from ..admission import Door
from ..http import (
    NO_STORE,
    Headers,
    RawHeaders,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    header_of,
    merge_headers,
    over_websocket,
    query_fields,
    send_json,
)
from ..refusals import refuse
from ..streamed import headers_of
from .keeping import About, Identify, Keeping, cursor_of, keeping_of, resume
from .reading import state_of

__all__ = ["Followed", "described", "followed", "formats_by_name"]


class Followed:
    """An ASGI application that answers with what a run has behind a client's cursor, and what it
    will have; or with its state, if the client wants JSON.

    Args:
        keeping: how the run is kept.
        id: of the run.
        door: says whether there may be a reader now, and which options count.
        formats: what it can be read in, by their names for `?format=`.
        format: what it is read in whatever the client wants.

    Attributes:
        status: of the response.
        headers: of the response, which replace ours of the same names.
    """

    def __init__(
        self,
        keeping: Keeping,
        id: str,
        door: Door,
        formats: Mapping[str, Format],
        format: Format | None = None,
        headers: RawHeaders = (),
    ) -> None:
        self._keeping = keeping
        self._id = id
        self._door = door
        self._formats = formats
        self._format = format
        self.status = 200
        self.headers = [*headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request. A WebSocket that asks to be accepted is refused with the answer."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            receive, send = over_websocket(receive, send)
        try:
            self._door.check()
            await self.follow(scope, receive, send)
        except LLMStreamError as error:
            await refuse(scope, send, self._format or _DEFAULT_FORMAT, error)

    async def follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request.

        Raises:
            LLMStreamError: if that cannot be.
        """
        keeping, id = self._keeping, self._id
        owner = await keeping.owner_of(scope)
        cursor = cursor_of(scope, id)
        query = query_fields(scope)
        state = await state_of(keeping.store, owner, id)
        if header_of(scope, b"accept").partition(";")[0].strip().lower() == "application/json":
            await send_json(send, 200, dumps(described(state)), [NO_STORE])
            return
        if query.get("from") == "now":
            cursor = Cursor(state.last, 0, id)
        format = self._format_for(query.get("format"), state)
        names = {name for name, _ in self.headers}
        own = [header for header in headers_of(format) if header[0] not in names]
        options = self._door.options_for(scope)
        reading = keeping.reading(format, options, id, self.status, [*own, *self.headers])
        await resume(keeping, owner, cursor, reading, scope, receive, send)

    def _format_for(self, name: str | None, state: RunState) -> Format:
        """Return the format of this name; without one, what the run was asked in."""
        about = About.read(state.run)
        if self._format is not None:
            return about.set_up(self._format)
        format = self._formats.get(about.route.strip("/") if name is None else name)
        if format is None:
            names = ", ".join(sorted(self._formats))
            raise BadRequest(f"format must be one of {names}.", param="format")
        return about.set_up(format)


# In its words an error is told where no format is known.
_DEFAULT_FORMAT = OpenAIChat()


def followed(
    id: str,
    store: AnyStore,
    identify: Identify | None,
    format: AnyFormat | None,
    options: StreamOptions,
    headers: Headers,
) -> Followed:
    """Return an application that has a client follow a run; see `LLMStream.following`."""
    keeping = keeping_of(store, identify)
    if keeping is None:
        raise TypeError("there is nothing to follow without the store that keeps it")
    if not isinstance(id, str):
        raise TypeError(f"id is the stream's, its x-run-id as text, not {id!r}")
    door, formats = Door(options_of(options)), formats_by_name(DEFAULT_FORMATS)
    chosen = None if format is None else format_of(format)
    return Followed(keeping, id, door, formats, chosen, merge_headers((), headers))


def formats_by_name(formats: Iterable[RequestFormat]) -> dict[str, Format]:
    """Return them by what `?format=` may say: the path of their route, and the name that stands
    for their kind."""
    found: dict[str, Format] = {}
    for format in formats:
        found[format.route.strip("/")] = format
        found |= {name: format for name, kind in BY_NAME.items() if type(format) is kind}
    return found


def described(state: RunState) -> Mapping[str, Any]:
    """Return what a client may know of a run."""
    return {
        "id": state.run.id,
        "key": state.run.key,
        "created": state.run.created,
        "live": state.is_live,
        "outcome": state.outcome or None,
        "last": state.last,
        "expires": None if state.expires is None else int(state.expires),
    }
