"""`ChatRequest`: one record for every protocol's request.

Its messages have OpenAI chat's shape, whatever the client spoke; `to_openai` and `to_anthropic`
write them for a call upstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..chunks import ToolResult
from . import anthropic
from .conversation import ChatMessage
from .decisions import Decision
from .pairs import paired
from .results import answering

__all__ = ["ChatRequest"]


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A client's request, whatever protocol it spoke.

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
            `parallel_tool_calls`, `response_format`, `reasoning_effort`, `verbosity`. Fit for
            `create(..., **request.settings)`.
        thread_id: names the conversation: AG-UI's `threadId`, assistant-ui's, or the Responses'
            `conversation`. A client chose it: look up whose it is before it opens anything.
        run_id: names this one answer: AG-UI's `runId`.
        chat_id: names the AI SDK's chat, its `id`; the same care.
        approvals: what a human decided about the calls that the last answer asked him of, as far as
            the client's protocol has words for it. A call that he denied has a result in
            `messages`, which says so.
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
    approvals: list[Decision] = field(default_factory=list)
    body: dict[str, Any] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The text of the user's last message; empty if there is none."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return ""

    @property
    def offered(self) -> frozenset[str]:
        """The names of its `tools`."""
        return frozenset(_names(self.tools))

    def with_results(self, *results: ToolResult) -> ChatRequest:
        """This request, whose history has these results too: of calls that it approves, say."""
        return replace(self, messages=[*self.messages, *map(answering, results)])

    def to_openai(self, *, cache_control: bool = False) -> list[Any]:
        """The messages as the `messages` of an OpenAI chat completion call.

        The API refuses a call without its result, and a result without its call. So a call that
        has none gets one that says so, and a result of no call is left out.

        Args:
            cache_control: keep Anthropic's marks for the prompt cache, which OpenRouter and
                litellm pass on and OpenAI refuses.
        """
        written = [_to_openai(message) for message in paired(self.messages)]
        return written if cache_control else [_without_marks(message) for message in written]

    def to_anthropic(self) -> dict[str, Any]:
        """`messages`, and where there are any `system`, `tools` and `tool_choice`, of a call of
        Anthropic's messages: `create(..., max_tokens=1024, **request.to_anthropic())`.

        All system and developer messages become the one `system`, wherever they stood. What the
        client marked with `cache_control` is marked. Calls and results are paired as in
        `to_openai`.
        """
        spoken = paired(m for m in self.messages if m.role not in _SYSTEM_ROLES)
        call: dict[str, Any] = {"messages": anthropic.turns(spoken), **anthropic.marked(self.body)}
        if system := anthropic.system(m for m in self.messages if m.role in _SYSTEM_ROLES):
            call["system"] = system
        if self.tools:
            marks = _marks_of_tools(self.body)
            call["tools"] = [marks.get(_name(t), {}) | anthropic.tool(t) for t in self.tools]
            if choice := anthropic.tool_choice(self.tool_choice):
                call["tool_choice"] = choice
        return call


_SYSTEM_ROLES = ("system", "developer")


def _names(tools: Iterable[Any]) -> Iterator[str]:
    """The tools' names: of OpenAI's and of Anthropic's, and of those in a namespace."""
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        inner = tool.get("function") or tool.get("custom")
        name = (inner if isinstance(inner, dict) else tool).get("name")
        if isinstance(name, str):
            yield name
        if isinstance(tool.get("tools"), list):
            yield from _names(tool["tools"])


def _to_openai(message: ChatMessage) -> dict[str, Any]:
    # An assistant that only calls tools has `content: null`; everything else unset stays away.
    out: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = message.tool_calls
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out | message.extra


def _content(message: ChatMessage) -> str | list[dict[str, Any]] | None:
    """The content without what Anthropic's own tools were asked and found."""
    content = message.content
    if message.role != "assistant" or not isinstance(content, list):
        return content
    if own := [part for part in content if not _is_anthropics(str(part.get("type")))]:
        return own
    return None if message.tool_calls else ""


def _is_anthropics(kind: str) -> bool:
    known = ("server_tool_use", "mcp_tool_use", "container_upload")
    return kind in known or kind.endswith("_tool_result")


def _name(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, dict) else tool).get("name"))


def _marks_of_tools(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the marks of Anthropic's client by name: not in `tools`, since OpenAI refuses them."""
    tools = body.get("tools")
    known = (tool for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict))
    return {_name(tool): anthropic.marked(tool) for tool in known}


def _without_marks(message: dict[str, Any]) -> dict[str, Any]:
    for name in ("content", "tool_calls"):
        if isinstance(parts := message.get(name), list):
            message[name] = [{k: v for k, v in p.items() if k != "cache_control"} for p in parts]
    return message
