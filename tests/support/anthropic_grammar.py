"""The grammar of an Anthropic message stream, as a reference: `check` raises where it is broken.

Written from the API reference and from what the official clients' accumulators refuse, and
not from our encoder.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["check", "events"]

STOP_REASONS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
}
ERROR_TYPES = {
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
}
# Of each block: what it looks like when it begins, and the key that each kind of delta has.
BLOCKS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "text": ({"text": ""}, {"text_delta": "text", "citations_delta": "citation"}),
    "thinking": (
        {"thinking": "", "signature": ""},
        {"thinking_delta": "thinking", "signature_delta": "signature"},
    ),
    "redacted_thinking": ({}, {}),
    "tool_use": ({"input": {}}, {"input_json_delta": "partial_json"}),
}


def events(stream: bytes) -> list[dict[str, Any]]:
    """The data of each event; its type must stand in `event:` too."""
    found = []
    text = stream.decode()
    assert text.endswith("\n\n")
    for block in text[:-2].split("\n\n"):
        name, data = (line for line in block.split("\n") if not line.startswith(":"))
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def check(stream: bytes) -> dict[str, Any] | None:
    """The message that has accumulated at the stream's end; None if it broke off.

    Raises:
        AssertionError: if the stream breaks the grammar.
    """
    start, *middle, last = events(stream)
    assert start["type"] == "message_start"
    message: dict[str, Any] = start["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    check_usage(message["usage"])
    if last["type"] == "error":
        read_blocks(middle, broken=True)
        assert last["error"]["type"] in ERROR_TYPES
        assert isinstance(last["error"]["message"], str)
        return None
    delta = middle.pop()
    assert (delta["type"], last) == ("message_delta", {"type": "message_stop"})
    assert delta["delta"]["stop_reason"] in STOP_REASONS
    check_usage(delta["usage"])
    message |= delta["delta"]
    message["content"] = read_blocks(middle)
    message["usage"] |= delta["usage"]
    return message


def check_usage(usage: dict[str, Any]) -> None:
    assert all(isinstance(usage[k], int) for k in ("input_tokens", "output_tokens"))


def read_blocks(middle: list[dict[str, Any]], *, broken: bool = False) -> list[dict[str, Any]]:
    """One block after the other, with indexes without gaps.

    Args:
        broken: whether an error follows, so that the last block may be a call that is not stopped.
    """
    blocks: list[dict[str, Any]] = []
    rest = iter(middle)
    for start in rest:
        assert (start["type"], start["index"]) == ("content_block_start", len(blocks))
        block = start["content_block"]
        empty, keys = BLOCKS[block["type"]]
        assert {key: block[key] for key in empty} == empty
        pieces = []
        for event in rest:
            assert event["index"] == len(blocks)
            if event["type"] == "content_block_stop":
                break
            assert event["type"] == "content_block_delta"
            pieces.append(event["delta"])
        else:
            assert broken, "a block is open at the end"
            assert block["type"] == "tool_use"
        blocks.append(filled(block, pieces, keys))
    return blocks


def filled(
    block: dict[str, Any], deltas: list[dict[str, Any]], keys: dict[str, str]
) -> dict[str, Any]:
    for delta in deltas[:-1]:
        assert delta["type"] != "signature_delta", "a signature comes last"
    for delta in deltas:
        value = delta[keys[delta["type"]]]
        match delta["type"]:
            case "signature_delta":
                block["signature"] = value
            case "citations_delta":
                block.setdefault("citations", []).append(value)
            case "input_json_delta":
                assert value
                block["partial_json"] = block.get("partial_json", "") + value
            case _:
                assert value
                block[keys[delta["type"]]] += value
    return block
