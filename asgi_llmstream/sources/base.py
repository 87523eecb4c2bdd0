"""What the readers share: looking into objects and dicts alike, and the words of providers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..chunks import Chunk, Finish, FinishReason, Native, Upstream, Usage
from .values import as_builtins

__all__ = [
    "SAY_THEIR_END",
    "arguments",
    "call_name",
    "comes_from",
    "finish",
    "get",
    "is_named",
    "string",
    "under_way",
    "unknown",
]

SAY_THEIR_END = frozenset({"openai", "anthropic", "google_genai"})
"""The providers whose answers always end with a word of their own, as LangChain and Pydantic AI
name them: both say that an answer has ended also where it was cut off."""

_NOT_PYDANTIC: Any = object()


def get(item: Any, name: str) -> Any:
    """The field `name` of an SDK's object or of a dict; None if it has none.

    A field that the SDK does not know is looked up where pydantic keeps such: asking a model for
    an attribute that it lacks costs microseconds, and reasoning fields mostly are lacking.
    """
    if isinstance(item, dict):
        return item.get(name)
    fields = getattr(item, "__dict__", None)
    if fields is not None and name in fields:
        return fields[name]
    extra = getattr(item, "__pydantic_extra__", _NOT_PYDANTIC)
    if extra is _NOT_PYDANTIC:
        return getattr(item, name, None)
    return extra.get(name) if extra else None


def unknown(item: Any, known: frozenset[str]) -> dict[str, Any]:
    """The fields of an SDK's object or of a dict that are there, not null, and not `known`."""
    if isinstance(item, dict):
        fields = item
    else:
        fields = {**getattr(item, "__dict__", {}), **(getattr(item, "model_extra", None) or {})}
    return {k: v for k, v in fields.items() if k not in known and v is not None and k[0] != "_"}


def is_named(item: object, *names: str) -> bool:
    """Return whether its class, or one that it inherits from, has one of these names."""
    return any(cls.__name__ in names for cls in type(item).__mro__)


def comes_from(item: object, package: str) -> bool:
    """Return whether its class was defined in `package` or below."""
    return type(item).__module__.partition(".")[0] == package


def string(value: Any) -> str:
    """A text field's value, empty for None.

    Raises:
        TypeError: if it is no text: what it is must not reach the wire unseen.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"cannot stream {type(value).__qualname__} as text")
    return value


def arguments(value: Any) -> str:
    """A tool call's arguments as JSON text; some servers send them as an object."""
    if isinstance(value, dict | list):
        plain = as_builtins(value, "a tool call's arguments")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return string(value)


def call_name(value: Any) -> str | None:
    """The name of a model call, for `Upstream`, where a provider gives one."""
    return value if isinstance(value, str) and value else None


def under_way(
    chunks: Iterable[Chunk], call: str | None = None, *, promised: bool = False
) -> list[Chunk]:
    """The chunks of an object that is not its model call's last, and that the call goes on."""
    said = list(chunks)
    is_silent = _SILENT.issuperset(map(type, said))
    return [Upstream("silent" if is_silent else "speaking", call, promised), *said]


_SILENT = frozenset({Usage, Native})


# The providers' words do not contradict each other, so one table serves them all, also where a
# framework passes on the word of whatever provider is behind it.
_FINISH_REASONS: dict[str, FinishReason | None] = {
    # OpenAI and whoever speaks like it
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    # OpenAI Responses: `incomplete_details.reason`
    "max_output_tokens": "length",
    # Anthropic
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    # Google says STOP after tool calls too
    "STOP": None,
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "JAILBREAK": "content_filter",
}


def finish(native: Any, details: Any = None) -> Finish:
    """The end of a model call, for a provider's own word and what it says besides."""
    word = string(getattr(native, "value", native))
    return Finish(_FINISH_REASONS.get(word, "other"), word, details)
