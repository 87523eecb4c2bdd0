"""What humans decided about the calls that an answer before asked them of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from .conversation import ChatMessage
from .results import DENIED

__all__ = ["Decision", "decided", "denial", "undecided"]


class Decision(Struct, frozen=True):
    """A human's answer to an `Approval`.

    Attributes:
        call_id: the call that was asked about.
        approved: whether it may run.
        reason: why, in the human's words, if he gave any.
        name: the tool's name; empty if the client did not send the call back.
        arguments: the call's JSON text: as the human changed it, where the protocol lets him.
    """

    call_id: str
    approved: bool
    reason: str | None = None
    name: str = ""
    arguments: str = ""

    def parse(self) -> Any:
        """The arguments as an object. A client sends them: trust them as little as others.

        Raises:
            ValueError: if the text is not JSON.
        """
        try:
            return msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"the arguments for {self.name!r} are not JSON: {error}") from error


def undecided(given: Iterable[Decision], messages: Iterable[ChatMessage]) -> list[Decision]:
    """Those about calls that have no result among the messages: of others it is too late."""
    answered = {message.tool_call_id for message in messages if message.role == "tool"}
    return [decision for decision in given if decision.call_id not in answered]


def decided(given: Iterable[Decision], messages: Iterable[ChatMessage]) -> list[Decision]:
    """One decision for each call, with what the messages tell of it: nobody is to run a call twice,
    or one that was denied, too."""
    calls = {call.get("id"): call for message in messages for call in message.tool_calls}
    last: dict[str, Decision] = {}
    for decision in given:
        if decision.call_id not in last or last[decision.call_id].approved:
            last[decision.call_id] = _with_call(decision, calls.get(decision.call_id))
    return [*last.values()]


def _with_call(decision: Decision, call: dict[str, Any] | None) -> Decision:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            given = decision.arguments or arguments
            return msgspec.structs.replace(decision, name=name, arguments=given)
    return decision


def denial(decision: Decision) -> ChatMessage:
    """The result of a call that was denied: the model is told so."""
    content = decision.reason or DENIED
    return ChatMessage(role="tool", content=content, tool_call_id=decision.call_id, failed=True)
