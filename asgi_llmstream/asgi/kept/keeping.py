"""Streams that a store keeps: who asks, for which run, and from where on he reads."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...arguments import check_identify, check_key, check_on_busy
from ...errors import BadRequest
from ...events import RunStarted
from ...formats.base import Format, counts_events, cursors_of, takes_merged
from ...formats.shapes.frames import behind
from ...options import StreamOptions
from ...request import ChatRequest
from ...resume import Cursor, Host
from ...stores import AnyStore, NewRun, OnBusy, StreamStore, Trimmed, store_of
from ..http import NO_STORE, RawHeaders, Receive, Scope, Send, header_of, outer_path, send_empty
from .reading import Reading, encoder_of

__all__ = [
    "About",
    "Identify",
    "Keeping",
    "cursor_of",
    "keeping_of",
    "resume",
]

Identify = Callable[[Mapping[str, Any]], str | Awaitable[str | None] | None]
"""Tells from an ASGI scope who asks: a name that is the same at each of his requests, or None."""


class Keeping(Struct, frozen=True):
    """The way in which an application keeps its streams.

    Attributes:
        store: where.
        identify: whose they are; without it, and where it returns None, whoever knows a run's id
            may read it.
        on_busy: what a new request does to the live run of its conversation.
        path: where a client finds the routes of the runs, if that is known.
        background: for a request whose run goes on whatever its client does: answers it, with these
            headers, once the run has begun, if it wants no stream.
    """

    store: StreamStore
    identify: Identify | None = None
    on_busy: OnBusy = "replace"
    path: str | None = None
    background: Callable[[NewRun, RawHeaders, Send], Awaitable[None]] | None = None

    @property
    def host(self) -> Host:
        """The runs of this process."""
        return Host.current(self.store)

    async def owner_of(self, scope: Scope) -> str:
        """Return whose runs a request is about; "" where nobody is identified."""
        if self.identify is None:
            return ""
        owner = self.identify(scope)
        if inspect.isawaitable(owner):
            owner = await owner
        return owner or ""

    async def new_run(
        self,
        scope: Scope,
        request: ChatRequest | None,
        key: str | None,
        question: str,
        format: Format,
        created: float,
    ) -> NewRun:
        """Return the run that a request asks for.

        Args:
            scope: of the request.
            request: what was asked, if that is known.
            key: names the conversation; what the request says of it, if None.
            question: a digest of what was asked; "" if that is not known: then it is like no other.
            format: what it is answered in.
            created: the time, in Unix seconds.
        """
        id = secrets.token_hex(16)
        return NewRun(
            owner=await self.owner_of(scope),
            id=id,
            key=_key_of(scope, request) if key is None else key,
            request=question or id,
            idempotency_key=header_of(scope, b"idempotency-key"),
            created=int(created),
            about=msgspec.json.encode(About.of(format)),
        )

    def beside(self, route: str, scope: Scope) -> Keeping:
        """Return this for one request, which went to `route`: there the routes of the runs are,
        too."""
        return replace(self, path=f"{outer_path(scope, route)}/streams")

    def headers_of(self, run: str, format: Format) -> RawHeaders:
        """Return the headers that tell a client where the stream is."""
        name = run.encode("ascii")
        headers = [(b"x-run-id", name), NO_STORE]
        if counts_events(format):
            headers.append((b"x-workflow-run-id", name))  # for the AI SDK's transport of that name
        if self.path is not None:
            location = f"{self.path}/{run}"
            headers.append((b"location", location.encode("latin-1", "replace")))
        return headers

    def reading(
        self,
        format: Format,
        options: StreamOptions,
        run: str,
        status: int = 200,
        headers: RawHeaders = (),
        whole: bool = False,
    ) -> Reading:
        """Return the way in which somebody reads a run; `headers` are those of any stream."""
        own = [header for header in headers if header[0] != b"cache-control"]
        return Reading(format, options, status, [*own, *self.headers_of(run, format)], whole)


def keeping_of(
    store: AnyStore | None,
    identify: Identify | None,
    on_busy: OnBusy = "replace",
    key: str | None = None,
) -> Keeping | None:
    """Return the way in which streams are kept; None if they are not.

    Raises:
        TypeError: if an argument is none of its kind, or is for streams of a store, and there is
            none.
        ValueError: likewise, if its value is at fault.
    """
    check_on_busy(on_busy)
    check_key(key)
    check_identify(identify)
    if store is None:
        given = {"identify": identify, "key": key, "on_busy": None if on_busy == "replace" else ""}
        for name, value in given.items():
            if value is not None:
                raise TypeError(f"{name} is for streams that a store keeps: give a store, too")
        return None
    return Keeping(store_of(store), identify, on_busy)


class About(Struct):
    """All that is kept of a run beside its events: the format that it was asked in, set up as the
    request wanted it.

    Attributes:
        route: of the format; "" if it has none.
        fields: of the format's record.
    """

    route: str = ""
    fields: dict[str, Any] = {}

    @classmethod
    def of(cls, format: Format) -> About:
        """Describe a format."""
        route = getattr(format, "route", "")
        try:
            return cls(route, msgspec.to_builtins(format) if isinstance(format, Struct) else {})
        except TypeError:
            return cls(route)

    @classmethod
    def read(cls, run: NewRun) -> About:
        """Return what is kept of a run."""
        return msgspec.json.decode(run.about or b"{}", type=cls)

    def set_up(self, format: Format) -> Format:
        """Return the format as the run's request wanted it, if it was asked in that."""
        if not isinstance(format, Struct) or getattr(format, "route", "") != self.route:
            return format
        try:
            return msgspec.convert(self.fields, type(format))
        except (msgspec.ValidationError, NameError):
            return format  # one of a user's own, whose fields cannot be kept


def _key_of(scope: Scope, request: ChatRequest | None) -> str:
    """Return the conversation's name, as the client's protocol has it."""
    if given := header_of(scope, b"x-conversation-id"):
        return given
    if request is None:
        return ""
    return request.chat_id or request.thread_id or ""


def cursor_of(scope: Scope, run: str) -> Cursor:
    """Return the cursor of a request for a run.

    Raises:
        BadRequest: if it has one that is none, or is another run's.
    """
    query = scope.get("query_string", b"").decode("latin-1")
    cursor = Cursor.asked(scope.get("headers", ()), parse_qs(query, keep_blank_values=True))
    if cursor.run not in ("", run):
        raise BadRequest("This is a cursor of another stream.", param="cursor", code="bad_cursor")
    return cursor._replace(run=run)


async def resume(
    keeping: Keeping,
    owner: str,
    cursor: Cursor,
    reading: Reading,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Deliver what a run has behind a cursor, and what it will have.

    Raises:
        LLMStreamError: if there is no such run, or not what is behind the cursor.
    """
    state = (await keeping.store.read(owner, cursor.run, cursor.number, 0)).state
    if cursor.number > state.last:
        raise BadRequest("The cursor is beyond the end.", param="cursor", code="bad_cursor")
    if not state.is_live and cursor.number == state.last:
        await send_empty(send, 204, [NO_STORE])  # which has an EventSource stop
        return
    format = reading.format
    if state.first > 1 and cursors_of(format) != "own":
        raise Trimmed()  # what is left would look whole
    if scope.get("method") == "HEAD":
        await send_empty(send, reading.status, reading.headers)
        return
    following = keeping.host.follow(
        owner,
        cursor.run,
        merges=takes_merged(format),
        announces=True,
        at_most=reading.options.max_readers,
    )
    encode = encoder_of(format, cursor.run)
    if state.first == 1:
        await following.begin_behind(cursor.number, encode)
    else:
        encode(RunStarted(1, cursor.run, 0, ""))  # its ids name the run
        following.begin_at(cursor.number)
    rest = behind(encode, cursor.frames)
    await reading.deliver(following, receive, send, rest, has_begun=cursor.number > 0)
