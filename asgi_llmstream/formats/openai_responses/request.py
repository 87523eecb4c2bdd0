"""The body of `POST /responses`, as a `ChatRequest`.

Of the input items, messages, calls of functions, custom tools and MCP, their outputs, approvals and
reasoning become messages. The calls of tools that OpenAI itself runs have no shape in chat and stay
in `ChatRequest.body` only.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from msgspec import Struct

from ...errors import BadRequest
from ...request import ChatMessage, ChatRequest, Decision, decided, denial
from ..shapes import chat, sealed
from ..shapes.fields import ModelName, Name, bad_field, convert, given
from .stored import is_reference

__all__ = ["decode_request"]


class _Effort(Struct):
    effort: Name | None = None


class _TextConfig(Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Body(Struct):
    """The fields that are checked here; all others pass in `ChatRequest.body` as they are."""

    input: str | list[dict[str, Any]]
    model: ModelName | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning: _Effort | None = None
    text: _TextConfig | None = None


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]]


class _Call(Struct):
    call_id: Name
    name: Name
    arguments: str


class _CustomCall(Struct):
    call_id: Name
    name: Name
    input: str


class _McpCall(Struct):
    id: Name
    name: Name
    arguments: str
    output: str | None = None
    error: Any = None
    approval_request_id: Name | None = None


class _Approval(Struct):
    approval_request_id: Name
    approve: bool
    reason: str | None = None


class _Output(Struct):
    call_id: Name
    output: str | list[dict[str, Any]]


class _Text(Struct):
    text: str


class _Reasoning(Struct):
    summary: list[_Text] = []
    encrypted_content: str | None = None


_ROLES = ("system", "developer", "user", "assistant")


def decode_request(
    raw: dict[str, Any], *, stateful: bool = False, stored: bool = False
) -> ChatRequest:
    """The body of `POST /responses`, checked. What it refers to is left out.

    Args:
        stateful: see `OpenAIResponses`, as for the other.

    Raises:
        BadRequest: if a field is missing or of the wrong type, or asks for what this server does
            not do; `param` names the field.
    """
    parsed = convert(raw, _Body)
    _check(parsed, stateful, stored)
    messages, decisions = _messages(parsed.input, stateful or stored)
    if not (messages or stateful or (stored and _refers(parsed))):
        raise bad_field("input", "must not be empty")
    if parsed.instructions:
        messages.insert(0, ChatMessage(role="system", content=parsed.instructions))
    conversation = parsed.conversation
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    return ChatRequest(
        messages=messages,
        model=parsed.model or "",
        stream=bool(parsed.stream),
        include_usage=True,
        tools=[_tool(tool) for tool in parsed.tools or ()],
        tool_choice=_tool_choice(parsed.tool_choice),
        settings=_settings(raw, parsed),
        thread_id=conversation if isinstance(conversation, str) else None,
        approvals=decisions,
        body=raw,
    )


def _settings(raw: dict[str, Any], body: _Body) -> dict[str, Any]:
    settings = given(raw, ("temperature", "top_p", "parallel_tool_calls"))
    if body.max_output_tokens is not None:
        settings["max_tokens"] = body.max_output_tokens
    if body.reasoning and body.reasoning.effort:
        settings["reasoning_effort"] = body.reasoning.effort
    if body.text and body.text.format:
        settings["response_format"] = _response_format(body.text.format)
    if body.text and body.text.verbosity:
        settings["verbosity"] = body.text.verbosity
    return settings


def _response_format(format: dict[str, Any]) -> dict[str, Any]:
    """The same in chat's words, which keeps a schema's fields one level below."""
    if format.get("type") != "json_schema":
        return format
    return chat.json_schema(**given(format, ("name", "schema", "description", "strict")))


def _check(body: _Body, stateful: bool, stored: bool) -> None:
    if body.background and not stored:
        raise bad_field("background", "is not supported: the answer goes to who asks for it")
    if body.background and body.store is False:
        raise bad_field("background", "is for responses that are stored")
    if body.previous_response_id is not None and not (stateful or stored):
        raise _not_kept("previous_response_id")
    if body.conversation is not None and not stateful:
        raise _not_kept("conversation")


def _refers(body: _Body) -> bool:
    if body.previous_response_id is not None:
        return True
    return not isinstance(body.input, str) and any(map(is_reference, body.input))


def _not_kept(path: str) -> BadRequest:
    return bad_field(
        path,
        "is not supported, since nothing is stored here: send the whole conversation as input "
        "(clients that refer to items by themselves do so with `store: false`)",
    )


def _messages(
    given: str | list[dict[str, Any]], may_refer: bool
) -> tuple[list[ChatMessage], list[Decision]]:
    if isinstance(given, str):
        return [ChatMessage(role="user", content=given)] if given else [], []
    reader = _Reader(may_refer)
    for i, item in enumerate(given):
        reader.read(item, f"input[{i}]")
    reader.end_turn()
    answers = chain.from_iterable(reader.decisions.values())
    return reader.messages, decided(answers, reader.messages)


def _kind(item: dict[str, Any]) -> Any:
    # Messages and references may leave it out.
    return "item_reference" if is_reference(item) else item.get("type") or "message"


class _Reader:
    """Joins what one turn of the model said: in chat its reasoning, text and calls are one
    message.

    Attributes:
        messages: of all turns that ended.
        decisions: about the calls of the last of them, by their ids.
    """

    def __init__(self, may_refer: bool) -> None:
        self.messages: list[ChatMessage] = []
        self.decisions: dict[str, list[Decision]] = {}
        self._asked: set[str] = set()  # the ids of calls that an approval was asked for
        self._ran: set[str] = set()  # and of those that have a result
        self._may_refer = may_refer
        self._thinking: list[dict[str, Any]] = []
        self._content: str | list[dict[str, Any]] | None = None
        self._calls: list[dict[str, Any]] = []

    def read(self, item: dict[str, Any], at: str) -> None:
        match _kind(item):
            case "message":
                self._read_message(convert(item, _Message, at), at)
            case "function_call":
                call = convert(item, _Call, at)
                self._calls.append(chat.call(call.call_id, call.name, call.arguments))
            case "custom_tool_call":
                custom = convert(item, _CustomCall, at)
                self._calls.append(chat.custom_call(custom.call_id, custom.name, custom.input))
            case "function_call_output" | "custom_tool_call_output":
                output = convert(item, _Output, at)
                content = _content(output.output, f"{at}.output")
                self._add(ChatMessage(role="tool", content=content, tool_call_id=output.call_id))
            case "mcp_call" | "mcp_approval_request":
                self._read_mcp_call(convert(item, _McpCall, at))
            case "mcp_approval_response":
                self._read_approval(convert(item, _Approval, at))
            case "reasoning":
                self._read_reasoning(convert(item, _Reasoning, at))
            case "item_reference" if not self._may_refer:
                raise _not_kept(at)

    def _read_message(self, message: _Message, at: str) -> None:
        if message.role not in _ROLES:
            raise bad_field(f"{at}.role", f"must be one of {', '.join(_ROLES)}")
        content = _content(message.content, f"{at}.content")
        if message.role != "assistant":
            self._add(ChatMessage(role=message.role, content=content))
            return
        if self._content is not None or self._calls:
            self.end_turn()
        self._content = content

    def _read_mcp_call(self, call: _McpCall) -> None:
        """A call that the server ran, with its result, or that was to be approved first: there
        are items of that, its own and one for what came of it, as `OpenAIResponses` writes it."""
        id = call.approval_request_id or call.id
        if id not in self._asked:
            self._asked.add(id)
            self._calls.append(chat.call(id, call.name, call.arguments))
        failed = call.error is not None
        result = call.error if failed else call.output
        if result is not None:
            content = chat.as_text(result)
            self._add(ChatMessage(role="tool", content=content, tool_call_id=id, failed=failed))
            self._ran.add(id)
            self.decisions.pop(id, None)

    def _read_approval(self, answer: _Approval) -> None:
        if answer.approval_request_id in self._ran:
            return
        decision = Decision(answer.approval_request_id, answer.approve, answer.reason)
        if decision.approved:
            self.end_turn()
        else:
            self._add(denial(decision))
        self.decisions.setdefault(decision.call_id, []).append(decision)

    def _read_reasoning(self, reasoning: _Reasoning) -> None:
        if self._content is not None or self._calls:
            self.end_turn()
        if reasoning.encrypted_content:
            text = "\n\n".join(part.text for part in reasoning.summary)
            self._thinking.append(sealed.thinking(text, reasoning.encrypted_content))

    def _add(self, message: ChatMessage) -> None:
        self.end_turn()
        self.messages.append(message)

    def end_turn(self) -> None:
        if self._content is not None or self._calls:
            self.decisions = {}
            turn = ChatMessage(
                role="assistant",
                content=self._content,
                tool_calls=self._calls,
                thinking=self._thinking,
            )
            self.messages.append(turn)
        self._thinking, self._content, self._calls = [], None, []


def _content(content: str | list[dict[str, Any]], at: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return chat.just_text([_part(part, f"{at}[{i}]") for i, part in enumerate(content)])


def _part(part: dict[str, Any], at: str) -> dict[str, Any]:
    """A part in chat's words; one that chat has no word for is as it was sent."""
    match part.get("type"):
        case "input_text" | "output_text":
            return {"type": "text", "text": convert(part, _Text, at).text}
        case "input_image" if part.get("image_url"):
            image = {"url": part["image_url"], **given(part, ("detail",))}
            return {"type": "image_url", "image_url": image}
        case "input_file" if not part.get("file_url"):
            return {"type": "file", "file": given(part, ("file_data", "file_id", "filename"))}
        case _:
            return part


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool in chat's words; one that chat has no word for is as it was sent."""
    kind = tool.get("type")
    if kind not in ("function", "custom") or kind in tool:
        return tool
    return {"type": kind, kind: {k: v for k, v in tool.items() if k != "type"}}


def _tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    match choice:
        case {"type": "function" | "custom" as kind, "name": str(name)}:
            return {"type": kind, kind: {"name": name}}
        case _:
            return choice
