"""AG-UI 1.0: what CopilotKit and other `@ag-ui/client` front ends speak.

    RUN_STARTED → (STEP_STARTED → event* → STEP_FINISHED)* → RUN_FINISHED | RUN_ERROR

Source: the models of `ag-ui-protocol` 1.0, which are generated from the specification's schema,
and `verify.ts` and `apply/default.ts` of `@ag-ui/client` 1.0.

    chunk               on the wire
    ----------------    --------------------------------------------------------------------
    Text, Refusal       TEXT_MESSAGE_START, _CONTENT, _END: nothing tells the two apart
    Reasoning           REASONING_START, REASONING_MESSAGE_START, _CONTENT, _END,
                        REASONING_END; its signature is a REASONING_ENCRYPTED_VALUE, and so are
                        those of calls and all of a reasoning that is not shown
    ToolCall(Delta)     TOOL_CALL_START, _ARGS, _END. Parallel calls share the assistant's
                        message of the text before them. A call that broke off has no _END
    ToolResult          TOOL_CALL_RESULT, as text; failures have metadata {"error": true}. Of a
                        call that nobody made, CUSTOM "llmstream.tool_result". One that was
                        denied is a failure
    Approval            an interrupt of RUN_FINISHED, whose id is the call's, unless its result
                        came; the client answers with `resume`
    Source, Document,   CUSTOM "llmstream.source", "llmstream.document" and "llmstream.file"
    File
    Data                CUSTOM of its name; its id and `transient` are dropped
    Metadata            metadata of RUN_FINISHED
    State, StateDelta   STATE_SNAPSHOT, STATE_DELTA
    Step                STEP_STARTED, STEP_FINISHED; "step_1" and so on without a name
    Usage, model        `usage` of RUN_FINISHED and RUN_ERROR; the model's name only there
    Finish              metadata {"finishReason"} of RUN_FINISHED, in our words; the native one
                        is dropped
    Error               RUN_ERROR with its code; the status is dropped
    aborted             RUN_ERROR with the code "aborted": older clients take the outcome
                        "cancelled" for success
    Raw                 dropped
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from ...chunks import (
    Approval,
    Data,
    Document,
    File,
    Metadata,
    Source,
    State,
    StateDelta,
    ToolResult,
    Usage,
)
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
    StepEnded,
    StepStarted,
)
from ...message import merge_fields
from ...request import ChatRequest
from ..base import Encoder, Method
from ..shapes.chat import told_of
from ..shapes.failures import failed
from ..shapes.items import fields_of
from ..shapes.sealed import seal_of
from ..wire import data, dumps, quote
from .request import decode_request

__all__ = ["AGUI"]

_PROTOCOL_VERSION = "1.0"

# The largest number that all of the protocol's bindings can read.
_MAX_COUNT = 2**53 - 1


class AGUI(Struct, frozen=True, kw_only=True):
    """The format of `POST /ag-ui`.

    Args:
        thread_id: names the conversation; derived from the run's id if None. Requests set it.
        run_id: names the run in the client's words; ours if None. Requests set it.
        known_calls: ids of tool calls that the conversation holds before the run; set likewise.
        offered: the names of the tools that the client runs; set likewise. All calls are shown.
    """

    thread_id: str | None = None
    run_id: str | None = None
    known_calls: frozenset[str] = frozenset()
    offered: frozenset[str] | None = None

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    cursors: ClassVar[Literal["added"]] = "added"
    route: ClassVar[str] = "/ag-ui"
    methods: ClassVar[tuple[Method, ...]] = ("POST",)
    names_model: ClassVar[bool] = False

    def encoder(self) -> Encoder:
        return _Encoder(self).encode

    def error_body(self, error: LLMStreamError) -> bytes:
        """The same words as in a stream: the protocol has no shape for it."""
        return dumps({"type": "RUN_ERROR", "message": error.message, "code": error.code})

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields)

    def for_request(self, request: ChatRequest) -> AGUI:
        calls = (call.get("id") for message in request.messages for call in message.tool_calls)
        return msgspec.structs.replace(
            self,
            thread_id=request.thread_id or self.thread_id,
            run_id=request.run_id or self.run_id,
            known_calls=self.known_calls.union(filter(None, calls)),
            offered=request.offered,
        )


# The kinds that are text on the wire, by the words that their events begin with.
_TEXTS = {
    "text": "TEXT_MESSAGE",
    "refusal": "TEXT_MESSAGE",
    "reasoning": "REASONING_MESSAGE",
}


class _Encoder:
    def __init__(self, format: AGUI) -> None:
        self._format = format
        self._run: dict[str, str] = {}
        self._run_id = ""
        self._model = ""
        self._step_name = ""
        self._parent: str | None = None
        self._calls = set(format.known_calls)
        self._interrupts: dict[str, dict[str, Any]] = {}  # by their calls
        self._metadata: dict[str, Any] = {}
        self._delta_of = -1
        self._delta_prefix = b""

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            return self._delta(event)
        match event:
            case RunStarted():
                return self._start(event)
            case StepStarted(step=step, name=name):
                self._step_name = name or f"step_{step + 1}"
                self._parent = None
                return _event("STEP_STARTED", stepName=self._step_name)
            case StepEnded():
                return _event("STEP_FINISHED", stepName=self._step_name)
            case PartStarted(part=part):
                return self._open(part)
            case PartEnded():
                return _close(event)
            case ItemAdded():
                return self._item(event)
            case RunFinished():
                return self._finish(event)
            case RunFailed() | RunAborted():
                failure = failed(event)
                told = {"message": failure.message, "code": failure.code}
                return _event("RUN_ERROR", **told, **self._usage(event.usage))
            case _:
                return b""

    def _start(self, event: RunStarted) -> bytes:
        self._run_id = event.id
        self._model = event.model
        self._run = {
            "threadId": self._format.thread_id or f"thread-{event.id}",
            "runId": self._format.run_id or event.id,
        }
        return _event(
            "RUN_STARTED",
            **self._run,
            protocolVersion=_PROTOCOL_VERSION,
            timestamp=event.created * 1000,
        )

    def _delta(self, event: PartDelta) -> bytes:
        part = event.part
        if part.index != self._delta_of:
            self._delta_of = part.index
            if part.kind == "tool_call":
                start = _event("TOOL_CALL_ARGS", toolCallId=part.id, delta="")
            else:
                start = _event(f"{_TEXTS[part.kind]}_CONTENT", messageId=part.id, delta="")
            self._delta_prefix = start.removesuffix(b'""}\n\n')
        return self._delta_prefix + quote(event.text) + b"}\n\n"

    def _open(self, part: Part) -> bytes:
        match part.kind:
            case "tool_call":
                return self._call(part)
            case "reasoning":
                return _event("REASONING_START", messageId=part.id) + _event(
                    "REASONING_MESSAGE_START", messageId=part.id, role="reasoning"
                )
            case _:
                self._parent = part.id
                return _event("TEXT_MESSAGE_START", messageId=part.id, role="assistant")

    def _call(self, part: Part) -> bytes:
        self._calls.add(part.id)
        if self._parent is None:
            self._parent = f"calls_{self._run_id}_{part.ordinal}"
        return _event(
            "TOOL_CALL_START",
            toolCallId=part.id,
            toolCallName=part.name,
            parentMessageId=self._parent,
        )

    def _item(self, event: ItemAdded) -> bytes:
        match event.item:
            case ToolResult() as result:
                return self._result(result, event.seq)
            case Approval() as approval:
                self._interrupts[approval.call_id] = _interrupt(approval)
                return b""
            case Source() | Document() | File() as item:
                name = f"llmstream.{type(item).__name__.lower()}"
                return _event("CUSTOM", name=name, value=fields_of(item))
            case Data(name=name, value=value):
                return _event("CUSTOM", name=name, value=value)
            case Metadata(fields=fields):
                merge_fields(self._metadata, fields)
                return b""
            case State(value=value):
                return _event("STATE_SNAPSHOT", snapshot=value)
            case StateDelta(patch=patch):
                return _event("STATE_DELTA", delta=patch)
            case _:
                return b""

    def _finish(self, event: RunFinished) -> bytes:
        fields: dict[str, Any] = {**self._run, **self._usage(event.usage)}
        if self._interrupts:
            interrupts = [*self._interrupts.values()]
            fields["outcome"] = {"type": "interrupt", "interrupts": interrupts}
        metadata = {**self._metadata, "finishReason": event.reason}
        return _event("RUN_FINISHED", **fields, metadata=metadata)

    def _result(self, result: ToolResult, seq: int) -> bytes:
        # What the model says next is another message, also if no step begins.
        self._parent = None
        self._interrupts.pop(result.id, None)
        fields: dict[str, Any] = {"toolCallId": result.id, "content": told_of(result)}
        if result.error or result.denied:
            fields["metadata"] = {"error": True}
        if result.id not in self._calls:
            return _event("CUSTOM", name="llmstream.tool_result", value=fields)
        message = f"result_{self._run_id}_{seq}"
        return _event("TOOL_CALL_RESULT", messageId=message, **fields, role="tool")

    def _usage(self, usage: Usage | None) -> dict[str, Any]:
        if usage is None:
            return {}
        counts = {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "totalTokens": usage.total_tokens,
            "reasoningTokens": usage.reasoning_tokens,
            "cachedInputTokens": usage.cached_tokens,
            "cacheWriteInputTokens": usage.cache_write_tokens,
        }
        # A count that the client cannot read would cost the user the whole answer.
        readable = {name: count for name, count in counts.items() if 0 <= count <= _MAX_COUNT}
        model = {"model": self._model} if self._model else {}
        return {"usage": [{**model, **readable}]}


_ANSWER = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object"},
        "reason": {"type": "string"},
    },
    "required": ["approved"],
}


def _interrupt(approval: Approval) -> dict[str, Any]:
    # The reason and the answer's shape are those of the protocol's own examples.
    call = {"id": approval.call_id, "reason": "tool_call", "toolCallId": approval.call_id}
    message = {} if approval.reason is None else {"message": approval.reason}
    return {**call, **message, "responseSchema": _ANSWER}


def _close(event: PartEnded) -> bytes:
    part = event.part
    match part.kind:
        case "tool_call":
            # It would say that the arguments are complete; RUN_ERROR closes what is open.
            if not event.whole:
                return b""
            return _event("TOOL_CALL_END", toolCallId=part.id) + _sealed(event, "tool-call")
        case "reasoning":
            return (
                _event("REASONING_MESSAGE_END", messageId=part.id)
                + _sealed(event, "message")
                + _event("REASONING_END", messageId=part.id)
            )
        case _:
            return _event("TEXT_MESSAGE_END", messageId=part.id)


def _sealed(event: PartEnded, subtype: Literal["message", "tool-call"]) -> bytes:
    if (seal := seal_of(event)) is None:
        return b""
    return _event(
        "REASONING_ENCRYPTED_VALUE",
        subtype=subtype,
        entityId=event.part.id,
        encryptedValue=seal,
    )


def _event(type: str, **fields: Any) -> bytes:
    return data(dumps({"type": type, **fields}))
