"""AI SDK UI message stream, v1: what `useChat` and `DefaultChatTransport` speak.

    start → (start-step → part* → finish-step)* → finish | error → data: [DONE]

Source: `ui-message-chunks.ts` and `process-ui-message-stream.ts` of npm `ai` 7. A key that a client
does not know kills its stream in 5.0.0 to 5.0.200, 6.0.0 to 6.0.230 and 7.0.0 (5.0.220, 6.0.231 and
7.0.160 pass it over), an unknown type in all. So nothing stands here that 6.0.0 does not know.

    chunk               on the wire
    ----------------    --------------------------------------------------------------------
    Text, Refusal       text parts: nothing tells the two apart
    Reasoning           reasoning parts; a signature is Anthropic's provider metadata, and so is
                        all of what is not shown
    ToolCall(Delta)     tool-input-start, -delta, -available; arguments that are no JSON become
                        tool-input-error (strict_v5: tool-output-error), and so does a call that
                        broke off. Whose `by` is another than the client says `providerExecuted`,
                        and so does its result: else a page's `onToolCall` runs it. Gemini's
                        signature is Google's provider metadata
    ToolResult          tool-output-available, -error; of a call that the client does not know,
                        which would kill the stream, data-tool-result
                        One that was denied is tool-output-denied, and its words are dropped
                        (strict_v5: tool-output-error)
    Approval            tool-approval-request, whose id is the call's; `reason` is dropped. Of a
                        call that the client does not know, and by strict_v5, data-approval
    Source, Document,   source-url, source-document, file
    File
    Data                data-NAME, with its id and transient
    Metadata            message-metadata
    State, StateDelta   data-state, each in the place of the one before; and data-state-delta,
                        transient: a page that wants the state applies the patch
    Step                start-step, finish-step; the name is dropped
    Usage               message-metadata "usage" at the end, also of an answer that broke off
    Finish              finishReason in our words with a hyphen; the native one is dropped, and
                        by strict_v5 all of it
    Error, aborted      error; its code and status are dropped. The protocol's own abort is for an
                        answer that somebody has stopped only: clients skip it, and a broken
                        answer looks finished
    Raw                 dropped
    model, created      dropped
"""

from __future__ import annotations

import json
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
from ...request import ChatRequest
from ..base import Encoder, Method
from ..shapes.chat import told_of
from ..shapes.failures import failed
from ..shapes.items import fields_of
from ..wire import DONE, data, dumps, quote
from .request import continued, decode_request

__all__ = ["UIMessages"]


class UIMessages(Struct, frozen=True, kw_only=True):
    """The format of `POST /ui`.

    Args:
        strict_v5: leave out what `ai` 5 refuses: all of it approvals, the first of 5.0 finish
            reasons (up to 5.0.90) and tool-input-error (up to 5.0.5).
        include_usage: put the usage, when it is known, in the message's metadata.
        message_id: the message's id; derived from the run's if None. Requests set it, when their
            last message is the assistant's: then the client goes on with that.
        known_calls: ids of tool calls that the message holds before the stream; set likewise.
    """

    strict_v5: bool = False
    include_usage: bool = True
    message_id: str | None = None
    known_calls: frozenset[str] = frozenset()

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = (
        (b"x-vercel-ai-ui-message-stream", b"v1"),
    )
    carries_raw: ClassVar[bool] = False
    counts_events: ClassVar[Literal[True]] = True
    route: ClassVar[str] = "/ui"
    methods: ClassVar[tuple[Method, ...]] = ("POST",)
    names_model: ClassVar[bool] = False

    @property
    def offered(self) -> None:
        """Not told by these requests."""
        return None

    def encoder(self) -> Encoder:
        return _Encoder(self).encode

    def error_body(self, error: LLMStreamError) -> bytes:
        fields = {"code": error.code, "message": error.message}
        if error.param is not None:
            fields["param"] = error.param
        return dumps(fields)

    def decode(self, fields: dict[str, Any], /) -> ChatRequest:
        return decode_request(fields)

    def for_request(self, request: ChatRequest) -> UIMessages:
        message_id, calls = continued(request.body)
        return msgspec.structs.replace(
            self, message_id=message_id or self.message_id, known_calls=self.known_calls | calls
        )


_START_STEP = b'data: {"type":"start-step"}\n\n'
_FINISH_STEP = b'data: {"type":"finish-step"}\n\n'
# What all chunks of a call say that the page is not to run.
_EXECUTED = {"providerExecuted": True}
# The kinds that are text on the wire, by the word that their chunks begin with.
_TEXTS = {"text": "text", "refusal": "text", "reasoning": "reasoning"}
_SOURCES: dict[type, str] = {Source: "url", Document: "document"}


class _Encoder:
    def __init__(self, format: UIMessages) -> None:
        self._format = format
        self._run_id = ""
        self._calls: dict[str, dict[str, bool]] = {id: {} for id in format.known_calls}
        self._delta_of = -1
        self._delta_prefix = b""

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            return self._delta(event)
        match event:
            case RunStarted(id=id):
                self._run_id = id
                return _chunk("start", messageId=self._format.message_id or f"msg-{id}")
            case StepStarted():
                return _START_STEP
            case StepEnded():
                return _FINISH_STEP
            case PartStarted(part=part):
                return self._open(part)
            case PartEnded():
                return self._close(event)
            case ItemAdded():
                return self._item(event)
            case RunFinished():
                return self._finish(event)
            case RunAborted(is_stop=True):
                return self._usage(event.usage) + _chunk("abort") + DONE
            case RunFailed() | RunAborted():
                told = _chunk("error", errorText=failed(event).message)
                return self._usage(event.usage) + told + DONE
            case _:
                return b""

    def _delta(self, event: PartDelta) -> bytes:
        part = event.part
        if part.index != self._delta_of:
            self._delta_of = part.index
            if part.kind == "tool_call":
                start = _chunk("tool-input-delta", toolCallId=part.id, inputTextDelta="")
            else:
                start = _chunk(f"{_TEXTS[part.kind]}-delta", id=part.id, delta="")
            self._delta_prefix = start.removesuffix(b'""}\n\n')
        return self._delta_prefix + quote(event.text) + b"}\n\n"

    def _open(self, part: Part) -> bytes:
        if part.kind != "tool_call":
            return _chunk(f"{_TEXTS[part.kind]}-start", id=part.id)
        executed = self._calls[part.id] = _EXECUTED if part.runs_elsewhere else {}
        return _chunk("tool-input-start", toolCallId=part.id, toolName=part.name, **executed)

    def _close(self, event: PartEnded) -> bytes:
        part = event.part
        if part.kind == "tool_call":
            return self._input(event)
        if event.signature is None:
            return _chunk(f"{_TEXTS[part.kind]}-end", id=part.id)
        name = "redactedData" if part.redacted else "signature"
        sealed = {"anthropic": {name: event.signature}}
        return _chunk("reasoning-end", id=part.id, providerMetadata=sealed)

    def _input(self, event: PartEnded) -> bytes:
        # A client runs its tool as soon as the input is there: never half of it.
        if not event.whole:
            return self._bad_input(event, "The answer broke off.")
        try:
            input = _parsed(event.text)
        except ValueError:
            return self._bad_input(event, "The model wrote arguments that are not JSON.")
        call = {"toolCallId": event.part.id, "toolName": event.part.name}
        more: dict[str, Any] = {**self._calls[event.part.id]}
        if event.signature is not None:
            more["providerMetadata"] = {"google": {"thoughtSignature": event.signature}}
        return _chunk("tool-input-available", **call, input=input, **more)

    def _bad_input(self, event: PartEnded, error: str) -> bytes:
        id = event.part.id
        told = {"errorText": error, **self._calls[id]}
        if self._format.strict_v5:
            return _chunk("tool-output-error", toolCallId=id, **told)
        call = {"toolCallId": id, "toolName": event.part.name, "input": event.text}
        return _chunk("tool-input-error", **call, **told)

    def _item(self, event: ItemAdded) -> bytes:
        match event.item:
            case ToolResult() as result:
                return self._result(result)
            case Approval() as approval:
                return self._approval(approval)
            case Source() | Document() as source:
                id = f"source_{self._run_id}_{event.seq}"
                return _chunk(f"source-{_SOURCES[type(source)]}", sourceId=id, **fields_of(source))
            case File() as file:
                return _chunk("file", **fields_of(file))
            case Data() as named:
                return _data(named)
            case Metadata(fields=fields):
                return _chunk("message-metadata", messageMetadata=fields)
            case State(value=value):
                return _chunk("data-state", data=value, id="state")
            case StateDelta(patch=patch):
                return _chunk("data-state-delta", data=patch, transient=True)
            case _:
                return b""

    def _approval(self, approval: Approval) -> bytes:
        fields = {"toolCallId": approval.call_id}
        if approval.call_id in self._calls and not self._format.strict_v5:
            return _chunk("tool-approval-request", approvalId=approval.call_id, **fields)
        if approval.reason is not None:
            fields["reason"] = approval.reason
        return _chunk("data-approval", data=fields)

    def _result(self, result: ToolResult) -> bytes:
        fields: dict[str, Any] = {"toolCallId": result.id}
        if result.error or result.denied:
            fields["errorText"] = told_of(result)
        else:
            fields["output"] = result.output
        if result.id not in self._calls:
            return _chunk("data-tool-result", data=fields)
        if result.denied and not self._format.strict_v5:
            return _chunk("tool-output-denied", toolCallId=result.id)
        fields |= self._calls[result.id]
        return _chunk(f"tool-output-{'error' if 'errorText' in fields else 'available'}", **fields)

    def _finish(self, event: RunFinished) -> bytes:
        reason = {} if self._format.strict_v5 else {"finishReason": event.reason.replace("_", "-")}
        return self._usage(event.usage) + _chunk("finish", **reason) + DONE

    def _usage(self, usage: Usage | None) -> bytes:
        """In the shape of the SDK's own `LanguageModelUsage`."""
        if usage is None or not self._format.include_usage:
            return b""
        counts = {
            "inputTokens": usage.input_tokens,
            "inputTokenDetails": {
                "cacheReadTokens": usage.cached_tokens,
                "cacheWriteTokens": usage.cache_write_tokens,
            },
            "outputTokens": usage.output_tokens,
            "outputTokenDetails": {"reasoningTokens": usage.reasoning_tokens},
            "totalTokens": usage.total_tokens,
        }
        return _chunk("message-metadata", messageMetadata={"usage": counts})


def _chunk(type: str, **fields: Any) -> bytes:
    return data(dumps({"type": type, **fields}))


def _data(named: Data) -> bytes:
    fields: dict[str, Any] = {"data": named.value}
    if named.id is not None:
        fields["id"] = named.id
    if named.transient:
        fields["transient"] = True
    return _chunk(f"data-{named.name}", **fields)


def _parsed(arguments: str) -> Any:
    """The arguments as an object; empty text counts as none.

    Raises:
        ValueError: if they are not JSON.
    """
    try:
        return msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError):
        # Not of half an emoji, which `dumps` mends and msgspec refuses.
        return json.loads(arguments, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"JSON has no {constant}")
