"""google-genai's chunks, as its own classes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgi_llmstream.chunks import File, Finish, Reasoning, Source, Text, ToolCall, Usage
from tests.support.providers import message_of, module, read, through_openai

Fields = dict[str, Any]


def chunk(*parts: Fields, reason: str | None = None, **fields: Any) -> Any:
    """As the SDK makes it from the wire, whose names are in camel case."""
    candidate: Fields = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    types = module("google.genai.types")
    return types.GenerateContentResponse.model_validate({"candidates": [candidate], **fields})


def used(output: int, thoughts: int = 0) -> Fields:
    return {
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": output,
            "thoughtsTokenCount": thoughts,
            "cachedContentTokenCount": 4,
            "totalTokenCount": 10 + output + thoughts,
        }
    }


def call(id: str | None, name: str, **args: Any) -> Fields:
    return {"functionCall": {"id": id, "name": name, "args": args}, "thoughtSignature": "c2ln"}


def streams() -> dict[str, list[Any]]:
    return {
        "text": [
            chunk({"text": "Hel"}, **used(1)),
            chunk({"text": "lo"}, reason="STOP", **used(2)),
        ],
        "reasoning": [
            chunk({"text": "Hm.", "thought": True}, **used(0, 3)),
            chunk({"text": "Well."}, reason="STOP", **used(2, 3)),
        ],
        "parallel tool calls": [
            chunk(call("call_a", "weather", city="Oslo"), call("call_b", "time"), **used(1)),
            chunk({"text": ""}, reason="STOP", **used(3)),
        ],
        "too long": [chunk({"text": "And"}, reason="MAX_TOKENS", **used(1))],
        "filtered": [chunk({"text": "I"}), chunk(reason="SAFETY", **used(1))],
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text", "stop"),
        ("reasoning", "stop"),
        ("parallel tool calls", "tool_calls"),
        ("too long", "length"),
        ("filtered", "content_filter"),
    ],
)
def test_a_stream_becomes_the_message_that_its_chunks_hold(name: str, reason: str) -> None:
    items = streams()[name]
    message = message_of(items)
    parts = [part for item in items for part in item.candidates[0].content.parts]
    assert message.text == "".join(part.text or "" for part in parts if not part.thought)
    assert message.reasoning == "".join(part.text for part in parts if part.thought)
    assert [(call.id, call.name, call.parse()) for call in message.tool_calls] == [
        (part.function_call.id, part.function_call.name, part.function_call.args)
        for part in parts
        if part.function_call
    ]
    last = items[-1]
    assert message.usage is not None
    assert message.usage.total_tokens == last.usage_metadata.total_token_count
    assert message.finish_reason == reason
    assert message.native_finish_reason == last.candidates[0].finish_reason.value
    choice = through_openai(items).choices[0]
    assert choice.finish_reason == reason
    assert (choice.message.content or "") == message.text
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls or ()] == [
        call.parse() for call in message.tool_calls
    ]


def test_usage_counts_up_and_thoughts_are_output() -> None:
    assert read(chunk(**used(2, 3))) == [Usage(10, 5, 4, 3)]
    tools = {"usageMetadata": {"promptTokenCount": 10, "toolUsePromptTokenCount": 5}}
    assert read(chunk(**tools)) == [Usage(15)]


def test_a_stop_after_a_call_is_because_of_the_call_also_in_the_same_chunk() -> None:
    message = message_of([chunk(call("a", "f"), reason="STOP")])
    assert (message.finish_reason, message.native_finish_reason) == ("tool_calls", "STOP")
    message = message_of(
        [chunk(call("a", "f"), reason="STOP"), chunk({"text": "x"}, reason="STOP")]
    )
    assert message.finish_reason == "stop"


def test_calls_without_an_id_get_ids_of_ours() -> None:
    message = message_of([chunk(call(None, "f", x=1), call(None, "f", x=2))])
    assert [call.parse() for call in message.tool_calls] == [{"x": 1}, {"x": 2}]
    ids = {call.id for call in message.tool_calls}
    assert len(ids) == 2
    assert "" not in ids
    assert read(chunk({"functionCall": {"name": "f"}})) == [ToolCall("", "f", {})]


def test_a_call_in_pieces_is_refused_with_the_setting_that_leaves_them_out() -> None:
    pieces = {"functionCall": {"name": "f", "willContinue": True}}
    with pytest.raises(TypeError, match="stream_function_call_arguments"):
        read(chunk(pieces))


def test_a_prompt_that_was_blocked_ends_filtered() -> None:
    types = module("google.genai.types")
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    item = types.GenerateContentResponse.model_validate(blocked)
    assert read(item) == [Finish("content_filter", "PROHIBITED_CONTENT")]


def test_images_become_files_and_pages_sources() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}
    assert read(chunk(image)) == [File("data:image/png;base64,iVBO", "image/png")]
    types = module("google.genai.types")
    web = {"web": {"uri": "https://example.org", "title": "Example"}}
    grounded = {
        "content": {"parts": [{"text": "x"}]},
        "groundingMetadata": {"groundingChunks": [web]},
    }
    item = types.GenerateContentResponse.model_validate({"candidates": [grounded]})
    assert read(item) == [Text("x"), Source("https://example.org", "Example")]


def test_code_that_google_runs_and_other_candidates_say_nothing() -> None:
    code = {"executableCode": {"code": "1+1", "language": "PYTHON"}}
    assert read(chunk(code, {"text": "2"}, {"text": "so", "thought": True})) == [
        Text("2"),
        Reasoning("so"),
    ]
    types = module("google.genai.types")
    other = {"index": 1, "content": {"parts": [{"text": "no"}]}}
    assert read(types.GenerateContentResponse.model_validate({"candidates": [other]})) == []


def test_every_finish_reason_of_the_sdk_has_a_word_of_ours() -> None:
    reasons = module("google.genai.types").FinishReason
    words = {reason.value: read(chunk(reason=reason.value))[0].reason for reason in reasons}  # type: ignore[attr-defined]
    assert words["STOP"] is None
    others = {word for word, ours in words.items() if ours == "other"}
    assert others == {
        "FINISH_REASON_UNSPECIFIED",
        "LANGUAGE",
        "OTHER",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "CONTINUATION",
    }


def test_the_signature_of_a_call_goes_back_in_history_and_out_to_chat() -> None:
    items = streams()["parallel tool calls"]
    message = message_of(items)
    assert [call.signature for call in message.tool_calls] == ["c2ln", "c2ln"]
    sealed = {"google": {"thought_signature": "c2ln"}}
    said, *_ = message.to_openai()
    assert [call["extra_content"] for call in said["tool_calls"]] == [sealed, sealed]
    streamed = through_openai(items).choices[0].message.tool_calls
    assert [call.extra_content for call in streamed] == [sealed, sealed]
    assert [json.loads(call.function.arguments) for call in streamed] == [{"city": "Oslo"}, {}]
    # Anthropic's API would refuse it.
    assert "c2ln" not in json.dumps(message.to_anthropic())


def test_the_signature_is_read_of_gemini_through_the_chat_protocol_too() -> None:
    function = {"name": "f", "arguments": "{}"}
    tool = {"index": 0, "id": "a", "function": function}
    tool["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    item = {"choices": [{"index": 0, "delta": {"tool_calls": [tool]}, "finish_reason": "stop"}]}
    for shape in (item, module("openai.types.chat").ChatCompletionChunk.model_construct(**item)):
        (call,) = message_of([shape]).tool_calls
        assert call.signature == "c2ln"
