"""One message of a conversation, in OpenAI chat's shape, whatever the client spoke."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

__all__ = ["Block", "ChatMessage"]

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
        cache_control: of a tool's message: Anthropic's mark that the conversation is worth caching
            up to here. Content parts and calls have theirs in themselves.
        extra: what else the client's message had, as `refusal` and `reasoning_content`.
    """

    role: str
    content: str | list[Block] | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_call_id: str | None = None
    name: str | None = None
    failed: bool = False
    thinking: list[Block] = field(default_factory=list)
    cache_control: Block | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of all its parts."""
        if isinstance(self.content, str):
            return self.content
        texts = (part.get("text") for part in self.content or ())
        return "".join(text for text in texts if isinstance(text, str))
