"""One state machine: chunks in, well-ordered events out.

    chunk           closes first        then
    ------------    ----------------    ---------------------------------------------
    Text            parts but text      opens a text part if none is open; grows it
    Reasoning       parts but its kind  the same; a signature closes it
    Refusal         parts but its kind  the same
    ToolCallDelta   text-like parts     opens the call at its index unless it is open; grows it
    ToolCall        text-like parts     opens, grows and closes a call
    ToolResult,     all parts           adds an item
    Approval
    Source, File,   nothing             adds an item: a citation does not cut the text that
    Document, Data,                     it stands in
    Metadata, State,
    StateDelta, Raw
    Step            the step            the next chunk begins a step of this name
    Native          nothing             passes it on, unless it only repeats itself
    Usage           nothing             reports the total so far
    Upstream        nothing             notes whether a provider's answer is under way
    Finish          all parts           the model call is over: more content begins a step
    Error           the step            ends the run

Tool calls stay open beside each other, since providers may interleave their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, get_args

from msgspec.structs import astuple, replace

from ..chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    Error,
    File,
    Finish,
    FinishReason,
    Metadata,
    Native,
    Raw,
    Reasoning,
    Refusal,
    RunBy,
    Source,
    State,
    StateDelta,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Upstream,
    Usage,
)
from ..errors import LLMStreamError
from ..events import (
    Event,
    Item,
    ItemAdded,
    NativeAdded,
    Part,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepEnded,
    StepStarted,
    UsageReported,
)
from ..sources import as_builtins, as_exception, known_to_json
from .calls import Calls
from .halves import join
from .underway import Underway
from .usage import UsageSum
from .values import as_json, check_patch, check_strings

__all__ = ["Lifecycle"]


class _OpenPart:
    """A part that still grows. `part` is None while a tool call's name is not known, and `half`
    the half of a character that it ends with, which may get its other one."""

    __slots__ = ("by", "call_id", "half", "kind", "part", "pieces", "signature")

    def __init__(
        self, part: Part | None, call_id: str | None = None, by: RunBy | None = None
    ) -> None:
        self.part = part
        self.kind: PartKind = "tool_call" if part is None else part.kind
        self.call_id = call_id
        self.by = by
        self.signature: str | None = None
        self.pieces: list[str] = []
        self.half = ""

    def grow(self, text: str) -> str:
        """Take in how its text goes on; return how much of that can be said by now."""
        if self.half or text[-1] >= _FIRST_HALF:
            text, self.half = join(self.half, text)
        if text:
            self.pieces.append(text)
        return text


_FIRST_HALF = "\ud800"


class Lifecycle:
    """The events of one run.

    Args:
        id: names the run; no two runs share one.
        created: when it began, in Unix seconds.
        model: who answers, as far as the request says.
        offered: the names of the tools that the client's request offered; None if unknown.
    """

    def __init__(
        self, *, id: str, created: int, model: str, offered: Collection[str] | None = None
    ) -> None:
        self._id = id
        self._created = created
        self._model = model
        self._seq = 0
        self._parts = 0
        self._ordinals: dict[PartKind, int] = {}
        self._step = -1
        self._step_open = False
        self._step_name: str | None = None
        self._call_over = False
        self._called: set[RunBy] = set()
        self._text: _OpenPart | None = None
        self._calls: dict[int, _OpenPart] = {}
        self._asked = Calls(offered)
        self._broken = False
        self._finish: Finish | None = None
        self._used = UsageSum()
        self._underway = Underway()
        self._native: dict[str, Any] = {}
        self.ended = False

    @property
    def last_finish(self) -> Finish | None:
        """The reason why the last model call ended; None while one goes on."""
        return self._finish

    def start(self) -> list[Event]:
        """The run's first event."""
        if self._seq:
            raise RuntimeError("this run has started already")
        return [RunStarted(self._next(), self._id, self._created, self._model)]

    def feed(self, chunk: Chunk) -> list[Event]:
        """The events that `chunk` causes, in order; none for an empty delta.

        Raises:
            ValueError: if a tool call can no longer get the name that it lacks.
            TypeError: if it is no chunk, a text is no `str`, or a value cannot be JSON.
            RuntimeError: before `start()` and after the end: the caller's mistake.
        """
        if self.ended or not self._seq:
            self._check_running()
        row = _TABLE.get(type(chunk)) or _row_of(chunk)
        return row(self, chunk)

    def finish(self, completed: int | None = None) -> list[Event]:
        """The producer is done: close what is open, and end.

        Args:
            completed: the time, in Unix seconds.

        Raises:
            UpstreamTruncated: if a provider's answer was begun and has not ended.
            ValueError: as `feed`.
            RuntimeError: as `feed`.
        """
        self._check_running()
        self._underway.check()
        self._check_names()
        finish = self._finish
        events = self._close_step()
        waits = "client" in self._asked.unanswered.values()
        reason: FinishReason = "tool_calls" if waits else "stop"
        native, details = None, None
        if finish is not None:
            reason, native, details = finish.reason or reason, finish.native, finish.details
        self.ended = True
        finished = RunFinished(self._next(), self._used.total, reason, native, completed)
        return [*events, finished if details is None else replace(finished, details=details)]

    def fail(self, error: LLMStreamError) -> list[Event]:
        """End with an error that the client sees. Nothing, if the run has ended."""
        if self.ended:
            return []
        events = self._give_up()
        failed = RunFailed(
            self._next(),
            self._used.total,
            error.message,
            error.code,
            error.status,
            error.param,
            error.retry_after,
            error.should_retry,
        )
        return [*events, failed]

    def abort(self, reason: str) -> list[Event]:
        """End because of something outside the run. Nothing, if the run has ended."""
        if self.ended:
            return []
        return [*self._give_up(), RunAborted(self._next(), self._used.total, reason)]

    def _check_running(self) -> None:
        if self.ended or not self._seq:
            raise RuntimeError("the run has ended" if self.ended else "the run has not started")

    # Below: one method for each row of the table, then what they share. Each checks first and
    # changes state afterwards: an event that has got its number must not be lost in an error.

    def _feed_text(self, chunk: Text) -> list[Event]:
        return self._grow("text", chunk.text)

    def _feed_reasoning(self, chunk: Reasoning) -> list[Event]:
        if chunk.signature is None:
            return self._grow("reasoning", chunk.text)
        check_strings(chunk, optional=("signature",))
        if chunk.redacted:
            events = self._open_text("reasoning", redacted=True)
        else:
            events = self._grow("reasoning", chunk.text)
        open_part = self._text
        if open_part is None or open_part.kind != "reasoning":
            # No text came: some models show none, but want the signature back.
            events += self._open_text("reasoning")
            open_part = self._text
        assert open_part is not None
        self._text = None
        open_part.signature = chunk.signature
        return [*events, *self._end(open_part)]

    def _feed_refusal(self, chunk: Refusal) -> list[Event]:
        return self._grow("refusal", chunk.text)

    def _grow(self, kind: PartKind, text: str) -> list[Event]:
        if not text:
            return []
        if not isinstance(text, str):
            raise TypeError(
                f"{kind.capitalize()}.text must be a str, not {type(text).__qualname__}"
            )
        open_part = self._text
        if open_part is None or open_part.kind != kind:
            opened = self._open_text(kind)
            return opened + self._grow(kind, text)
        assert open_part.part is not None
        if not (text := open_part.grow(text)):
            return []
        self._seq = seq = self._seq + 1
        return [PartDelta(seq, open_part.part, text)]

    def _open_text(self, kind: PartKind, redacted: bool = False) -> list[Event]:
        self._check_names()
        events = self._close_parts()
        events += self._open_step()
        part = self._new_part(kind)
        if redacted:
            part = replace(part, redacted=True)
        self._text = _OpenPart(part)
        return [*events, PartStarted(self._next(), part)]

    def _feed_tool_call_delta(self, chunk: ToolCallDelta) -> list[Event]:
        if not (chunk.id or chunk.name or chunk.arguments or chunk.signature):
            return []
        check_strings(chunk, "arguments", optional=("id", "name", "signature"))
        _check_by(chunk.by)
        call = self._calls.get(chunk.index)
        is_other = call is not None and chunk.id and call.call_id and chunk.id != call.call_id
        if is_other:
            self._check_names(chunk.index)
        events = self._close_text()
        if is_other:
            events += self._close_call(chunk.index)
            call = None
        if call is None:
            events += self._open_step()
            self._calls[chunk.index] = call = _OpenPart(None, chunk.id)
        call.call_id = call.call_id or chunk.id
        call.by = call.by or chunk.by
        call.signature = chunk.signature or call.signature
        said = call.grow(chunk.arguments) if chunk.arguments else ""
        if call.part is None:
            if chunk.name:
                events += self._start_call(call, chunk.name)
        elif said:
            events.append(PartDelta(self._next(), call.part, said))
        return events

    def _feed_tool_call(self, chunk: ToolCall) -> list[Event]:
        arguments = chunk.arguments
        if not isinstance(arguments, str):
            arguments = as_json(as_builtins(arguments, f"ToolCall({chunk.name!r}).arguments"))
        check_strings(chunk, "id", "name", optional=("signature",))
        _check_by(chunk.by)
        events = [*self._close_text(), *self._open_step()]
        call = _OpenPart(None, chunk.id, chunk.by)
        call.signature = chunk.signature
        call.pieces.append(arguments)
        events += self._start_call(call, chunk.name)
        return [*events, *self._end_call(call)]

    def _feed_tool_result(self, chunk: ToolResult) -> list[Event]:
        check_strings(chunk, "id")
        _check_flags(error=chunk.error, denied=chunk.denied)
        self._check_names()
        output = as_builtins(chunk.output, f"ToolResult({chunk.id!r}).output")
        id = self._asked.answered_by(chunk.id)
        result = ToolResult(id, output, chunk.error, chunk.denied)
        self._asked.unanswered.pop(result.id, None)
        # A result belongs to the step of its call, also after that model call's Finish.
        events = [*self._close_parts(), *self._begin_step()]
        return [*events, ItemAdded(self._next(), result)]

    def _feed_approval(self, chunk: Approval) -> list[Event]:
        check_strings(chunk, "call_id", optional=("reason",))
        self._check_names()
        if (call_id := self._asked.asked_about(chunk.call_id)) is None:
            return []
        events = [*self._close_parts(), *self._begin_step()]
        return [*events, ItemAdded(self._next(), Approval(call_id, chunk.reason))]

    def _feed_data(self, chunk: Data) -> list[Event]:
        check_strings(chunk, "name", optional=("id",))
        _check_flags(transient=chunk.transient)
        value = as_builtins(chunk.value, f"Data({chunk.name!r}).value")
        return self._feed_item(replace(chunk, value=value))

    def _feed_metadata(self, chunk: Metadata) -> list[Event]:
        fields = as_builtins(chunk.fields, "Metadata.fields")
        if not isinstance(fields, dict):
            raise TypeError(f"metadata are a dict, not {type(chunk.fields).__name__}")
        return self._feed_item(Metadata(fields))

    def _feed_state(self, chunk: State) -> list[Event]:
        return self._feed_item(State(as_builtins(chunk.value, "State.value")))

    def _feed_state_delta(self, chunk: StateDelta) -> list[Event]:
        patch = as_builtins(chunk.patch, "StateDelta.patch")
        check_patch(patch)
        return self._feed_item(StateDelta(patch))

    def _feed_source(self, chunk: Source) -> list[Event]:
        check_strings(chunk, "url", optional=("title",))
        return self._feed_item(chunk)

    def _feed_document(self, chunk: Document) -> list[Event]:
        check_strings(chunk, "title", "media_type", optional=("filename",))
        return self._feed_item(chunk)

    def _feed_file(self, chunk: File) -> list[Event]:
        check_strings(chunk, "url", "media_type")
        return self._feed_item(chunk)

    def _feed_item(self, chunk: Item | Raw) -> list[Event]:
        return [*self._begin_step(), ItemAdded(self._next(), chunk)]

    def _feed_native(self, chunk: Native) -> list[Event]:
        fields = known_to_json(chunk.fields)
        # What every chunk repeats, as a fingerprint, is passed on once.
        repeated, constant = self._native, fields.pop("chunk", {})
        changed = {k: v for k, v in constant.items() if k not in repeated or repeated[k] != v}
        self._native = repeated | changed
        if changed:
            fields["chunk"] = changed
        return [NativeAdded(self._next(), chunk.family, fields)] if fields else []

    def _feed_step(self, chunk: Step) -> list[Event]:
        self._check_names()
        events = self._close_step()
        self._step_name = chunk.name
        self._call_over = True
        self._used.next_call()
        return events

    def _feed_usage(self, chunk: Usage) -> list[Event]:
        *counts, _ = astuple(chunk)
        if not all(isinstance(count, int) for count in counts):
            raise TypeError(f"tokens are counted in int: {chunk}")
        total = self._used.report(chunk)
        return [UsageReported(self._next(), total)]

    def _feed_upstream(self, chunk: Upstream) -> list[Event]:
        self._underway.hear(chunk)
        return []

    def _feed_finish(self, chunk: Finish) -> list[Event]:
        if chunk.reason is not None and chunk.reason not in get_args(FinishReason):
            raise ValueError(f"{chunk.reason!r} is no finish reason: use Finish('other', 'it')")
        check_strings(chunk, optional=("native",))
        details = as_builtins(chunk.details, "Finish.details")
        self._check_names()
        events = self._close_parts()
        self._finish = Finish(self._reason(chunk), chunk.native, details)
        self._call_over = True
        return events

    def _reason(self, chunk: Finish) -> FinishReason:
        """Return why the model call ended, to a client that answers no calls but its own."""
        if chunk.reason is None:
            return "tool_calls" if "client" in self._called else "stop"
        if chunk.reason == "tool_calls" and self._called and "client" not in self._called:
            return "stop"
        return chunk.reason

    def _feed_error(self, chunk: Error) -> list[Event]:
        return self.fail(as_exception(chunk))

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _open_step(self) -> list[Event]:
        """A step to put the model's words in: a new one, and a new model call, after a `Finish`."""
        events: list[Event] = []
        if self._call_over:
            events = self._close_step()
            self._call_over = False
            self._called = set()
            self._used.next_call()
            self._finish = None
        return [*events, *self._begin_step()]

    def _begin_step(self) -> list[Event]:
        """A step to put anything in."""
        if self._step_open:
            return []
        self._step += 1
        self._step_open = True
        started = StepStarted(self._next(), self._step, self._step_name)
        self._step_name = None
        return [started]

    def _close_step(self) -> list[Event]:
        events = self._close_parts()
        if self._step_open:
            self._step_open = False
            events.append(StepEnded(self._next(), self._step))
        return events

    def _new_part(
        self, kind: PartKind, id: str | None = None, name: str = "", by: RunBy | None = None
    ) -> Part:
        index, ordinal = self._parts, self._ordinals.get(kind, 0)
        self._parts += 1
        self._ordinals[kind] = ordinal + 1
        # Ids of ours are told apart by the run, so that two answers in one history never clash.
        id = id or f"{'call' if kind == 'tool_call' else kind}_{self._id}_{ordinal}"
        return Part(index, kind, ordinal, self._step, id, name, by)

    def _start_call(self, call: _OpenPart, name: str) -> list[Event]:
        own_id = self._asked.own_id(call.call_id) if call.call_id else None
        by = call.by or self._asked.run_by(name)
        call.part = part = self._new_part("tool_call", own_id, name, by)
        self._asked.unanswered[part.id] = by
        if call.by is not None:
            self._asked.told.add(part.id)
        self._called.add(by)
        events: list[Event] = [PartStarted(self._next(), part)]
        arguments = "".join(call.pieces)
        if arguments:
            events.append(PartDelta(self._next(), part, arguments))
        return events

    def _close_parts(self) -> list[Event]:
        events = self._close_text()
        for index in list(self._calls):
            events += self._close_call(index)
        return events

    def _close_text(self) -> list[Event]:
        if self._text is None:
            return []
        ended = self._end(self._text)
        self._text = None
        return ended

    def _check_names(self, only: int | None = None) -> None:
        """Refuse to close a tool call that never got a name; `only` one of them, if given."""
        calls = self._calls if only is None else {only: self._calls[only]}
        for index, call in calls.items():
            if call.part is None:
                raise ValueError(f"the tool call at index {index} ended before it got a name")

    def _close_call(self, index: int) -> list[Event]:
        return self._end_call(self._calls.pop(index))

    def _end_call(self, call: _OpenPart) -> list[Event]:
        """Close a call. Without arguments it has "{}": clients parse what there is."""
        events: list[Event] = []
        if not self._broken and not (any(call.pieces) or call.half):
            assert call.part is not None
            call.pieces.append("{}")
            events.append(PartDelta(self._next(), call.part, "{}"))
        return [*events, *self._end(call)]

    def _end(self, open_part: _OpenPart) -> list[Event]:
        assert open_part.part is not None
        events: list[Event] = []
        if half := open_part.half:
            open_part.pieces.append(half)
            events.append(PartDelta(self._next(), open_part.part, half))
        text, signature = "".join(open_part.pieces), open_part.signature
        ended = PartEnded(self._next(), open_part.part, text, signature, not self._broken)
        return [*events, ended]

    def _give_up(self) -> list[Event]:
        """Close everything; a call without a name was never shown and is dropped."""
        self._calls = {i: call for i, call in self._calls.items() if call.part is not None}
        self._broken = self.ended = True
        return self._close_step()


def _check_by(by: object) -> None:
    if by is not None and by not in get_args(RunBy):
        raise ValueError(f"by tells who runs a tool, one of {get_args(RunBy)}: not {by!r}")


def _check_flags(**flags: object) -> None:
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} is a bool, not {flag!r}")


def _row_of(chunk: object) -> Callable[[Lifecycle, Any], list[Event]]:
    """The row of a chunk whose class is a user's own."""
    for cls in type(chunk).__mro__:
        if cls in _TABLE:
            return _TABLE[cls]
    raise TypeError(f"{type(chunk).__qualname__} is no chunk")


_TABLE: dict[type[Chunk], Callable[[Lifecycle, Any], list[Event]]] = {
    Text: Lifecycle._feed_text,
    Reasoning: Lifecycle._feed_reasoning,
    Refusal: Lifecycle._feed_refusal,
    ToolCallDelta: Lifecycle._feed_tool_call_delta,
    ToolCall: Lifecycle._feed_tool_call,
    ToolResult: Lifecycle._feed_tool_result,
    Approval: Lifecycle._feed_approval,
    Source: Lifecycle._feed_source,
    Document: Lifecycle._feed_document,
    File: Lifecycle._feed_file,
    Data: Lifecycle._feed_data,
    Metadata: Lifecycle._feed_metadata,
    State: Lifecycle._feed_state,
    StateDelta: Lifecycle._feed_state_delta,
    Raw: Lifecycle._feed_item,
    Native: Lifecycle._feed_native,
    Step: Lifecycle._feed_step,
    Usage: Lifecycle._feed_usage,
    Upstream: Lifecycle._feed_upstream,
    Finish: Lifecycle._feed_finish,
    Error: Lifecycle._feed_error,
}
