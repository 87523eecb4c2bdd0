"""The body of `POST /messages`, as a `ChatRequest`.

Of the content blocks, texts, images, documents in base64, tool calls and results and thinking
become what chat has for them, and `cache_control` stands where it stood. Blocks of other types stay
among the content as they are, so that `to_anthropic` gives them back; `citations` stay in
`ChatRequest.body` only.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ...request import ChatMessage, ChatRequest
from ..shapes import chat
from ..shapes.fields import ModelName, Name, bad_field, convert, given
from ..wire import dumps
from .words import ThreadUnsupported

__all__ = ["decode_request"]

_Content = str | list[dict[str, Any]]


class _Message(Struct):
    role: str
    content: _Content


class _ToolChoice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: int | None = None


class _OutputConfig(Struct):
    effort: str | None = None
    format: dict[str, Any] | None = None


class _Body(Struct):
    """The fields that are checked here; all others pass in `ChatRequest.body` as they are."""

    messages: list[_Message]
    model: ModelName | None = None
    system: _Content | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: _ToolChoice | None = None
    thread: Any = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None


class _Text(Struct):
    text: str


class _Source(Struct):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class _Sourced(Struct):
    source: _Source
    title: str | None = None


class _ToolUse(Struct):
    id: Name
    name: Name
    input: dict[str, Any] = {}


class _ToolResult(Struct):
    tool_use_id: Name
    content: _Content | None = None
    is_error: bool | None = None


_ROLES = ("user", "assistant", "system")


def decode_request(raw: dict[str, Any]) -> ChatRequest:
    """The body of `POST /messages`, checked.

    Raises:
        BadRequest: if a field is missing or of the wrong type; its message names the field, and
            so does `param`.
        ThreadUnsupported: if it asks for a thread, as the SDKs' tool runners do by themselves.
    """
    parsed = convert(raw, _Body)
    if parsed.thread is not None:
        raise ThreadUnsupported()
    if not parsed.messages:
        raise bad_field("messages", "must not be empty")
    messages = []
    if parsed.system:
        messages.append(ChatMessage(role="system", content=_content(parsed.system, "system")))
    for i, message in enumerate(parsed.messages):
        at = f"messages[{i}]"
        if message.role not in _ROLES:
            raise bad_field(f"{at}.role", f"must be one of {', '.join(_ROLES)}")
        messages += _messages(message, f"{at}.content")
    return ChatRequest(
        messages=messages,
        model=parsed.model or "",
        stream=bool(parsed.stream),
        include_usage=True,
        tools=[_tool(tool) for tool in parsed.tools or ()],
        tool_choice=_tool_choice(parsed.tool_choice),
        settings=_settings(raw, parsed),
        body=raw,
    )


def _settings(raw: dict[str, Any], body: _Body) -> dict[str, Any]:
    settings = given(raw, ("max_tokens", "temperature", "top_p"))
    if body.stop_sequences:
        settings["stop"] = body.stop_sequences
    if body.tool_choice and body.tool_choice.disable_parallel_tool_use:
        settings["parallel_tool_calls"] = False
    if effort := _effort(body):
        settings["reasoning_effort"] = effort
    if body.output_config and (format := body.output_config.format):
        settings["response_format"] = chat.json_schema(schema=format.get("schema"), strict=True)
    return settings


# The smallest budget of each effort, in tokens, as litellm translates them.
_BUDGETS = {"high": 4096, "medium": 2048}


def _effort(body: _Body) -> str | None:
    """Return how much the model shall think; None leaves it to the model."""
    thinking = body.thinking or _Thinking("adaptive")
    if thinking.type == "disabled":
        return "none"
    if body.output_config and body.output_config.effort:
        return body.output_config.effort
    if thinking.budget_tokens is None:
        return None
    budget = thinking.budget_tokens
    return next((effort for effort, least in _BUDGETS.items() if budget >= least), "low")


def _messages(message: _Message, at: str) -> list[ChatMessage]:
    """One message becomes several where it holds tool results: in chat each is one of its own."""
    if isinstance(message.content, str):
        return [ChatMessage(role=message.role, content=message.content)]
    results, calls, thinking, parts = [], [], [], []
    for i, block in enumerate(message.content):
        here = f"{at}[{i}]"
        match block.get("type"):
            case "tool_result":
                results.append(_tool_result(block, here))
            case "tool_use":
                use = convert(block, _ToolUse, here)
                call = chat.call(use.id, use.name, dumps(use.input).decode())
                calls.append(call | given(block, _MARK))
            case "thinking" | "redacted_thinking":
                thinking.append(block)
            case _:
                parts.append(_part(block, here))
    if not (parts or calls or thinking) and results:
        return results
    content = chat.just_text(parts) if parts else None
    said = ChatMessage(role=message.role, content=content, tool_calls=calls, thinking=thinking)
    return [*results, said]


def _tool_result(block: dict[str, Any], at: str) -> ChatMessage:
    result = convert(block, _ToolResult, at)
    return ChatMessage(
        role="tool",
        content=_content(result.content or "", f"{at}.content"),
        tool_call_id=result.tool_use_id,
        failed=bool(result.is_error),
        cache_control=block.get("cache_control"),
    )


def _content(content: _Content, at: str) -> _Content:
    if isinstance(content, str):
        return content
    return chat.just_text([_part(block, f"{at}[{i}]") for i, block in enumerate(content)])


_MARK = ("cache_control",)


def _part(block: dict[str, Any], at: str) -> dict[str, Any]:
    """A block in chat's words; one that chat has no word for is as it was sent."""
    part = _in_chats_words(block, at)
    return block if part is None else part | given(block, _MARK)


def _in_chats_words(block: dict[str, Any], at: str) -> dict[str, Any] | None:
    match block.get("type"):
        case "text":
            return {"type": "text", "text": convert(block, _Text, at).text}
        case "image":
            source = convert(block, _Sourced, at).source
            if url := _url(source):
                return {"type": "image_url", "image_url": {"url": url}}
        case "document":
            document = convert(block, _Sourced, at)
            if document.source.type == "base64":
                file = {"file_data": _url(document.source)}
                title = {"filename": document.title} if document.title else {}
                return {"type": "file", "file": file | title}
    return None


def _url(source: _Source) -> str:
    if source.type == "base64":
        return f"data:{source.media_type};base64,{source.data}"
    return source.url


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "input_schema" not in tool:
        return tool
    function = given(tool, ("name", "description"))
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}


def _tool_choice(choice: _ToolChoice | None) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name or ""}}
    return "required" if choice.type == "any" else choice.type
