"""OpenAI chat completions: `chat.completion.chunk` events, requests and whole answers.

Source: the OpenAI API reference, chat completions and chat completion chunks.

Not carried, because the protocol has no word for it: tool results, sources, files, data, steps.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from ...chunks import FinishReason, Usage
from ...errors import BadRequest, LLMStreamError
from ...events import (
    Event,
    NativeAdded,
    Part,
    PartDelta,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
)
from ...message import Message
from ...request import ChatMessage, ChatRequest
from ..base import Encoder, data, dumps, quote
from ..shapes.fields import bad_field, convert, decode_json, given

__all__ = ["OpenAIChat", "request_schema"]

DONE = b"data: [DONE]\n\n"


class OpenAIChat(Struct, frozen=True, kw_only=True):
    """The format of `POST /chat/completions`.

    Args:
        include_usage: end with a chunk that holds the usage, when it is known. Requests set it
            with `stream_options`.
        reasoning_field: the delta's key for reasoning: "reasoning_content" (DeepSeek, vLLM,
            llama.cpp) or "reasoning" (OpenRouter).
        done_after_error: whether `[DONE]` follows an error event. Official clients raise at the
            error and never see it; some others wait for it.
    """

    include_usage: bool = False
    reasoning_field: str = "reasoning_content"
    done_after_error: bool = True

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    carries_raw: ClassVar[bool] = False
    route: ClassVar[str] = "/chat/completions"
    method: ClassVar[Literal["GET", "POST"]] = "POST"

    def encoder(self) -> Encoder:
        return _Encoder(self).encode

    def error_body(self, error: LLMStreamError) -> bytes:
        return dumps(error_object(error.message, error.status, error.code, error.param))

    def decode(self, body: bytes) -> ChatRequest:
        return decode_request(body)

    def for_request(self, request: ChatRequest) -> OpenAIChat:
        return msgspec.structs.replace(self, include_usage=request.include_usage)

    def whole_body(self, started: RunStarted, message: Message) -> bytes:
        # `content` is text also where there is none, as in the stream: both accumulate the same.
        answer: dict[str, Any] = {
            "role": "assistant",
            "content": message.text,
            "refusal": message.refusal or None,
        }
        if message.reasoning:
            answer[self.reasoning_field] = message.reasoning
        if message.tool_calls:
            answer["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
        reason = _finish_reason(message.finish_reason or "stop")
        choice = {"index": 0, "message": answer, "logprobs": None, "finish_reason": reason}
        completion = {
            "id": _id(started),
            "object": "chat.completion",
            "created": started.created,
            "model": started.model,
            "choices": [choice],
        }
        if message.usage is not None:
            completion["usage"] = _usage(message.usage)
        return dumps(completion)


class _Encoder:
    """The envelope is encoded once; a token adds its own text between prefix and suffix."""

    def __init__(self, format: OpenAIChat) -> None:
        self._format = format
        self._envelope = b""
        self._prefix = b""
        self._suffix = b""
        self._native: dict[str, Any] | None = None
        self._keys = {
            "text": b'"content":',
            "reasoning": dumps(format.reasoning_field) + b":",
            "refusal": b'"refusal":',
        }

    def encode(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            delta = self._delta(event.part, event.text)
            return delta if self._native is None else self._with_native(delta)
        match event:
            case RunStarted():
                return self._start(event)
            case PartStarted(part=Part(kind="tool_call")):
                return self._with_native(self._call(event.part))
            case RunFinished():
                return self._with_native(self._finish(event))
            case NativeAdded(family="openai", fields=fields):
                self._native = _merged(self._native or {}, fields)
                return b""
            case RunFailed(message=message, status=status, code=code, param=param):
                return self._fail(error_object(message, status, code, param))
            case RunAborted(reason=reason):
                message = f"The answer was aborted: {reason}."
                return self._fail(error_object(message, 500, "aborted", None))
            case _:
                return b""

    def _with_native(self, events: bytes) -> bytes:
        """What the upstream's chunk had beside, in the chunk that its words go out with."""
        if self._native is None:
            return events
        first, rest = events.split(b"\n\n", 1)
        chunk = msgspec.json.decode(first.removeprefix(b"data: "))
        native, self._native = self._native, None
        choice = chunk["choices"][0]
        # The envelope and the words are ours, whatever the upstream calls its fields.
        chunk = native.get("chunk", {}) | chunk
        chunk["choices"] = [native.get("choice", {}) | choice]
        chunk["choices"][0]["delta"] = native.get("delta", {}) | choice["delta"]
        return data(dumps(chunk)) + rest

    def _start(self, event: RunStarted) -> bytes:
        constant = {
            "id": _id(event),
            "object": "chat.completion.chunk",
            "created": event.created,
            "model": event.model,
        }
        usage = b',"usage":null' if self._format.include_usage else b""
        self._envelope = b"data: " + dumps(constant)[:-1]
        self._prefix = self._envelope + b',"choices":[{"index":0,"delta":{'
        self._suffix = b'},"finish_reason":null}]' + usage + b"}\n\n"
        return self._prefix + b'"role":"assistant","content":""' + self._suffix

    def _delta(self, part: Part, text: str) -> bytes:
        quoted = quote(text)
        if part.kind == "tool_call":
            call = b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]'
            return self._prefix + call % (part.ordinal, quoted) + self._suffix
        return self._prefix + self._keys[part.kind] + quoted + self._suffix

    def _call(self, part: Part) -> bytes:
        call = {
            "index": part.ordinal,
            "id": part.id,
            "type": "function",
            "function": {"name": part.name, "arguments": ""},
        }
        return self._prefix + b'"tool_calls":' + dumps([call]) + self._suffix

    def _finish(self, event: RunFinished) -> bytes:
        reason = dumps(_finish_reason(event.reason))
        last = self._suffix.replace(b"null", reason, 1)
        out = self._prefix + last
        if self._format.include_usage and event.usage is not None:
            out += (
                self._envelope + b',"choices":[],"usage":' + dumps(_usage(event.usage)) + b"}\n\n"
            )
        return out + DONE

    def _fail(self, error: dict[str, Any]) -> bytes:
        return data(dumps(error)) + (DONE if self._format.done_after_error else b"")


def _merged(before: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {k: before.get(k, {}) | fields.get(k, {}) for k in before.keys() | fields.keys()}


def error_object(message: str, status: int, code: str, param: str | None) -> dict[str, Any]:
    """OpenAI's error shape, in bodies and in streams."""
    default = "server_error" if status >= 500 else "invalid_request_error"
    kind = _ERROR_TYPES.get(status, default)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def _id(started: RunStarted) -> str:
    return f"chatcmpl-{started.id}"


def _finish_reason(reason: FinishReason) -> str:
    # The protocol knows no other word for an ending that is none of its own.
    return "stop" if reason == "other" else reason


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _Body(Struct):
    """The fields that are checked here; all others pass in `ChatRequest.body` as they are."""

    messages: list[_Message]
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None


_SETTINGS = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
)
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def request_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the body of `POST /chat/completions`, without references."""
    generated = msgspec.json.schema(_Body)
    schema: dict[str, Any] = _inlined(generated, generated["$defs"])
    schema["description"] = "An OpenAI chat completion request. Further fields are passed on."
    fields = schema["properties"]
    # What `_check` asks for beyond the types.
    fields["messages"]["minItems"] = 1
    fields["messages"]["items"]["properties"]["role"]["enum"] = [*_ROLES]
    fields["n"]["enum"] = [1, None]
    return schema


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        struct = _inlined(definitions[reference.rpartition("/")[2]], definitions)
        return {key: value for key, value in struct.items() if key != "title"}
    return {k: _inlined(v, definitions) for k, v in schema.items()}


def decode_request(body: bytes) -> ChatRequest:
    """The body of `POST /chat/completions`, checked.

    Raises:
        BadRequest: if it is not JSON, a field is missing or of the wrong type, or asks for what
            this server does not do; `param` names the field.
    """
    raw = decode_json(body)
    parsed = convert(raw, _Body)
    _check(parsed)
    return ChatRequest(
        messages=list(map(_message, parsed.messages, raw["messages"])),
        model=parsed.model or "",
        stream=bool(parsed.stream),
        include_usage=bool(parsed.stream_options and parsed.stream_options.include_usage),
        tools=parsed.tools or [],
        tool_choice=parsed.tool_choice,
        settings=_settings(raw),
        body=raw,
    )


def _check(body: _Body) -> None:
    if not body.messages:
        raise bad_field("messages", "must not be empty")
    for i, message in enumerate(body.messages):
        if message.role not in _ROLES:
            raise bad_field(f"messages[{i}].role", f"must be one of {', '.join(_ROLES)}")
    if body.n is not None and body.n != 1:
        raise bad_field("n", "must be 1: one answer per request")
    if body.stream_options is not None and not body.stream:
        raise BadRequest(
            "stream_options goes with stream: true.", param="stream_options", code="invalid_field"
        )


def _message(message: _Message, raw: dict[str, Any]) -> ChatMessage:
    return ChatMessage(
        role=message.role,
        content=message.content,
        tool_calls=message.tool_calls or [],
        tool_call_id=message.tool_call_id,
        name=message.name,
        extra={key: value for key, value in raw.items() if key not in _Message.__struct_fields__},
    )


def _settings(raw: dict[str, Any]) -> dict[str, Any]:
    settings = given(raw, _SETTINGS)
    if limit := raw.get("max_completion_tokens") or raw.get("max_tokens"):
        settings["max_tokens"] = limit
    return settings
