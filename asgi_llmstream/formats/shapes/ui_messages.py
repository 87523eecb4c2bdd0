"""Requests of the AI SDK's chat transports: UI messages in, OpenAI's messages out.

Source: `http-chat-transport.ts`, `call-completion-api.ts`, `ui-messages.ts` and
`convert-to-model-messages.ts` of npm `ai` 7; `AssistantChatTransport.ts` of `@assistant-ui/ai-sdk`
0.0.7 and `useDataStreamRuntime.ts` of `@assistant-ui/react-data-stream` 0.12.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, field

from ...request import DENIED, ChatMessage, ChatRequest, Decision, anthropic, decided
from . import chat
from .chat import as_text, file_part
from .fields import ModelName, Name, bad_field, convert, given, missing
from .model_messages import ModelMessage, read_message

__all__ = ["decode_request"]


class _Part(Struct, rename="camel"):
    """The fields of all kinds of parts that are read here."""

    type: str
    text: str | None = None
    url: str | None = None
    media_type: str = ""
    filename: str | None = None
    tool_call_id: Name | None = None
    tool_name: Name | None = None
    state: str = ""
    input: Any = UNSET
    raw_input: Any = UNSET
    output: Any = None
    error_text: str = ""
    approval: dict[str, Any] | None = None
    provider_metadata: dict[str, dict[str, Any]] | None = None
    call_provider_metadata: dict[str, dict[str, Any]] | None = None
    parts: list[_Part] = field(default_factory=list)


class _UIMessage(Struct):
    role: str
    parts: list[_Part]
    id: Name = ""


class _Body(Struct, rename="camel"):
    """The fields that are checked here; all others pass in `ChatRequest.body` as they are."""

    messages: list[dict[str, Any]]
    id: Name | None = None
    trigger: str | None = None
    thread_id: Any = None
    model: Any = None
    system: Any = None


def decode_request(raw: dict[str, Any]) -> ChatRequest:
    """Read what `DefaultChatTransport` posts: `{id, messages, trigger, messageId}` and the
    application's own fields; `{prompt}` of `useCompletion`; and what assistant-ui adds: `system`,
    `tools` and the settings of the call. Theirs are common names: one that means something else
    is the application's own and stays in `body`.

    Each step of an assistant's message becomes an assistant's message with its tool calls, and
    a tool's message for each of their outputs. Reasoning that is not signed, sources, data and
    an assistant's files have no place in our messages; they stay in `body`.

    Raises:
        BadRequest: if a field is missing or of the wrong type; `param` names the field.
    """
    match raw:
        case {"prompt": str(prompt)} if "messages" not in raw:
            raw_messages = [{"role": "user", "content": prompt}]
            parsed = convert(raw | {"messages": raw_messages}, _Body)
        case _:
            parsed = convert(raw, _Body)
    if not parsed.messages:
        raise bad_field("messages", "must not be empty")
    messages: list[ChatMessage] = []
    if parsed.system and isinstance(parsed.system, str):
        messages.append(ChatMessage(role="system", content=parsed.system))
    for i, message in enumerate(parsed.messages):
        messages += _read(message, f"messages[{i}]")
    settings = _settings(raw)
    named = parsed.model or settings.pop("model", "")
    return ChatRequest(
        messages=messages,
        model=convert(named, ModelName, "model") if isinstance(named, str) else "",
        stream=True,
        tools=_tools(raw.get("tools")),
        settings=settings,
        thread_id=_thread_id(parsed.thread_id),
        chat_id=parsed.id,
        approvals=decided(_decisions(parsed.messages[-1]), messages),
        body=raw,
    )


def _thread_id(raw: Any) -> str | None:
    return convert(raw, Name, "threadId") if isinstance(raw, str) else None


# What assistant-ui calls the settings; its two clients put them at two levels.
_SETTINGS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "maxTokens": ("max_tokens", int),
    "temperature": ("temperature", (int, float)),
    "topP": ("top_p", (int, float)),
    "presencePenalty": ("presence_penalty", (int, float)),
    "frequencyPenalty": ("frequency_penalty", (int, float)),
    "seed": ("seed", int),
    "reasoningEffort": ("reasoning_effort", str),
    "modelName": ("model", str),
}


def _settings(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for level in (raw, raw.get("callSettings"), raw.get("config")):
        for name, value in level.items() if isinstance(level, dict) else ():
            ours, kind = _SETTINGS.get(name, ("", ()))
            if ours and isinstance(value, kind) and not isinstance(value, bool):
                found[ours] = value
    return found


def _tools(raw: Any) -> list[dict[str, Any]]:
    """assistant-ui's tools, by name: those that the page runs."""
    if not isinstance(raw, dict):
        return []
    tools = []
    for name, tool in raw.items():
        match tool:
            case {"parameters": dict(parameters)}:
                function = {"name": name, **given(tool, ("description",)), "parameters": parameters}
                tools.append({"type": "function", "function": function})
    return tools


def _read(message: dict[str, Any], path: str) -> list[ChatMessage]:
    if "parts" not in message and "content" in message:
        return read_message(convert(message, ModelMessage, path), path)
    told = convert(message, _UIMessage, path)
    _check(told, path)
    return _messages(told)


_ROLES = ("system", "user", "assistant")


def _check(message: _UIMessage, path: str) -> None:
    if message.role not in _ROLES:
        raise bad_field(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
    for j, part in enumerate(message.parts):
        for name, absent in (
            ("text", part.type == "text" and part.text is None),
            ("url", part.type == "file" and part.url is None),
            ("toolCallId", _is_tool(part) and not part.tool_call_id),
            ("toolName", part.type == "dynamic-tool" and not part.tool_name),
        ):
            if absent:
                raise missing(f"{path}.parts[{j}].{name}")


def _is_tool(part: _Part) -> bool:
    return part.type.startswith("tool-") or part.type == "dynamic-tool"


def _messages(message: _UIMessage) -> list[ChatMessage]:
    if message.role == "user":
        return [ChatMessage(role="user", content=_user_content(message.parts))]
    if message.role == "system":
        return [ChatMessage(role="system", content=_text(message.parts))]
    messages: list[ChatMessage] = []
    step: list[_Part] = []
    for part in message.parts:
        if part.type == "step-start":
            messages += _step(step)
            step = []
        elif part.type == "steering-message" and part.parts:
            # What the user threw in while the assistant was answering.
            messages += _step(step)
            messages.append(ChatMessage(role="user", content=_user_content(part.parts)))
            step = []
        else:
            step.append(part)
    return messages + _step(step)


def _step(parts: list[_Part]) -> list[ChatMessage]:
    # Of a call that still streams, or broke off, nobody knows the arguments.
    tools = [part for part in parts if _is_tool(part) and part.state != "input-streaming"]
    text = _text(parts)
    if not tools and not text:
        return []
    said = ChatMessage(
        role="assistant",
        content=text or None,
        tool_calls=list(map(_call, tools)),
        thinking=[block for part in parts if (block := _thinking(part))],
    )
    return [said, *filter(None, map(_result, tools))]


def _call(part: _Part) -> dict[str, Any]:
    name = part.tool_name or part.type.removeprefix("tool-")
    input = part.raw_input if part.input is UNSET else part.input
    # Text is what a model wrote that is not JSON, see `UIMessages`.
    arguments = "{}" if input is UNSET else as_text(input)
    google = (part.call_provider_metadata or {}).get("google", {})
    signature = google.get("thoughtSignature")
    return chat.call(
        part.tool_call_id, name, arguments, signature if isinstance(signature, str) else None
    )


def _result(part: _Part) -> ChatMessage | None:
    """The tool's answer, if there is one."""
    approval = part.approval or {}
    denied = part.state == "output-denied" or (
        part.state == "approval-responded" and approval.get("approved") is False
    )
    if part.state == "output-available":
        content = as_text(part.output)
    elif part.state == "output-error":
        content = part.error_text
    elif denied:
        content = as_text(approval.get("reason") or DENIED)
    else:
        return None
    failed = part.state != "output-available"
    return ChatMessage(role="tool", content=content, tool_call_id=part.tool_call_id, failed=failed)


def _decisions(last: dict[str, Any]) -> list[Decision]:
    """Read what the user decided of the last message's calls. What he says behind them supersedes
    it, as it does for the SDK's own servers."""
    if last.get("role") != "assistant" or "parts" not in last:
        return []
    parts = convert(last, _UIMessage).parts
    return [
        decision
        for part in parts
        if _is_tool(part) and part.state == "approval-responded"
        if (decision := _decision(part)) is not None
    ]


def _decision(part: _Part) -> Decision | None:
    match part.approval:
        case {"approved": bool(approved), **more}:
            reason = more.get("reason")
            told = reason if reason and isinstance(reason, str) else None
            return Decision(part.tool_call_id or "", approved, told)
        case _:
            return None


def _thinking(part: _Part) -> dict[str, Any] | None:
    """Reasoning as Anthropic wants it back, see `UIMessages`."""
    if part.type != "reasoning":
        return None
    match (part.provider_metadata or {}).get("anthropic"):
        case {"signature": str(signature)} if signature:
            return anthropic.thinking(part.text or "", signature)
        case {"redactedData": str(data)} if data:
            return anthropic.redacted_thinking(data)
        case _:
            return None


def _text(parts: list[_Part]) -> str:
    return "".join(part.text or "" for part in parts if part.type == "text")


def _user_content(parts: list[_Part]) -> str | list[dict[str, Any]]:
    if not any(part.type == "file" for part in parts):
        return _text(parts)
    content = []
    for part in parts:
        if part.type == "text":
            content.append({"type": "text", "text": part.text})
        elif part.type == "file":
            content.append(file_part(part.url or "", part.media_type, part.filename))
    return content
