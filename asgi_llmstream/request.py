"""`ChatRequest`: one record for every protocol's request.

Its messages have OpenAI chat's shape, whatever the client spoke; `to_openai` and `to_anthropic`
write them for a call upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from .content import MessageToolCall

__all__ = ["ChatMessage", "ChatRequest"]

Block = dict[str, Any]
"""A content block as Anthropic writes it, or a content part as OpenAI does."""


class ChatMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the conversation so far.

    Attributes:
        role: "system", "developer", "user", "assistant" or "tool".
        content: its text, or a list of content parts as OpenAI writes them.
        tool_calls: of an assistant's message, as OpenAI writes them.
        tool_call_id: of a tool's message: which call it answers.
        name: who speaks, where the client says so.
        failed: of a tool's message: whether the tool failed, where the client says so.
        thinking: of an assistant's message: `thinking` and `redacted_thinking` blocks as
            Anthropic writes them, which it wants back with their signatures.
        extra: what else the client's message had, as `refusal` and `reasoning_content`.
    """

    role: str
    content: str | list[Block] | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_call_id: str | None = None
    name: str | None = None
    failed: bool = False
    thinking: list[Block] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of all its parts."""
        if isinstance(self.content, str):
            return self.content
        texts = (part.get("text") for part in self.content or ())
        return "".join(text for text in texts if isinstance(text, str))


class ChatRequest(Struct, frozen=True, kw_only=True):
    """What a client asked, whatever protocol it spoke.

    Attributes:
        messages: the conversation so far.
        model: the model's name, as the client gave it or `ChatApp` fills it in.
        stream: whether the client wants a stream.
        include_usage: whether it wants the tokens counted at the stream's end.
        tools: what the model may call, as OpenAI chat writes it. A tool that only the client's
            own protocol knows (a provider's web search, say) is as the client sent it.
        tool_choice: how it may choose among them, in the same words.
        settings: what the client set of these, in OpenAI chat's words: `max_tokens`,
            `temperature`, `top_p`, `stop`, `seed`, `frequency_penalty`, `presence_penalty`,
            `parallel_tool_calls`. Fit for `create(..., **request.settings)`.
        thread_id: names the conversation, where the client says so.
        run_id: names this request, where the client says so.
        chat_id: names the AI SDK's chat.
        body: the whole request as it was sent, unknown fields included.
        scope: the ASGI scope: headers, path, the framework's state and user.
    """

    messages: list[ChatMessage]
    model: str = ""
    stream: bool = False
    include_usage: bool = False
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    thread_id: str | None = None
    run_id: str | None = None
    chat_id: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The text of the user's last message; empty if there is none."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return ""

    def to_openai(self) -> list[dict[str, Any]]:
        """The messages as the `messages` of an OpenAI chat completion call."""
        return [_to_openai(message) for message in self.messages]

    def to_anthropic(self) -> dict[str, Any]:
        """`messages`, and where there are any `system`, `tools` and `tool_choice`, of a call of
        Anthropic's messages: `create(..., max_tokens=1024, **request.to_anthropic())`.

        All system and developer messages become the one `system`, wherever they stood.
        """
        spoken = [m for m in self.messages if m.role not in _SYSTEM_ROLES]
        system = [m.text for m in self.messages if m.role in _SYSTEM_ROLES and m.text]
        call: dict[str, Any] = {"messages": _turns(spoken)}
        if system:
            call["system"] = "\n\n".join(system)
        if self.tools:
            call["tools"] = [_anthropic_tool(tool) for tool in self.tools]
            if choice := _anthropic_choice(self.tool_choice):
                call["tool_choice"] = choice
        return call


_SYSTEM_ROLES = ("system", "developer")


def _to_openai(message: ChatMessage) -> dict[str, Any]:
    # An assistant that only calls tools has `content: null`; everything else unset stays away.
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = message.tool_calls
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out | message.extra


def _turns(messages: list[ChatMessage]) -> list[dict[str, Any]]:
    """Anthropic's messages: all results of an assistant's calls stand in one message, and the
    user's words behind them."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if not (blocks := list(_blocks_of(message))):
            continue  # the API refuses messages without content
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        match turn["content"]:
            case [{"type": "text", "text": text, **rest}] if not rest:
                turn["content"] = text
    return turns


def _blocks_of(message: ChatMessage) -> Iterator[Block]:
    # Without its signature the API refuses reasoning.
    yield from (block for block in message.thinking if block.get("signature") or "data" in block)
    content = list(_content(message.content))
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}
        yield result | ({"is_error": True} if message.failed else {})
        return
    yield from content
    for call in message.tool_calls:
        yield _tool_use(call)


def _content(content: str | list[Block] | None) -> Iterator[Block]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    for part in parts:
        convert = _PARTS.get(str(part.get("type")))
        block = part if convert is None else convert(part)
        if block.get("type") != "text" or block["text"].strip():  # blank ones are refused
            yield block


def _text(part: Block) -> Block:
    return {"type": "text", "text": str(part.get("text") or part.get("refusal") or "")}


def _image(part: Block) -> Block:
    image = part.get("image_url")
    url = str(image.get("url", "") if isinstance(image, dict) else image or "")
    return {"type": "image", "source": _source(url)}


def _document(part: Block) -> Block:
    file = part.get("file")
    file = file if isinstance(file, dict) else {}
    if data := file.get("file_data"):
        document: Block = {"type": "document", "source": _source(str(data))}
    else:
        source = {"type": "file", "file_id": str(file.get("file_id", ""))}
        document = {"type": "document", "source": source}
    return document | ({"title": file["filename"]} if file.get("filename") else {})


def _source(url: str) -> Block:
    """What a `data:` URL (RFC 2397) holds, or where another one leads."""
    head, _, data = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64"):
        media_type = head.removeprefix("data:").split(";")[0]
        return {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "url", "url": url}


# Parts of other types are as the client sent them: Anthropic's own, or nothing we know.
_PARTS: dict[str, Callable[[Block], Block]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "file": _document,
}


def _tool_use(call: dict[str, Any]) -> Block:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    id, name = str(call.get("id") or ""), str(function.get("name") or "")
    arguments = str(function.get("arguments") or "")
    try:
        given = MessageToolCall(id, name, arguments).parse()
    except ValueError:
        given = None
    if not isinstance(given, dict):  # as models now and then write them
        given = {"invalid_json": arguments}
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def _anthropic_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    out = {"name": function.get("name", ""), "input_schema": schema}
    if description := function.get("description"):
        out["description"] = description
    return out


def _anthropic_choice(choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
    match choice:
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case _:
            return None
