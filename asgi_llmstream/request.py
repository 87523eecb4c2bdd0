"""`ChatRequest`: one record for every protocol's request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

__all__ = ["ChatMessage", "ChatRequest"]


class ChatMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the conversation so far.

    Attributes:
        role: "system", "developer", "user", "assistant" or "tool".
        content: its text, or a list of content parts as OpenAI writes them.
        tool_calls: of an assistant's message, as OpenAI writes them.
        tool_call_id: of a tool's message: which call it answers.
        name: who speaks, where the client says so.
    """

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_call_id: str | None = None
    name: str | None = None

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
        body: the whole request as it was sent, unknown fields and sampling settings included.
        scope: the ASGI scope: headers, path, the framework's state and user.
    """

    messages: list[ChatMessage]
    model: str = ""
    stream: bool = False
    include_usage: bool = False
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


def _to_openai(message: ChatMessage) -> dict[str, Any]:
    # An assistant that only calls tools has `content: null`; everything else unset stays away.
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = message.tool_calls
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out
