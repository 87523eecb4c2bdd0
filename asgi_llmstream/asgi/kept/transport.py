"""The way in which the AI SDK's transports come back: by the name of the conversation or the run,
from the beginning or from behind so many parts.

`DefaultChatTransport` asks `GET {api}/{chatId}/stream` and wants the whole answer that is being
made, or a 204. `WorkflowChatTransport` asks `GET {api}/{runId}/stream?startIndex=N`, again and
again until it has a `finish`.
"""

from __future__ import annotations

from ...errors import BadRequest
from ...formats.base import Format, RequestFormat
from ...formats.shapes.frames import behind, frames_of
from ...options import StreamOptions
from ..http import NO_STORE, Receive, Scope, Send, query_fields, send_empty
from ..streamed import headers_of
from .keeping import About, Keeping
from .reading import encoder_of, events_of, named

__all__ = ["Transport"]


class Transport:
    """Answers one of them.

    Args:
        keeping: how streams are kept.
        format: what it reads.
        options: of the delivery.
    """

    def __init__(self, keeping: Keeping, format: RequestFormat, options: StreamOptions) -> None:
        self._keeping = keeping
        self._format: Format = format
        self._options = options

    async def answer(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it.

        Args:
            name: of the conversation, or of the run.
            scope: of the request, as are the others.

        Raises:
            LLMStreamError: if there is not the whole answer any more.
        """
        owner = await self._keeping.owner_of(scope)
        state = await named(self._keeping.store, owner, name)
        start = _start_of(scope)
        if state is None or (start is None and not state.is_live):
            await send_empty(send, 204, [NO_STORE])
            return
        id, format = state.run.id, About.read(state.run).set_up(self._format)
        headers = [*headers_of(format)]
        index = start or 0
        if index < 0 or not state.is_live:
            count = await self._count(owner, id, format)
            if index >= count:
                await send_empty(send, 204, [NO_STORE])  # or it would ask for ever
                return
            headers.append((b"x-workflow-stream-tail-index", b"%d" % (count - 1)))
            index = index if index >= 0 else max(0, count + index)
        reading = self._keeping.reading(format, self._options, id, headers=headers)
        if scope["method"] == "HEAD":
            await send_empty(send, 200, reading.headers)
            return
        following = self._keeping.host.follow(
            owner, id, merges=start is None, at_most=self._options.max_readers
        )
        await reading.deliver(following, receive, send, behind(encoder_of(format, id), index))

    async def _count(self, owner: str, id: str, format: Format) -> int:
        """Return how many parts there are. What stands behind the last is none."""
        encode, count = format.encoder(), 0
        async for event in events_of(self._keeping.store, owner, id):
            count += sum(frame != _DONE for frame in frames_of(encode(event)))
        return count


_DONE = b"data: [DONE]\n\n"


def _start_of(scope: Scope) -> int | None:
    """Return from behind how many parts it wants to read; of a negative number from so many before
    the end.

    Raises:
        BadRequest: if that is no number.
    """
    start = query_fields(scope).get("startIndex")
    if start is None:
        return None
    try:
        return int(start)
    except ValueError:
        raise BadRequest("startIndex must be an integer.", param="startIndex") from None
