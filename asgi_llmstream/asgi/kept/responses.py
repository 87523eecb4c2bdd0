"""OpenAI's stored responses: look at one, follow it, cancel it, delete it, and go on from it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from msgspec.structs import replace

from ...errors import LLMStreamError
from ...formats import OpenAIResponses
from ...formats.base import RequestFormat
from ...formats.openai_responses import stored
from ...formats.openai_responses.stored import Item
from ...formats.shapes.fields import bad_field
from ...formats.shapes.frames import behind
from ...formats.wire import dumps
from ...request import ChatRequest
from ...stores import NewRun, UnknownRun
from ..admission import Door
from ..body import decoded
from ..http import (
    NO_STORE,
    Handler,
    RawHeaders,
    Receive,
    Scope,
    Send,
    query_fields,
    send_empty,
    send_json,
)
from ..streamed import headers_of
from .keeping import Keeping
from .stored import Place, StoredResponse, StoredResponses

__all__ = ["Responses", "responses_of", "storing"]


def storing(format: RequestFormat) -> RequestFormat:
    """Return the format of an application that has a store."""
    return replace(format, stored=True) if isinstance(format, OpenAIResponses) else format


class StillMade(LLMStreamError):
    """The response to go on from has not ended."""

    default_status = 409
    default_code = "response_in_progress"
    default_message = "The response to go on from is still being made."


class Responses:
    """The routes of an application's stored responses, and the requests that refer to them.

    Args:
        keeping: how its streams are kept.
        format: what its responses are asked in.
        door: of the application.
    """

    def __init__(self, keeping: Keeping, format: OpenAIResponses, door: Door) -> None:
        self._keeping = keeping
        self._stored = StoredResponses(keeping, format)
        self._route = format.route
        self._door = door

    def handlers(self, path: str) -> dict[str, Handler]:
        """Return what answers at `path`, by method; nothing if it is none of ours."""
        if not path.startswith(f"{self._route}/"):
            return {}
        match path.removeprefix(self._route).strip("/").split("/"):
            case [id]:
                return {"GET": partial(self._show, id), "DELETE": partial(self._delete, id)}
            case [id, "cancel"]:
                return {"POST": partial(self._cancel, id)}
            case [id, "input_items"]:
                return {"GET": partial(self._list_input, id)}
        return {}

    # Asking for one.

    async def prepared(
        self, request: ChatRequest, format: RequestFormat, scope: Scope
    ) -> tuple[ChatRequest, RequestFormat, Keeping | None]:
        """Return a request with the conversation that it refers to, its format, and how its
        stream is kept: not, if it says so.

        Raises:
            LLMStreamError: if it refers to what there is not, or not yet.
        """
        if not isinstance(format, OpenAIResponses):
            return request, format, self._keeping
        body = request.body
        items = stored.as_items(body["input"])
        if not format.stateful and (body.get("previous_response_id") or stored.references(items)):
            items = await self._joined(await self._keeping.owner_of(scope), body, items)
            request = await _going_on(request, format, items)
            format = format.for_request(request)
        if body.get("store") is False:
            return request, format, None
        background = bool(body.get("background"))
        keeping = self._keeping
        if background:
            keeping = replace(keeping, background=self._say_begun)
        return request, format.answering(items, background=background), keeping

    async def _joined(self, owner: str, body: dict[str, Any], new: list[Item]) -> list[Item]:
        """Return the whole conversation. Of the responses that items refer to only those are
        read that are needed, from the newest on: each has what was before it."""
        previous = body.get("previous_response_id")
        before: list[Item] = []
        if previous:
            try:
                before = await self._conversation(owner, previous)
            except UnknownRun:
                raise stored.previous_not_found(previous) from None
        known = {item["id"]: item for item in before}
        for id in reversed(stored.references(new)):
            if id not in known:
                try:
                    there = await self._conversation(owner, id)
                except UnknownRun:
                    there = []
                known |= {item["id"]: item for item in there}
            if id not in known:
                raise stored.item_not_found(id)
        return stored.joined(before, new, known)

    async def _conversation(self, owner: str, id: str) -> list[Item]:
        state = await self._stored.state(owner, stored.run_of(id))
        if state.is_live:
            raise StillMade()
        return (await self._stored.read(state)).conversation

    async def _say_begun(self, run: NewRun, headers: RawHeaders, send: Send) -> None:
        """Answer one who wants no stream, and will ask for the response later."""
        await self._keeping.store.wait(run.owner, run.id, 0)  # its first event says when it began
        found = await self._stored.read(await self._stored.state(run.owner, run.id))
        await send_json(send, 200, dumps(found.response), headers)

    # Those that there are.

    async def _show(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        query = query_fields(scope)
        found = await self._stored.read(await self._stored.find(id, scope))
        if query.get("stream") == "true":
            place = found.behind(_sequence_number(query.get("starting_after", "-1")))
            # Who asks for all passes over what he has: that must not be merged with what he lacks.
            merges = "starting_after" in query
            await self._stream(found, place, merges, scope, receive, send)
        else:
            await send_json(send, 200, dumps(found.response), [NO_STORE])

    async def _stream(
        self,
        found: StoredResponse,
        place: Place,
        merges: bool,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        run, format = found.run, found.format
        options, encode = self._door.options_for(scope), format.encoder()
        keeping = self._keeping.beside(f"{self._route}/resp_{run.id}", scope)
        reading = keeping.reading(format, options, run.id, headers=headers_of(format))
        if found.ends_at(place) or scope["method"] == "HEAD":
            # Empty, since the client expects a stream also where there is nothing more.
            await send_empty(send, 200, reading.headers)
            return
        following = keeping.host.follow(
            run.owner, run.id, merges=merges, at_most=options.max_readers
        )
        try:
            await following.begin_behind(place.number, encode)
        except BaseException:
            following.leave()
            raise
        rest = behind(encode, place.frames)
        await reading.deliver(following, receive, send, rest, merges=merges, has_begun=True)

    async def _cancel(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        run = (await self._stored.find(id, scope)).run
        state = await self._keeping.host.stop(run.owner, run.id)
        found = await self._stored.read(state)
        await send_json(send, 202 if state.is_live else 200, dumps(found.response), [NO_STORE])

    async def _delete(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        run = (await self._stored.find(id, scope)).run
        await self._keeping.host.erase(run.owner, run.id)
        body = {"id": id, "object": "response", "deleted": True}
        await send_json(send, 200, dumps(body), [NO_STORE])

    async def _list_input(self, id: str, scope: Scope, receive: Receive, send: Send) -> None:
        run = (await self._stored.find(id, scope)).run
        items = stored.with_ids(self._stored.format_of(run).input, run.id)
        body = stored.listed(items, query_fields(scope))
        await send_json(send, 200, dumps(body), [NO_STORE])


def responses_of(
    keeping: Keeping, formats: Iterable[RequestFormat], door: Door
) -> Responses | None:
    """Return the stored responses of an application, if it speaks their protocol."""
    ours = (format for format in formats if isinstance(format, OpenAIResponses))
    format = next(ours, None)
    return None if format is None else Responses(keeping, format, door)


async def _going_on(
    request: ChatRequest, format: OpenAIResponses, items: list[Item]
) -> ChatRequest:
    """Return the request with a conversation of these items."""
    whole = {k: v for k, v in request.body.items() if k != "previous_response_id"}
    decode = partial(format.decode, whole | {"input": items})
    with_all = await decoded(decode, len(dumps(items)))
    return replace(request, messages=with_all.messages, approvals=with_all.approvals)


def _sequence_number(given: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise bad_field("starting_after", "must be a sequence number") from None
