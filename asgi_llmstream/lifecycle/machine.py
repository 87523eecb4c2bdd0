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
    PartDelta,
    PartKind,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    UsageReported,
)
from ..sources import as_builtins, as_exception, known_to_json
from .calls import Calls
from .items import checked
from .open import Open, OpenPart
from .underway import Underway
from .usage import UsageSum
from .values import as_json, check_flags, check_strings

__all__ = ["Lifecycle"]


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
        self._open = Open(id)
        self._call_over = False
        self._called: set[RunBy] = set()
        self._asked = Calls(offered)
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
        if self._open.number:
            raise RuntimeError("this run has started already")
        return [RunStarted(self._open.next(), self._id, self._created, self._model)]

    def feed(self, chunk: Chunk) -> list[Event]:
        """The events that `chunk` causes, in order; none for an empty delta.

        Raises:
            ValueError: if a tool call can no longer get the name that it lacks.
            TypeError: if it is no chunk, a text is no `str`, or a value cannot be JSON.
            RuntimeError: before `start()` and after the end: the caller's mistake.
        """
        if self.ended or not self._open.number:
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
        self._open.check_names()
        finish = self._finish
        events = self._open.close_step()
        waits = "client" in self._asked.unanswered.values()
        reason: FinishReason = "tool_calls" if waits else "stop"
        native, details = None, None
        if finish is not None:
            reason, native, details = finish.reason or reason, finish.native, finish.details
        self.ended = True
        finished = RunFinished(self._open.next(), self._used.total, reason, native, completed)
        return [*events, finished if details is None else replace(finished, details=details)]

    def fail(self, error: LLMStreamError) -> list[Event]:
        """End with an error that the client sees. Nothing, if the run has ended."""
        if self.ended:
            return []
        self.ended = True
        events = self._open.break_off()
        return [*events, RunFailed.because(self._open.next(), self._used.total, error)]

    def abort(self, reason: str) -> list[Event]:
        """End because of something outside the run. Nothing, if the run has ended."""
        if self.ended:
            return []
        self.ended = True
        return [*self._open.break_off(), RunAborted(self._open.next(), self._used.total, reason)]

    def _check_running(self) -> None:
        if self.ended or not self._open.number:
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
        if self._open.text is None or self._open.text.kind != "reasoning":
            # No text came: some models show none, but want the signature back.
            events += self._open_text("reasoning")
        return [*events, *self._open.close_text(chunk.signature)]

    def _feed_refusal(self, chunk: Refusal) -> list[Event]:
        return self._grow("refusal", chunk.text)

    def _grow(self, kind: PartKind, text: str) -> list[Event]:
        if not text:
            return []
        if not isinstance(text, str):
            raise TypeError(
                f"{kind.capitalize()}.text must be a str, not {type(text).__qualname__}"
            )
        growing = self._open.text
        if growing is None or growing.kind != kind:
            opened = self._open_text(kind)
            return opened + self._grow(kind, text)
        assert growing.part is not None
        if not (text := growing.grow(text)):
            return []
        return [PartDelta(self._open.next(), growing.part, text)]

    def _open_text(self, kind: PartKind, redacted: bool = False) -> list[Event]:
        self._open.check_names()
        events = self._open.close_parts()
        events += self._open_step()
        return [*events, *self._open.begin_text(kind, redacted)]

    def _feed_tool_call_delta(self, chunk: ToolCallDelta) -> list[Event]:
        if not (chunk.id or chunk.name or chunk.arguments or chunk.signature):
            return []
        check_strings(chunk, "arguments", optional=("id", "name", "signature"))
        _check_by(chunk.by)
        call = self._open.calls.get(chunk.index)
        is_other = call is not None and chunk.id and call.call_id and chunk.id != call.call_id
        if is_other:
            self._open.check_names(chunk.index)
        events = self._open.close_text()
        if is_other:
            events += self._open.close_call(chunk.index)
            call = None
        if call is None:
            events += self._open_step()
            self._open.calls[chunk.index] = call = OpenPart(None, chunk.id)
        call.call_id = call.call_id or chunk.id
        call.by = call.by or chunk.by
        call.signature = chunk.signature or call.signature
        said = call.grow(chunk.arguments) if chunk.arguments else ""
        if call.part is None:
            if chunk.name:
                events += self._start_call(call, chunk.name)
        elif said:
            events.append(PartDelta(self._open.next(), call.part, said))
        return events

    def _feed_tool_call(self, chunk: ToolCall) -> list[Event]:
        arguments = chunk.arguments
        if not isinstance(arguments, str):
            arguments = as_json(as_builtins(arguments, f"ToolCall({chunk.name!r}).arguments"))
        check_strings(chunk, "id", "name", optional=("signature",))
        _check_by(chunk.by)
        events = [*self._open.close_text(), *self._open_step()]
        call = OpenPart(None, chunk.id, chunk.by)
        call.signature = chunk.signature
        call.pieces.append(arguments)
        events += self._start_call(call, chunk.name)
        return [*events, *self._open.end_call(call)]

    def _feed_tool_result(self, chunk: ToolResult) -> list[Event]:
        check_strings(chunk, "id")
        check_flags(error=chunk.error, denied=chunk.denied)
        self._open.check_names()
        output = as_builtins(chunk.output, f"ToolResult({chunk.id!r}).output")
        id = self._asked.answered_by(chunk.id)
        result = ToolResult(id, output, chunk.error, chunk.denied)
        self._asked.unanswered.pop(result.id, None)
        # A result belongs to the step of its call, also after that model call's Finish.
        events = [*self._open.close_parts(), *self._open.begin_step()]
        return [*events, ItemAdded(self._open.next(), result)]

    def _feed_approval(self, chunk: Approval) -> list[Event]:
        check_strings(chunk, "call_id", optional=("reason",))
        self._open.check_names()
        if (call_id := self._asked.asked_about(chunk.call_id)) is None:
            return []
        events = [*self._open.close_parts(), *self._open.begin_step()]
        return [*events, ItemAdded(self._open.next(), Approval(call_id, chunk.reason))]

    def _feed_item(self, chunk: Item | Raw) -> list[Event]:
        item = checked(chunk)
        return [*self._open.begin_step(), ItemAdded(self._open.next(), item)]

    def _feed_native(self, chunk: Native) -> list[Event]:
        fields = known_to_json(chunk.fields)
        # What every chunk repeats, as a fingerprint, is passed on once.
        repeated, constant = self._native, fields.pop("chunk", {})
        changed = {k: v for k, v in constant.items() if k not in repeated or repeated[k] != v}
        self._native = repeated | changed
        if changed:
            fields["chunk"] = changed
        return [NativeAdded(self._open.next(), chunk.family, fields)] if fields else []

    def _feed_step(self, chunk: Step) -> list[Event]:
        self._open.check_names()
        events = self._open.close_step()
        self._open.step_name = chunk.name
        self._call_over = True
        self._used.next_call()
        return events

    def _feed_usage(self, chunk: Usage) -> list[Event]:
        *counts, _ = astuple(chunk)
        if not all(isinstance(count, int) for count in counts):
            raise TypeError(f"tokens are counted in int: {chunk}")
        total = self._used.report(chunk)
        return [UsageReported(self._open.next(), total)]

    def _feed_upstream(self, chunk: Upstream) -> list[Event]:
        self._underway.hear(chunk)
        return []

    def _feed_finish(self, chunk: Finish) -> list[Event]:
        if chunk.reason is not None and chunk.reason not in get_args(FinishReason):
            raise ValueError(f"{chunk.reason!r} is no finish reason: use Finish('other', 'it')")
        check_strings(chunk, optional=("native",))
        details = as_builtins(chunk.details, "Finish.details")
        self._open.check_names()
        events = self._open.close_parts()
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

    def _open_step(self) -> list[Event]:
        """A step to put the model's words in: a new one, and a new model call, after a `Finish`."""
        events: list[Event] = []
        if self._call_over:
            events = self._open.close_step()
            self._call_over = False
            self._called = set()
            self._used.next_call()
            self._finish = None
        return [*events, *self._open.begin_step()]

    def _start_call(self, call: OpenPart, name: str) -> list[Event]:
        own_id = self._asked.own_id(call.call_id) if call.call_id else None
        by = call.by or self._asked.run_by(name)
        events = self._open.begin_call(call, own_id, name, by)
        assert call.part is not None
        self._asked.unanswered[call.part.id] = by
        if call.by is not None:
            self._asked.told.add(call.part.id)
        self._called.add(by)
        return events


def _check_by(by: object) -> None:
    if by is not None and by not in get_args(RunBy):
        raise ValueError(f"by tells who runs a tool, one of {get_args(RunBy)}: not {by!r}")


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
    Source: Lifecycle._feed_item,
    Document: Lifecycle._feed_item,
    File: Lifecycle._feed_item,
    Data: Lifecycle._feed_item,
    Metadata: Lifecycle._feed_item,
    State: Lifecycle._feed_item,
    StateDelta: Lifecycle._feed_item,
    Raw: Lifecycle._feed_item,
    Native: Lifecycle._feed_native,
    Step: Lifecycle._feed_step,
    Usage: Lifecycle._feed_usage,
    Upstream: Lifecycle._feed_upstream,
    Finish: Lifecycle._feed_finish,
    Error: Lifecycle._feed_error,
}
