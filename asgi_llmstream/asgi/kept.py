"""Streams that a store keeps: who asks, for which run, and from where on he reads."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from ..errors import BadRequest
from ..formats.base import Encoder, Format, counts_events, cursors_of
from ..formats.shapes.frames import behind, with_cursors
from ..options import StreamOptions
from ..request import ChatRequest
from ..resume import Cursor, Following, Host
from ..stores import NewRun, OnBusy, StreamStore, Trimmed
from .delivery import Delivery
from .http import RawHeaders, Receive, Scope, Send, send_empty
from .streamed import StreamDelivery
from .whole import WholeDelivery

__all__ = [
    "NO_STORE",
    "About",
    "Identify",
    "Keeping",
    "Reading",
    "cursor_of",
    "encoder_of",
    "resume",
]

Identify = Callable[[Mapping[str, Any]], str | Awaitable[str | None] | None]
"""Tells from an ASGI scope who asks: a name that is the same at each of his requests, or None."""

NO_STORE = (b"cache-control", b"no-store")
"""Of every answer about a run: caches may keep also what is gone."""


class Keeping(Struct, frozen=True):
    """The way in which an application keeps its streams.

    Attributes:
        store: where.
        identify: whose they are; without it, and where it returns None, whoever knows a run's id
            may read it.
        on_busy: what a new request does to the live run of its conversation.
        path: where the routes of the runs are, below the application; None if there are none.
    """

    store: StreamStore
    identify: Identify | None = None
    on_busy: OnBusy = "replace"
    path: str | None = None

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
            idempotency_key=_header(scope, b"idempotency-key"),
            created=int(created),
            about=msgspec.json.encode(About.of(format)),
        )

    def headers_of(self, scope: Mapping[str, Any], run: str) -> RawHeaders:
        """Return the headers that tell a client where the stream is."""
        headers = [(b"x-run-id", run.encode("ascii")), NO_STORE]
        if self.path is not None:
            root = scope.get("root_path", "").rstrip("/")
            location = f"{root}{self.path}/{run}"
            headers.append((b"location", location.encode("latin-1", "replace")))
        return headers


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
    if given := _header(scope, b"x-conversation-id"):
        return given
    if request is None:
        return ""
    return request.chat_id or request.thread_id or ""


def _header(scope: Scope, name: bytes) -> str:
    found = (value for key, value in scope.get("headers", ()) if key == name)
    return next(found, b"").decode("latin-1")


def cursor_of(scope: Scope) -> Cursor:
    """Return the cursor of a request.

    Raises:
        BadRequest: if it has one that is none.
    """
    query = scope.get("query_string", b"").decode("latin-1")
    return Cursor.asked(scope.get("headers", ()), parse_qs(query, keep_blank_values=True))


class Reading(Struct):
    """The way in which somebody reads a run.

    Attributes:
        format: what he reads it in.
        options: of the delivery.
        status: of the response.
        headers: of the response.
        whole: he wants it in one piece.
    """

    format: Format
    options: StreamOptions
    status: int
    headers: list[tuple[bytes, bytes]]
    whole: bool = False

    async def deliver(
        self, following: Following, receive: Receive, send: Send, encode: Encoder | None = None
    ) -> None:
        """Deliver what is read.

        Args:
            following: reads the run.
            receive: the server's, as is the other.
            encode: see `StreamDelivery`.
        """
        kind: type[Delivery] = WholeDelivery if self.whole else StreamDelivery
        how: dict[str, Any] = {"status": self.status, "headers": self.headers}
        if not self.whole:
            how |= {"encode": encode, "merges": not counts_events(self.format)}
        delivery = kind(following, following, self.format, self.options, send, **how)
        await delivery.run(receive)


def encoder_of(format: Format, run: str) -> Encoder:
    """Return an encoder whose events have cursors, where clients come back with them."""
    encode = format.encoder()
    return with_cursors(encode, run) if cursors_of(format) == "added" else encode


async def resume(
    keeping: Keeping,
    owner: str,
    cursor: Cursor,
    reading: Reading,
    receive: Receive,
    send: Send,
) -> None:
    """Deliver what a run has behind a cursor, and what it will have.

    Raises:
        LLMStreamError: if there is no such run, or not what is behind the cursor.
    """
    state = (await keeping.store.read(owner, cursor.run, cursor.number, 0)).state
    if not state.is_live and cursor.number == state.last:
        await send_empty(send, 204, [NO_STORE])  # which has an EventSource stop
        return
    if cursor.number > state.last:
        raise BadRequest("The cursor is beyond the end.", param="cursor")
    format = reading.format
    if state.first > 1 and cursors_of(format) != "own":
        raise Trimmed()
    merges = not counts_events(format)
    following = keeping.host.follow(
        owner,
        cursor.run,
        merges=merges,
        announces=True,
        at_most=reading.options.max_readers,
    )
    encode = encoder_of(format, cursor.run)
    if state.first == 1:
        await following.begin_behind(cursor.number, encode)
    else:
        following.begin_at(cursor.number)
    await reading.deliver(following, receive, send, behind(encode, cursor.frames))
