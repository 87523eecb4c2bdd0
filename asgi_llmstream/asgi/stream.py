"""One stream: as an ASGI application, as an iterator of bytes, or collected into a message."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, nullcontext
from functools import partial

from ..arguments import check_on_finish, check_producer, explains, format_of, options_of
from ..errors import LLMStreamError
from ..formats import AnyFormat, OpenAIChat
from ..formats.base import Format, answers_whole, has_envelope, takes_merged
from ..message import Message
from ..options import DEFAULT_OPTIONS, StreamOptions
from ..producers import Producer, discard, is_reusable
from ..request import ChatRequest
from ..resume import Cursor
from ..runtime import Audience, Generation, Log, OnFinish
from ..sse import last_event_id
from ..stores import AnyStore, NewRun, OnBusy
from .admission import Admitted, Door
from .delivery import Delivery, conclude
from .encoding import encoded
from .held import HeldEnd
from .http import (
    NO_STORE,
    Headers,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    merge_headers,
    over_websocket,
    send_empty,
)
from .kept.follow import Followed, followed
from .kept.keeping import Identify, Keeping, keeping_of, resume
from .kept.reading import Reading, encoder_of
from .refusals import refuse
from .streamed import StreamDelivery, headers_of
from .whole import WholeDelivery

__all__ = ["LLMStream", "collect", "encode_stream", "headers_of"]

DEFAULT_FORMAT = OpenAIChat()


class LLMStream:
    """An ASGI application that answers one request with a stream.

    An `EventSource` that comes back after its end gets a 204, which tells it to stop.

    Args:
        producer: an async generator or another iterable of chunks, a whole answer, an awaitable
            of one, or a function that returns either. A function or a whole answer makes the
            stream good for many requests; anything else is used up by its first.
        format: the wire format, its class or its name; OpenAI chat completions if left out.
        options: intervals, deadlines and limits.
        on_finish: called once with the `StreamResult`, however the stream ends.
        model: the model's name, for formats that show one.
        status: the HTTP status of an answer that begins well.
        headers: further response headers; they replace ours of the same name.
        whole: answer in one piece instead of a stream, in a format that can.
        store: keeps the stream, so that it goes on when its client leaves, and a client that
            comes back gets what it missed; or its address, as for `ChatApp`. `store_lifespan` has
            to be the application's.
        key: names the conversation, within those of its owner: a new stream ends the one that
            is still made for it. With a store only.
        identify: tells from the scope whose the stream is: nobody else may read it. Without it
            whoever knows its id may.
        on_busy: what a new stream does to the one that is still made for its key: "replace" it,
            or "refuse" itself with a 409.

    Raises:
        TypeError: if an argument is none of its kind, or a function takes other arguments than
            it will be given; if the answer is to be in one piece, and the format has none; if
            there is a key, or somebody to identify, and no store.
        ValueError: if a header name or value cannot be sent, or there is no format of the name.
    """

    @classmethod
    def following(
        cls,
        id: str,
        *,
        store: AnyStore,
        format: AnyFormat | None = None,
        identify: Identify | None = None,
        options: StreamOptions = DEFAULT_OPTIONS,
        headers: Headers = (),
    ) -> Followed:
        """Return an ASGI application that has a client follow a stream that a store keeps, from
        its `Last-Event-ID` or its `?cursor=` on, or from now on with `?from=now`.

        Args:
            id: of the stream: its `x-run-id`, or `StreamResult.run_id`.
            store: keeps it.
            format: the wire format; the one that it was asked for in, if left out.
            identify: as for `LLMStream`.
            options: as for `LLMStream`.
            headers: as for `LLMStream`.

        Raises:
            TypeError: if an argument is none of its kind.
            ValueError: if a header cannot be sent, or there is no format of the name.
        """
        return followed(id, store, identify, format, options, headers)

    @explains
    def __init__(
        self,
        producer: Producer,
        *,
        format: AnyFormat = DEFAULT_FORMAT,
        options: StreamOptions = DEFAULT_OPTIONS,
        on_finish: OnFinish | None = None,
        model: str = "",
        status: int = 200,
        headers: Headers = (),
        whole: bool = False,
        store: AnyStore | None = None,
        key: str | None = None,
        identify: Identify | None = None,
        on_busy: OnBusy = "replace",
    ) -> None:
        check_producer(producer)
        check_on_finish(on_finish)
        options, format = options_of(options), format_of(format)
        if whole and not answers_whole(format):
            raise TypeError(f"{type(format).__name__} has no answers in one piece: stream in it")
        self._producer: Producer | None = producer
        self._reusable = is_reusable(producer)
        self._format = format
        self._door = Door(options, on_finish)
        self._model = model
        self.status = status
        own = () if whole else headers_of(format)
        self.headers = merge_headers(own, headers)
        self._whole = whole
        self._key = key
        self._keeping = keeping_of(store, identify, on_busy, key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request; return when the producer is closed and `on_finish` has run.

        A WebSocket that asks to be accepted is refused with the answer.

        Raises:
            RuntimeError: if the producer was used up by an earlier request.
        """
        if scope["type"] == "lifespan":
            keeping = self._keeping
            await answer_lifespan(receive, send, keeping.host.running if keeping else nullcontext)
            return
        if scope["type"] == "websocket":
            receive, send = over_websocket(receive, send)
        await self.answer(self._door, scope, receive, send)

    async def answer(
        self,
        door: Door,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: ChatRequest | None = None,
        keeping: Keeping | None = None,
        question: str = "",
    ) -> None:
        """Answer the request, if this door admits it.

        Args:
            request: what the client asked, where `ChatApp` decoded it.
            keeping: how `ChatApp` keeps its streams.
            question: see `Keeping.new_run`.
        """
        keeping = keeping or self._keeping
        producer = self._take_producer()
        if scope.get("method") == "HEAD":
            # Frameworks send HEAD to GET's routes; it wants to know the headers, not the answer.
            async with _discarding(producer):
                await send_empty(send, self.status, self.headers)
            return
        cursor = self._cursor_of(scope)
        if cursor is not None and keeping is None and scope.get("method") == "GET":
            # It would run the model again. 204 makes an EventSource stop reconnecting.
            async with _discarding(producer):
                await send_empty(send, 204, [NO_STORE])
            return
        with ExitStack() as held:
            try:
                if keeping is not None and cursor is not None:
                    async with _discarding(producer):
                        await self._resume(keeping, cursor, door, scope, receive, send)
                    return
                admitted = held.enter_context(door.admit(scope, request))
                if keeping is not None:
                    now = admitted.options.clock.time()
                    run = await keeping.new_run(
                        scope, request, self._key, question, self._format, now
                    )
                    await self._keep(producer, keeping, run, admitted, held, receive, send)
                    return
            except LLMStreamError as error:
                async with _discarding(producer):
                    await refuse(scope, send, self._format, error)
                return
            await self._deliver(producer, admitted, receive, send)

    def _cursor_of(self, scope: Scope) -> Cursor | None:
        """Return where a client was that had events of ours, and asks again."""
        if not has_envelope(self._format):
            return None
        return Cursor.ours(last_event_id(scope.get("headers", ())))

    async def _keep(
        self,
        producer: Producer,
        keeping: Keeping,
        new: NewRun,
        admitted: Admitted,
        held: ExitStack,
        receive: Receive,
        send: Send,
    ) -> None:
        """Begin the run, or join the one that answers the same; and deliver it."""
        options = admitted.options
        make = partial(
            make_generation,
            producer,
            self._format,
            options,
            self._model,
            admitted.audience,
            id=new.id,
        )
        host = keeping.host
        begun = None
        try:
            over = held.pop_all().close
            begun = await host.begin(new, options, make, over, on_busy=keeping.on_busy)
        finally:
            if begun is None or not begun.epoch:
                await discard(producer)
        run = begun.state.run
        reading = self._reading(keeping, options, run.id)
        if self._whole and keeping.background is not None:
            await keeping.background(run, reading.headers, send)
            return
        ends_run = options.on_disconnect == "cancel" and keeping.background is None
        following = host.follow(
            run.owner,
            run.id,
            ends_run=bool(begun.epoch) and ends_run,
            merges=takes_merged(self._format),
        )
        await reading.deliver(following, receive, send, encoder_of(self._format, run.id))

    async def _resume(
        self,
        keeping: Keeping,
        cursor: Cursor,
        door: Door,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        reading = self._reading(keeping, door.options_for(scope), cursor.run)
        owner = await keeping.owner_of(scope)
        await resume(keeping, owner, cursor, reading, scope, receive, send)

    def _reading(self, keeping: Keeping, options: StreamOptions, run: str) -> Reading:
        return keeping.reading(self._format, options, run, self.status, self.headers, self._whole)

    async def _deliver(
        self, producer: Producer, admitted: Admitted, receive: Receive, send: Send
    ) -> None:
        options = admitted.options
        generation = make_generation(
            producer, self._format, options, self._model, admitted.audience
        )
        end = HeldEnd(send)
        kind: type[Delivery] = WholeDelivery if self._whole else StreamDelivery
        delivery = kind(
            generation,
            generation.log.follow(),
            self._format,
            options,
            end.send,
            status=self.status,
            headers=self.headers,
        )
        generation.start()
        try:
            await delivery.run(receive)
        finally:
            try:
                await conclude(generation)
            finally:
                await end.release()

    def _take_producer(self) -> Producer:
        producer = self._producer
        if producer is None:
            raise RuntimeError(
                "this LLMStream was given an iterator, which its first request used up: "
                "make one per request, or give a function"
            )
        if not self._reusable:
            self._producer = None
        return producer


@asynccontextmanager
async def _discarding(producer: Producer) -> AsyncGenerator[None]:
    """Let go of the producer, which is not needed, once its client knows."""
    try:
        yield
    finally:
        await discard(producer)


@explains
def encode_stream(
    producer: Producer,
    *,
    format: AnyFormat = DEFAULT_FORMAT,
    options: StreamOptions = DEFAULT_OPTIONS,
    on_finish: OnFinish | None = None,
    model: str = "",
) -> AsyncGenerator[bytes, None]:
    """The stream's bytes, heartbeats included, for a response class of your own.

    Without the request there are no HTTP statuses for early failures. A disconnect is noticed when
    the framework cancels or closes this iterator, or drops it and it is collected; at the latest
    when nobody has read on for `send_timeout` seconds. Who does then gets a `ReadTooLate`.

    Args:
        producer: as for `LLMStream`, as are the others.

    Raises:
        TypeError: as `LLMStream` does.
    """
    check_producer(producer)
    check_on_finish(on_finish)
    options, format = options_of(options), format_of(format)
    audience = Audience() if on_finish is None else Audience(on_finish=(on_finish,))
    make = partial(make_generation, producer, format, options, model, audience)
    return encoded(make, format, options)


async def collect(
    producer: Producer, *, options: StreamOptions = DEFAULT_OPTIONS, model: str = ""
) -> Message:
    """The whole answer, not streamed.

    Args:
        producer: as for `LLMStream`.
        options: its deadlines.
        model: goes into the message.

    Raises:
        LLMStreamError: if a deadline passed, or the producer yielded an `Error`.
        BaseException: what the producer raised, as it is.
    """
    check_producer(producer)
    options = options_of(options)
    generation = make_generation(producer, DEFAULT_FORMAT, options, model, Audience())
    generation.start()
    await conclude(generation)
    if generation.cause is not None:
        raise generation.cause
    return generation.message


def make_generation(
    producer: Producer,
    format: Format,
    options: StreamOptions,
    model: str,
    audience: Audience,
    log: Log | None = None,
    *,
    id: str | None = None,
) -> Generation:
    return Generation(
        producer,
        options,
        audience,
        id=id or secrets.token_hex(16),
        model=model,
        carries_raw=format.carries_raw,
        has_envelope=has_envelope(format),
        offered=format.offered,
        log=log,
    )
