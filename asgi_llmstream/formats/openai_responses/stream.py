"""OpenAI Responses: stream events and whole responses.

Source: the OpenAI API reference, responses and their streaming events; openai 3.54 (Python) and
7.57 (Node), whose accumulators are the judges.

Every text, refusal and reasoning is an output item of its own, and so is every tool call. Items
follow each other, since clients' accumulators take calls that grow beside each other for one.

    what            becomes
    ------------    -----------------------------------------------------------------------
    tool results    `function_call_output` items; whether the tool failed is lost. Of a call that is
                    not the client's the `output` or `error` of its item
    calls           one that broke off has no `done` event, at which clients run it, and is
                    "incomplete" in the failed response; calls that waited for it are not sent.
                    Those that others than the client answer are `mcp_call` items, which no client
                    runs, of the server "server" or "provider", and end with their results
    approvals       an `mcp_approval_request` of the call's own id, in whose place the call's item
                    is "incomplete"; `reason` is dropped. What comes of a call that the request
                    approves or denies is an `mcp_call` of that `approval_request_id`
    signatures      `encrypted_content` of the reasoning item, also of one that is not shown; those
                    of calls are dropped
    sources         `url_citation` annotations of the text that they stand in, precede or follow;
                    dropped if there is none. A whole answer has them all at the text's end
    stopped         an error, and a failed response of the status "cancelled"
    errors          an `error` event in both shapes that clients look for: its fields stand at the
                    top, and under `error` as Open Responses has them; then `response.failed`
    usage           zeros where none was reported
    finish reasons  "length" and "content_filter" are `incomplete_details`; others are lost
    documents,      dropped
    files, data,
    metadata, state,
    steps
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, field

from ...chunks import Approval, Source, ToolResult, Usage
from ...errors import LLMStreamError
from ...events import (
    Event,
    ItemAdded,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    merge,
)
from ...message import Message
from ...request import ChatRequest, Decision
from ..base import Encoder, Method, StoredOperation
from ..shapes.chat import told_of
from ..shapes.citations import Citations
from ..shapes.failures import error_object, failed
from ..shapes.fields import given
from ..shapes.replay import replay
from ..shapes.sealed import seal_of
from ..shapes.sequence import Sequence as InSequence
from ..wire import dumps, quote
from .openapi import stored_operations
from .output import Output, ServerCalls
from .request import decode_request
from .words import (
    DELTAS,
    ECHOED,
    INCOMPLETE,
    Item,
    body_of,
    inner_of,
    item_id,
    item_of,
    kind_of,
    response_of,
    usage_object,
)

__all__ = ["OpenAIResponses"]


class OpenAIResponses(Struct, frozen=True, kw_only=True):
    """The format of `POST /responses`.

    Args:
        stateful: whether `answer` keeps responses itself and finds them by what the body says:
            `previous_response_id`, `conversation`, and items of type `item_reference`. If not,
            a request with one of these is refused, since its conversation would be cut.
        stored: whether a store keeps responses, so that requests may refer to them and go on in
            the background. `ChatApp(store=...)` sets it.
        input: the whole conversation that the response answers, as items; of one that is stored.
        echo: fields of the response that repeat the request's. Requests set them.
        offered: the names of the tools that the client runs: calls of others are the server's.
            If None all are the client's, unless a call says otherwise. Requests set it.
        decided: the calls that the client approved or denied. Requests set them.
    """

    stateful: bool = False
    stored: bool = False
    input: list[Item] = field(default_factory=list)
    echo: dict[str, Any] = field(default_factory=dict)
    offered: frozenset[str] | None = None
    decided: tuple[Decision, ...] = ()

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    route: ClassVar[str] = "/responses"
    methods: ClassVar[tuple[Method, ...]] = ("POST",)
    names_model: ClassVar[bool] = True

    def encoder(self) -> Encoder:
        return _Encoder(self).encode

    def error_body(self, error: LLMStreamError) -> bytes:
        return dumps(error_object(error))

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields, stateful=self.stateful, stored=self.stored)

    def for_request(self, request: ChatRequest) -> OpenAIResponses:
        return msgspec.structs.replace(
            self,
            echo=given(request.body, ECHOED),
            offered=request.offered,
            decided=tuple(request.approvals),
        )

    def stored_operations(self) -> Iterable[StoredOperation]:
        return stored_operations(self.route)

    def answering(self, items: list[Item], *, background: bool = False) -> OpenAIResponses:
        """This format, for a response that is stored with the conversation that it answers."""
        echo = {**self.echo, "store": True, "background": background}
        return msgspec.structs.replace(self, input=items, echo=echo)

    def response_of(self, events: Sequence[Event]) -> dict[str, Any]:
        """The response as it is behind these events, which are a run's first ones."""
        encoder = _Encoder(self)
        for event in merge(events):
            encoder.encode(event)
        return encoder.response | {"output": encoder.items}

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        encoder = _Encoder(self)
        for event in replay(started, message):
            encoder.encode(event)
        return dumps(encoder.response)


class _Encoder:
    """Keeps the response as it grows, since its last event repeats it whole.

    Attributes:
        response: as it is now; its items are whole from their end on.
    """

    def __init__(self, format: OpenAIResponses) -> None:
        self.response: dict[str, Any] = {}
        self._format = format
        self._output = Output()
        self._calls = ServerCalls(self._output, format.decided)
        self._where: dict[str, Any] = {}
        self._prefix = b""
        self._sequence = InSequence()
        self._citations = Citations()
        self._annotations: list[dict[str, Any]] = []
        self._text_length = 0

    @property
    def items(self) -> list[Item]:
        """Those that there are."""
        return self._output.items

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta and event.part.index == self._sequence.current:
            return self._delta(event)  # the hot path
        turns = self._sequence.feed(event)
        return b"".join([self._encode(e) for turn in turns for e in self._citations.feed(turn)])

    def _encode(self, event: Event) -> bytes:
        match event:
            case PartDelta():
                return self._delta(event)
            case PartStarted(part=part):
                return self._open(part)
            case PartEnded():
                return self._close(event)
            case ItemAdded(item=ToolResult() as result):
                return self._tool_result(result)
            case ItemAdded(item=Approval(call_id=id)):
                return self._calls.ask(id)
            case ItemAdded(item=Source() as source):
                return self._cite(source)
            case RunStarted():
                return self._start(event)
            case RunFinished():
                return self._finish(event)
            case RunAborted(is_stop=True):
                return self._fail(failed(event), "cancelled")
            case RunFailed() | RunAborted():
                return self._fail(failed(event))
            case _:
                return b""

    def _delta(self, event: PartDelta) -> bytes:
        # Numbered as the last of those that were merged, so that a cursor means the same in
        # every client's stream.
        self._output.count += event.merged
        self._text_length += len(event.text)
        text, number = quote(event.text), self._output.count - 1
        return b'%b%b,"sequence_number":%d}\n\n' % (self._prefix, text, number)

    def _start(self, event: RunStarted) -> bytes:
        self._output.run_id = event.id
        self.response = response_of(event, self._format.echo)
        response = {"response": self.response}
        return self._output.emit("response.created", response) + self._output.emit(
            "response.in_progress", response
        )

    def _open(self, part: Part) -> bytes:
        kind = kind_of(part)
        id = item_id(kind, self._output.run_id, len(self._output.items))
        where = {"item_id": id, "output_index": len(self._output.items)}
        self._where = where
        name, constant = DELTAS[kind]
        name = f"{name}.delta"
        head = dumps({"type": name, **where, **constant})[:-1]
        self._prefix = b"event: %b\ndata: %b," % (name.encode(), head) + b'"delta":'
        self._annotations, self._text_length = [], 0
        out = self._output.add(item_of(part, id))
        if kind == "mcp_call":
            return out + self._calls.begin(part.id, where)
        if kind == "tool_call":
            return out
        inner, index = inner_of(part.kind)
        return out + self._output.emit(
            f"{inner}.added", {**where, **index, "part": body_of(part.kind, "")}
        )

    def _close(self, event: PartEnded) -> bytes:
        part, where = event.part, self._where
        if part.kind == "tool_call":
            return self._close_call(event)
        item = self._output.items[where["output_index"]]
        name, constant = DELTAS[part.kind]
        body = body_of(part.kind, event.text)
        if part.kind == "text":
            body["annotations"] = self._annotations
        text = {"refusal" if part.kind == "refusal" else "text": event.text}
        inner, index = inner_of(part.kind)
        out = self._output.emit(f"{name}.done", {**where, **constant, **text})
        out += self._output.emit(f"{inner}.done", {**where, **index, "part": body})
        item["summary" if part.kind == "reasoning" else "content"] = [body]
        if event.signature is not None:
            item["encrypted_content"] = seal_of(event)
        status = "completed" if event.whole else "incomplete"
        return out + self._output.done(where["output_index"], status)

    def _close_call(self, event: PartEnded) -> bytes:
        where, kind = self._where, kind_of(event.part)
        index = where["output_index"]
        self._output.items[index]["arguments"] = event.text
        if not event.whole:
            self._output.items[index]["status"] = "incomplete"
            return b""
        name, _ = DELTAS[kind]
        out = self._output.emit(f"{name}.done", {**where, "arguments": event.text})
        # One that runs elsewhere is over when there is its result.
        return out if kind == "mcp_call" else out + self._output.done(index)

    def _tool_result(self, result: ToolResult) -> bytes:
        if (told := self._calls.end(result)) is not None:
            return told
        index = len(self._output.items)
        item = {
            "id": f"fco_{self._output.run_id}_{index}",
            "type": "function_call_output",
            "status": "in_progress",
            "call_id": result.id,
            "output": told_of(result),
        }
        return self._output.add(item) + self._output.done(index)

    def _cite(self, source: Source) -> bytes:
        annotation = {
            "type": "url_citation",
            "url": source.url,
            "title": source.title or source.url,
            "start_index": self._text_length,
            "end_index": self._text_length,
        }
        index = {"content_index": 0, "annotation_index": len(self._annotations)}
        self._annotations.append(annotation)
        fields = {**self._where, **index, "annotation": annotation}
        return self._output.emit("response.output_text.annotation.added", fields)

    def _finish(self, event: RunFinished) -> bytes:
        # Zeros where nothing is known: clients read the counts without asking for them.
        usage, reason = event.usage or Usage(), INCOMPLETE.get(event.reason)
        running = self._calls.finish()
        if reason is None:
            end = self._end("completed", usage, completed_at=event.completed)
        else:
            end = self._end("incomplete", usage, incomplete_details={"reason": reason})
        return running + end

    def _fail(self, event: RunFailed, status: str = "failed") -> bytes:
        # A response's error has a code out of a list; the event's is free.
        known = "rate_limit_exceeded" if event.status == 429 else "server_error"
        nested = error_object(event)
        flat = {"code": event.code, "message": event.message, "param": event.param}
        error = {"code": known, "message": event.message}
        self._calls.fail()
        told = self._output.emit("error", flat | nested)
        self._close_response(status, event.usage, error=error)
        return told + self._output.emit("response.failed", {"response": self.response})

    def _end(self, status: str, usage: Usage | None, **details: Any) -> bytes:
        self._close_response(status, usage, **details)
        return self._output.emit(f"response.{status}", {"response": self.response})

    def _close_response(self, status: str, usage: Usage | None, **details: Any) -> None:
        self.response |= {
            "status": status,
            "output": self._output.items,
            "usage": None if usage is None else usage_object(usage),
            **details,
        }
