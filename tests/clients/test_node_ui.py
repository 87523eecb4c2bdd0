"""npm `ai`'s chat transport, message reader and chat state, over a real socket."""

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


def parts_of(out: dict[str, Any]) -> list[dict[str, Any]]:
    """What the message holds, without the steps' boundaries."""
    assert "error" not in out, out["error"]
    return [part for part in out["message"]["parts"] if part["type"] != "step-start"]


def test_text_arrives_whole(node: Run, url: str) -> None:
    out = node("ui.mjs", url, "text")
    assert parts_of(out) == [{"type": "text", "text": TEXT, "state": "done"}]
    assert out["message"]["id"] == out["chunks"][0]["messageId"]
    assert out["chunks"][-1] == {"type": "finish", "finishReason": "stop"}


def test_an_answer_of_nothing_is_an_empty_message(node: Run, url: str) -> None:
    assert parts_of(node("ui.mjs", url, "nothing")) == []


def test_reasoning_is_a_part_of_its_own(node: Run, url: str) -> None:
    reasoning, text = parts_of(node("ui.mjs", url, "reason"))
    assert (reasoning["type"], reasoning["text"]) == ("reasoning", "Let me think.")
    assert reasoning["state"] == "done"
    assert text["text"] == "42"


def test_parallel_tool_calls_wait_for_their_outputs(node: Run, url: str) -> None:
    out = node("ui.mjs", url, "call")
    text, weather, time = parts_of(out)
    assert text["text"] == "Looking."
    assert weather == {
        "type": "tool-weather",
        "toolCallId": "call_a",
        "state": "input-available",
        "input": {"city": "Oslo"},
    }
    assert (time["type"], time["input"]) == ("tool-time", {"zone": 1})
    assert out["chunks"][-1]["finishReason"] == "tool-calls"


def test_the_usage_is_in_the_messages_metadata(node: Run, url: str) -> None:
    assert node("ui.mjs", url, "call")["message"]["metadata"] == {
        "usage": {
            "inputTokens": 5,
            "inputTokenDetails": {"cacheReadTokens": 2, "cacheWriteTokens": 0},
            "outputTokens": 7,
            "outputTokenDetails": {"reasoningTokens": 3},
            "totalTokens": 12,
        }
    }


def test_tool_results_stand_in_their_calls_and_the_answer_in_the_next_step(
    node: Run, url: str
) -> None:
    out = node("ui.mjs", url, "agent")
    weather, time, text = parts_of(out)
    assert (weather["state"], weather["output"]) == ("output-available", {"degrees": 3})
    assert (time["state"], time["output"]) == ("output-available", "noon")
    assert text["text"] == "Cold."
    assert [part["type"] for part in out["message"]["parts"]].count("step-start") == 2


def test_a_tool_that_failed_says_why(node: Run, url: str) -> None:
    [weather] = parts_of(node("ui.mjs", url, "fail a tool"))
    assert (weather["state"], weather["errorText"]) == ("output-error", "broke")


def test_arguments_that_are_not_json_fail_their_call_alone(node: Run, url: str) -> None:
    [weather] = parts_of(node("ui.mjs", url, "bad arguments"))
    assert (weather["state"], weather["input"]) == ("output-error", '{"city":')


def test_sources_files_data_and_an_unknown_calls_result_are_parts(node: Run, url: str) -> None:
    text, source, file, data, result = parts_of(node("ui.mjs", url, "items"))
    assert text["text"] == "See"
    assert (source["url"], source["title"]) == ("https://a", "A")
    assert file == {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
    assert data == {"type": "data-mood", "data": {"good": True}}
    assert result == {"type": "data-tool-result", "data": {"toolCallId": "nobody", "output": "?"}}


@pytest.mark.parametrize(
    ("prompt", "text", "reason"),
    [
        ("text", TEXT, "stop"),
        ("length", "Hel", "length"),
        ("refuse", "I would rather not.", "content-filter"),
    ],
)
def test_the_chat_knows_why_the_answer_ended(
    node: Run, url: str, prompt: str, text: str, reason: str
) -> None:
    out = node("ui_chat.mjs", url, prompt)
    assert out["messages"][-1]["parts"][-1]["text"] == text
    assert (out["status"], out["finish"]["finishReason"]) == ("ready", reason)


def test_the_chat_runs_tools_only_with_whole_arguments(node: Run, url: str) -> None:
    called = node("ui_chat.mjs", url, "call")["toolCalls"]
    assert [call["input"] for call in called] == [{"city": "Oslo"}, {"zone": 1}]
    assert node("ui_chat.mjs", url, "bad arguments")["toolCalls"] == []


def test_the_chat_runs_no_tool_that_the_server_or_the_provider_ran(node: Run, url: str) -> None:
    out = node("ui_chat.mjs", url, "own agent")
    assert (out["toolCalls"], out["status"]) == ([], "ready")
    tools = [part for part in out["messages"][-1]["parts"] if part["type"].startswith("tool-")]
    assert [(tool["type"], tool["state"], tool["providerExecuted"]) for tool in tools] == [
        ("tool-weather", "output-available", True),
        ("tool-web_search", "output-error", True),
    ]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("break", "The server could not finish the answer."),
        ("break openly", "The cat sat on the GPU."),
    ],
)
def test_an_error_in_mid_stream_is_an_error_of_the_chat_and_shows_only_what_is_safe(
    node: Run, url: str, prompt: str, said: str
) -> None:
    out = node("ui_chat.mjs", url, prompt)
    assert (out["status"], out["error"], out["finish"]["isError"]) == ("error", said, True)
    assert out["messages"][-1]["parts"][-1]["text"] == "Hel"
    assert node("ui.mjs", url, prompt)["error"]["message"] == said


def test_an_error_before_the_first_chunk_is_an_http_status(node: Run, url: str) -> None:
    error = node("ui.mjs", url, "limit")["error"]
    assert error["status"] == 429
    assert json.loads(error["message"]) == {
        "code": "rate_limit_exceeded",
        "message": "Too many requests. Try again later.",
    }


def test_a_request_that_is_none_is_a_400(node: Run, url: str) -> None:
    history = json.dumps([{"id": "1", "role": "wizard", "parts": []}])
    error = node("ui.mjs", url, "", history)["error"]
    assert error["status"] == 400
    assert json.loads(error["message"])["param"] == "messages[0].role"


@pytest.mark.parametrize("script", ["ui.mjs", "ui_chat.mjs"])
def test_a_kill_in_mid_stream_is_an_error(node: Run, script: str) -> None:
    with serve(killing(ChatApp(scripted), b'"Hel"')) as url:
        out = node(script, url, "hang")
    assert out["error"]
    assert out.get("status", "error") == "error"


def test_the_client_goes_on_with_its_own_message_and_sends_it_back_whole(
    node: Run, url: str
) -> None:
    message = node("ui.mjs", url, "call")["message"]
    message["parts"][-1] |= {"state": "output-available", "output": "noon"}
    waiting = {"type": "tool-weather", "toolCallId": "earlier", "state": "input-available"}
    history = [
        {"id": "u", "role": "user", "parts": [{"type": "text", "text": "echo"}]},
        {**message, "parts": [*message["parts"], {**waiting, "input": {}}]},
    ]
    out = node("ui.mjs", url, "", json.dumps(history))
    assert out["message"]["id"] == message["id"]
    *_, earlier, text = parts_of(out)
    assert (earlier["state"], earlier["output"]) == ("output-available", "late")
    assert text["text"] == "3 messages"  # the user's, the assistant's, the tool's


def test_silence_is_filled_with_heartbeats_that_are_no_chunks(node: Run) -> None:
    silence = Silence(enough=5)
    options = StreamOptions(commit_after=0.02, heartbeat_interval=0.02)
    silence.app = ChatApp(silence.answer, options=options)
    with serve(silence) as url:
        out = node("ui.mjs", url, "hi")
    assert parts_of(out) == [{"type": "text", "text": "Hello!", "state": "done"}]
    assert [c["type"] for c in out["chunks"]].count("text-delta") == 3


def test_the_text_transport_reads_a_text_stream(node: Run, url: str) -> None:
    out = node("ui_chat.mjs", url, "everything", "text")
    assert out["status"] == "ready"
    assert out["messages"][-1]["parts"][-1]["text"] == TEXT


@pytest.mark.parametrize("protocol", ["data", "text"])
def test_use_completion_reads_both_streams(node: Run, url: str, protocol: str) -> None:
    out = node("completion.mjs", url, "everything", protocol)
    assert out["completion"] == out["texts"][-1] == TEXT


def test_a_text_stream_that_breaks_off_is_an_error_of_the_client(node: Run, url: str) -> None:
    chat = node("ui_chat.mjs", url, "break", "text")
    assert (chat["status"], chat["finish"]["isError"]) == ("error", True)
    completion = node("completion.mjs", url, "break", "text")
    assert completion["error"]
    assert "completion" not in completion


@pytest.mark.parametrize(
    ("answer", "state", "output", "said"),
    [("yes", "output-available", {"gone": "/tmp/x"}, "Done."),
     ("no", "output-denied", None, "I did not.")],
)  # fmt: skip
def test_the_chat_asks_its_user_and_sends_his_answer_by_itself(
    node: Run, url: str, answer: str, state: str, output: Any, said: str
) -> None:
    out = node("ui_chat.mjs", url, "approve", answer, "Because.")
    assert out["asked"]["state"] == "approval-requested"
    assert out["toolCalls"] == [], "it is not the page's to run"
    assert (out["status"], len(out["messages"])) == ("ready", 2)
    tool, text = [p for p in out["messages"][-1]["parts"] if p["type"] != "step-start"][-2:]
    assert (tool["type"], tool["state"], tool.get("output")) == ("tool-delete", state, output)
    assert tool["approval"]["reason"] == "Because."
    assert text["text"] == said


def test_the_page_keeps_the_newest_value_of_each_name_and_what_is_about_the_message(
    node: Run, url: str
) -> None:
    out = node("ui_chat.mjs", url, "page")
    message = out["messages"][-1]
    state, progress, document, text = [p for p in message["parts"] if p["type"] != "step-start"]
    assert state == {"type": "data-state", "id": "state", "data": {"count": 1}}
    assert progress == {"type": "data-progress", "id": "p", "data": 90}
    assert (document["type"], document["title"], document["filename"]) == (
        "source-document",
        "Rules",
        "rules.pdf",
    )
    assert text["text"] == "Hello"
    assert message["metadata"] == {"cost": {"in": 1, "out": 2}}
    transient = [part["data"] for part in out["data"] if part.get("transient")]
    assert transient == [[{"op": "replace", "path": "/count", "value": 2}], "Saved."]
