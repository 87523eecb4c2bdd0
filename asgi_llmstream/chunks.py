"""The chunks that a producer may yield: frozen records, one class for each thing a model can say.

A `str` is shorthand for `Text`; providers' own objects become these in `sources`.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from .sse import ServerSentEvent

__all__ = [
    "Approval",
    "Chunk",
    "Data",
    "Document",
    "Error",
    "File",
    "Finish",
    "FinishReason",
    "Metadata",
    "Native",
    "Raw",
    "Reasoning",
    "Refusal",
    "RunBy",
    "Source",
    "State",
    "StateDelta",
    "Step",
    "Text",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "Upstream",
    "Usage",
]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]

RunBy = Literal["client", "server", "provider"]
"""Who runs a tool: the client, which reads the answer; our own side; or the model's provider."""


class Chunk(Struct, frozen=True, tag_field="type"):
    """The base of everything that a producer may yield."""


class Text(Chunk, frozen=True, tag="text"):
    """A piece of the answer."""

    text: str


class Reasoning(Chunk, frozen=True, tag="reasoning"):
    """A piece of what the model thinks before and between its answers.

    Attributes:
        text: empty if there is only a signature.
        signature: the provider's seal on the reasoning that it ends. Anthropic wants its
            reasoning back only with it.
        redacted: the provider does not show this reasoning: `signature` is all there is of it,
            data that it wants back as they are.
    """

    text: str
    signature: str | None = None
    redacted: bool = False


class Refusal(Chunk, frozen=True, tag="refusal"):
    """A piece of the model's words why it will not answer."""

    text: str


class ToolCallDelta(Chunk, frozen=True, tag="tool-call-delta"):
    """A piece of a tool call, as providers stream it.

    Attributes:
        index: which call of the current model call this belongs to; any int, gaps are fine.
        id: the call's id. Another id at the same index begins another call.
        name: the tool's name, whole, in the call's first delta or a later one.
        arguments: a piece of the arguments' JSON text.
        by: who runs the tool; in one of the call's deltas, up to the one with its name. If none
            says so it is the server for a tool that the client's request did not offer, and the
            client for all others, as it is where nobody knows what the request offered.
        signature: Gemini's seal on its thoughts before the call, in base64. It wants the call
            back only with it.
    """

    index: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    by: RunBy | None = None
    signature: str | None = None


class ToolCall(Chunk, frozen=True, tag="tool-call"):
    """A whole tool call; `arguments` is JSON text, or an object that becomes it. An empty `id`
    is replaced by one of ours. For `by` and `signature` see `ToolCallDelta`."""

    id: str
    name: str
    arguments: str | dict[str, Any] = "{}"
    by: RunBy | None = None
    signature: str | None = None


class ToolResult(Chunk, frozen=True, tag="tool-result"):
    """A tool's answer to the call with this id: any value that JSON can hold.

    Attributes:
        id: the call's id.
        output: the result, or with `error=True` what went wrong, fit to be shown.
        denied: nobody approved the call, and so it did not run; `output` tells the model why.
    """

    id: str
    output: Any = None
    error: bool = False
    denied: bool = False


class Approval(Chunk, frozen=True, tag="approval"):
    """A question to a human: whether a call may run.

    The producer asks behind the call, and returns when it has asked all. The answer comes in the
    next request's `approvals`. Only who runs a tool can ask: with a call that the client runs it
    is an error.

    Attributes:
        call_id: the call's id.
        reason: why a human is asked, fit to be shown.
    """

    call_id: str
    reason: str | None = None


class Source(Chunk, frozen=True, tag="source"):
    """Something that the answer rests on."""

    url: str
    title: str | None = None


class Document(Chunk, frozen=True, tag="document"):
    """The same of what has no address: a file that was found in a store, say."""

    title: str
    media_type: str
    filename: str | None = None


class File(Chunk, frozen=True, tag="file"):
    """A file that belongs to the answer; `url` may be a `data:` URL."""

    url: str
    media_type: str


class Data(Chunk, frozen=True, tag="data"):
    """A value of the application's own, named, for clients that know it.

    Attributes:
        id: a later value of the same name and id replaces this one.
        transient: only for who listens now: no message keeps it.
    """

    name: str
    value: Any = None
    id: str | None = None
    transient: bool = False


class Metadata(Chunk, frozen=True, tag="metadata"):
    """Fields of the application's own about the whole message.

    Later ones go into those before them: objects field by field, everything else is replaced.
    """

    fields: dict[str, Any]


class State(Chunk, frozen=True, tag="state"):
    """The whole state that an agent shares with its client, as AG-UI has it.

    What the client's is when it asks stands in `ChatRequest.body["state"]`.
    """

    value: Any


class StateDelta(Chunk, frozen=True, tag="state-delta"):
    """A change of the shared state: the operations of a JSON Patch (RFC 6902)."""

    patch: list[dict[str, Any]]


class Native(Chunk, frozen=True, tag="native"):
    """Fields of a provider's chunk that we have no word for: the readers make it, and formats of
    the same family pass it on; all others leave it out.

    Attributes:
        family: "openai" or "anthropic".
        fields: of OpenAI what was unknown in the "chunk", its "choice" and its "delta"; of
            Anthropic an unknown "event" whole, or what was unknown in a "message_delta".
    """

    family: str
    fields: dict[str, Any]


class Upstream(Chunk, frozen=True, tag="upstream"):
    """A note of what a provider's object says of the model call that it belongs to. The readers
    make it, so that an answer that the provider broke off is not taken for a whole one. It causes
    no event.

    Attributes:
        state: what became of the call. "silent": it goes on, and says nothing. "speaking": it goes
            on. "stopped": whoever is between us and the provider saw its end. "over": the provider
            said its end. "left": the producer said that nothing more is to come, of any call.
        call: the call's name, if its provider repeats it in each object.
        promised: its provider always says its end, so that "stopped" is none.
    """

    state: Literal["silent", "speaking", "stopped", "over", "left"]
    call: str | None = None
    promised: bool = False


class Raw(Chunk, frozen=True, tag="raw"):
    """A server-sent event of the producer's own; the plain format alone carries it."""

    event: ServerSentEvent


class Step(Chunk, frozen=True, tag="step"):
    """A boundary: what follows belongs to the next step of an agent's loop."""

    name: str | None = None


class Usage(Chunk, frozen=True, tag="usage"):
    """Tokens that the current model call has used so far.

    A later `Usage` in the same model call replaces an earlier one (providers count up), but a
    count of 0 leaves what was there: some tell the input first and the output last.
    `additive=True` adds instead. Model calls in one answer are added up.

    Attributes:
        input_tokens: all of the input, however much of it a cache had a part in.
        output_tokens: all of the output, reasoning included.
        cached_tokens: those of the input that were read from a cache.
        reasoning_tokens: those of the output that were reasoning.
        cache_write_tokens: those of the input that were written to a cache, which providers bill
            at another price than what they read from it.
        additive: whether these come on top of what was told before.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    additive: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


class Finish(Chunk, frozen=True, tag="finish"):
    """A model call ended, and why. The stream goes on until the producer returns, so that an
    agent can call the model again; the last `Finish` is the answer's. A producer that leaves a
    provider's stream early on purpose says so with it: else the answer counts as cut off.

    Attributes:
        reason: in our words. None, for providers that do not tell the two apart, means
            "tool_calls" if the model called any and else "stop".
        native: in the provider's own.
        details: what the provider says besides, as Anthropic's `stop_details` of a refusal; or
            `{"stop_sequence": text}`, which of the request's ended it.
    """

    reason: FinishReason | None = "stop"
    native: str | None = None
    details: dict[str, Any] | None = None


class Error(Chunk, frozen=True, tag="error"):
    """Ends the stream with an error that the client sees; the producer is closed.

    The same as raising `LLMStreamError` with these.
    """

    message: str
    code: str = "error"
    status: int = 500
    should_retry: bool | None = None
