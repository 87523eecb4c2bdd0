"""`@ag-ui/client`'s HttpAgent, whose verifier fails at every breach, over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from asgi_llmstream import ChatApp, StreamOptions
from tests.support.node import Run, node
from tests.support.scripted import TEXT, Silence, killing, scripted
from tests.support.servers import serve

__all__ = ["node"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(ChatApp(scripted)) as address:
        yield address


def answer_of(out: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a run that the client found nothing to say against."""
    assert "error" not in out, out["error"]
    assert "failed" not in out, out["failed"]
    assert out["warnings"] == []
    assert out["events"][-1]["type"] == "RUN_FINISHED"
    messages: list[dict[str, Any]] = out["newMessages"]
    return messages


def test_text_is_one_message(node: Run, url: str) -> None:
    out = node("ag_ui.mjs", url, "text")
    [message] = answer_of(out)
    assert (message["role"], message["content"]) == ("assistant", TEXT)
    first, *_, last = out["events"]
    assert (first["threadId"], first["runId"]) == ("thread", "run")
    assert first["protocolVersion"] == "1.0"
    assert (last["threadId"], last["runId"]) == ("thread", "run")


def test_an_answer_of_nothing_is_a_run_all_the_same(node: Run, url: str) -> None:
    assert answer_of(node("ag_ui.mjs", url, "nothing")) == []


def test_reasoning_is_a_message_of_its_own(node: Run, url: str) -> None:
    reasoning, text = answer_of(node("ag_ui.mjs", url, "reason"))
    assert (reasoning["role"], reasoning["content"]) == ("reasoning", "Let me think.")
    assert text["content"] == "42"


def function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


CALLS = [function("weather", '{"city":"Oslo"}'), function("time", '{"zone":1}')]


def test_parallel_tool_calls_stand_in_the_message_of_their_text(node: Run, url: str) -> None:
    out = node("ag_ui.mjs", url, "call")
    [message] = answer_of(out)
    assert message["content"] == "Looking."
    assert [call["id"] for call in message["toolCalls"]] == ["call_a", "call_b"]
    assert [call["function"] for call in message["toolCalls"]] == CALLS


def test_the_usage_comes_with_the_end(node: Run, url: str) -> None:
    assert node("ag_ui.mjs", url, "call")["events"][-1]["usage"] == [
        {
            "model": "default",
            "inputTokens": 5,
            "outputTokens": 7,
            "totalTokens": 12,
            "reasoningTokens": 3,
            "cachedInputTokens": 2,
            "cacheWriteInputTokens": 0,
        }
    ]


def test_tool_results_follow_their_calls_and_the_answer_follows_them(node: Run, url: str) -> None:
    out = node("ag_ui.mjs", url, "agent")
    calls, noon, degrees, text = answer_of(out)
    assert [call["function"] for call in calls["toolCalls"]] == CALLS
    assert (noon["role"], noon["toolCallId"], noon["content"]) == ("tool", "call_b", "noon")
    assert (degrees["toolCallId"], degrees["content"]) == ("call_a", '{"degrees":3}')
    assert text["content"] == "Cold."
    steps = [event["stepName"] for event in out["events"] if event["type"] == "STEP_STARTED"]
    assert steps == ["look", "step_2"]


def test_a_tool_that_failed_is_marked(node: Run, url: str) -> None:
    _, result = answer_of(node("ag_ui.mjs", url, "fail a tool"))
    assert (result["content"], result["metadata"]) == ("broke", {"error": True})


def test_arguments_stay_as_the_model_wrote_them(node: Run, url: str) -> None:
    [message] = answer_of(node("ag_ui.mjs", url, "bad arguments"))
    assert message["toolCalls"][0]["function"] == function("weather", '{"city":')


def test_what_the_protocol_has_no_word_for_is_custom(node: Run, url: str) -> None:
    out = node("ag_ui.mjs", url, "items")
    [message] = answer_of(out)
    assert message["content"] == "See"
    custom = [(e["name"], e["value"]) for e in out["events"] if e["type"] == "CUSTOM"]
    assert custom == [
        ("llmstream.source", {"url": "https://a", "title": "A"}),
        ("llmstream.file", {"url": "data:image/png;base64,AA==", "mediaType": "image/png"}),
        ("mood", {"good": True}),
        ("llmstream.tool_result", {"toolCallId": "nobody", "content": "?"}),
    ]


@pytest.mark.parametrize(
    ("prompt", "text", "reason"),
    [
        ("text", TEXT, "stop"),
        ("length", "Hel", "length"),
        ("refuse", "I would rather not.", "content_filter"),
    ],
)
def test_the_last_event_says_why_the_answer_ended(
    node: Run, url: str, prompt: str, text: str, reason: str
) -> None:
    out = node("ag_ui.mjs", url, prompt)
    assert answer_of(out)[-1]["content"] == text
    assert out["events"][-1]["metadata"] == {"finishReason": reason}


@pytest.mark.parametrize(
    ("prompt", "said", "code"),
    [
        ("break", "The server could not finish the answer.", "internal_error"),
        ("break openly", "The cat sat on the GPU.", "cat"),
    ],
)
def test_an_error_in_mid_stream_ends_the_run_and_shows_only_what_is_safe(
    node: Run, url: str, prompt: str, said: str, code: str
) -> None:
    out = node("ag_ui.mjs", url, prompt)
    assert out["events"][-1] == {"type": "RUN_ERROR", "message": said, "code": code}
    assert out["messages"][-1]["content"] == "Hel"
    assert "error" not in out
    assert out["warnings"] == []


def test_an_error_before_the_first_chunk_is_an_http_status(node: Run, url: str) -> None:
    out = node("ag_ui.mjs", url, "limit")
    assert out["error"]["status"] == 429
    assert '"code":"rate_limit_exceeded"' in out["failed"]
    assert out["events"] == []


def test_a_kill_in_mid_stream_fails_the_run(node: Run) -> None:
    with serve(killing(ChatApp(scripted), b'"Hel"')) as url:
        out = node("ag_ui.mjs", url, "hang")
    assert out["failed"]
    assert "RUN_FINISHED" not in [event["type"] for event in out["events"]]


def test_what_the_client_made_of_an_answer_comes_back_as_history(node: Run, url: str) -> None:
    history = [
        {"id": "1", "role": "user", "content": "echo"},
        *node("ag_ui.mjs", url, "agent")["newMessages"],
        {
            "id": "2",
            "role": "assistant",
            "toolCalls": [
                {"id": "earlier", "type": "function", "function": function("weather", "{}")}
            ],
        },
    ]
    out = node("ag_ui.mjs", url, "", json.dumps(history))
    result, text = answer_of(out)
    assert (result["toolCallId"], result["content"]) == ("earlier", "late")
    assert text["content"] == "6 messages"


def test_silence_is_filled_with_heartbeats_that_are_no_events(node: Run) -> None:
    silence = Silence(enough=5)
    options = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
    silence.app = ChatApp(silence.answer, options=options)
    with serve(silence) as url:
        out = node("ag_ui.mjs", url, "hi")
    [message] = answer_of(out)
    assert message["content"] == "Hello!"
    assert [e["type"] for e in out["events"]].count("TEXT_MESSAGE_CONTENT") == 3


@pytest.mark.parametrize(
    ("answer", "content", "said"),
    [
        ({"approved": True}, '{"gone":"/tmp/x"}', "Done."),
        ({"approved": True, "editedArgs": {"path": "/tmp/y"}}, '{"gone":"/tmp/y"}', "Done."),
        ({"approved": False, "reason": "No."}, "No.", "I did not."),
    ],
)
def test_an_approval_is_an_interrupt_that_the_next_run_answers(
    node: Run, url: str, answer: Any, content: str, said: str
) -> None:
    out = node("ag_ui.mjs", url, "approve", "[]", json.dumps(answer))
    result, text = answer_of(out)
    [interrupt] = out["interrupts"]
    assert (interrupt["toolCallId"], interrupt["message"]) == ("call_a", "It is final.")
    assert (result["toolCallId"], result["content"], text["content"]) == ("call_a", content, said)
    assert out["pending"] == []


def test_the_client_shares_the_state(node: Run, url: str) -> None:
    out = node("ag_ui.mjs", url, "page")
    assert [message["content"] for message in answer_of(out)] == ["Hello"]
    assert out["state"] == {"count": 2}
    assert out["events"][-1]["metadata"] == {
        "cost": {"in": 1, "out": 2},
        "finishReason": "stop",
    }
