"""A run that waits for a human: each protocol asks in its own words, and the answer comes back in
the next request, the same whatever the client speaks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from asgi_llmstream import (
    Approval,
    ChatApp,
    ChatRequest,
    Decision,
    Finish,
    Text,
    ToolCall,
    ToolResult,
)
from asgi_llmstream.formats import (
    AGUI,
    AnthropicMessages,
    Events,
    OpenAIChat,
    OpenAIResponses,
    RequestFormat,
    UIMessages,
)
from asgi_llmstream.testing import Client
from tests.formats.test_every_format import ASK, asking, hear
from tests.support import ag_ui_grammar, responses_grammar
from tests.support.history import check_anthropic, check_openai
from tests.support.ui_grammar import chunks_of
from tests.support.wire import wire

Body = dict[str, Any]

CALL = ToolCall("a", "delete", {"path": "/tmp/x"}, by="server")
ARGUMENTS = '{"path":"/tmp/x"}'


async def careful(request: ChatRequest) -> AsyncIterator[Any]:
    """Asks before it deletes, and tells what came of it."""
    requests.append(request)
    for decision in request.approvals:
        result = ToolResult(decision.call_id, "deleted")
        if not decision.approved:
            result = ToolResult(decision.call_id, decision.reason, denied=True)
        yield result
        yield f"{decision.name} {decision.parse()['path']}: {result.output}."
        return
    yield "May I? "
    yield CALL
    yield Finish("tool_calls")
    yield Approval("a", "It is final.")


requests: list[ChatRequest] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    requests.clear()


async def answered(format: RequestFormat, body: Body) -> bytes:
    response = await Client(ChatApp(careful)).request(**asking(format, body))
    assert response.status == 200
    return response.body


# What a client makes of the stream and of its user's answer, in its next request.


def ui_answers(stream: bytes, approved: bool, reason: str | None) -> Body:
    (asked,) = (c for c in chunks_of(stream) if c["type"] == "tool-approval-request")
    approval = {"id": asked["approvalId"], "approved": approved, "reason": reason}
    tool = {
        "type": "tool-delete",
        "toolCallId": asked["toolCallId"],
        "state": "approval-responded",
        "input": {"path": "/tmp/x"},
        "providerExecuted": True,
        "approval": approval,
    }
    said = {"id": "2", "role": "assistant", "parts": [{"type": "text", "text": "May I? "}, tool]}
    asked_for = ASK[UIMessages]
    return {**asked_for, "messages": [*asked_for["messages"], said]}


def ag_ui_answers(stream: bytes, approved: bool, reason: str | None) -> Body:
    (interrupt,) = ag_ui_grammar.read(stream).terminal["outcome"]["interrupts"]
    assert interrupt["message"] == "It is final."
    payload = {"approved": approved} | ({} if reason is None else {"reason": reason})
    function = {"name": "delete", "arguments": ARGUMENTS}
    calls = [{"id": interrupt["toolCallId"], "type": "function", "function": function}]
    said = {"id": "2", "role": "assistant", "content": "May I? ", "toolCalls": calls}
    entry = {"interruptId": interrupt["id"], "status": "resolved", "payload": payload}
    messages = [*ASK[AGUI]["messages"], said]
    return {**ASK[AGUI], "messages": messages, "resume": [entry]}


def responses_answers(stream: bytes, approved: bool, reason: str | None) -> Body:
    output = responses_grammar.check(stream)["output"]
    (asked,) = (item for item in output if item["type"] == "mcp_approval_request")
    answer = {
        "type": "mcp_approval_response",
        "approval_request_id": asked["id"],
        "approve": approved,
        "reason": reason,
    }
    question = {"role": "user", "content": "hi"}
    return {**ASK[OpenAIResponses], "input": [question, *output, answer]}


def events_answers(stream: bytes, approved: bool, reason: str | None) -> Body:
    assert hear(Events(), stream).asked == {"a"}
    function = {"name": "delete", "arguments": ARGUMENTS}
    calls = [{"id": "a", "type": "function", "function": function}]
    said = {"role": "assistant", "content": "May I? ", "tool_calls": calls}
    answer = {"call_id": "a", "approved": approved} | ({"reason": reason} if reason else {})
    return {"messages": [{"role": "user", "content": "hi"}, said], "approvals": [answer]}


@pytest.mark.anyio
async def test_a_page_of_ones_own_answers_in_the_body_of_its_next_request() -> None:
    async def ask(body: Body) -> bytes:
        response = await Client(ChatApp(careful)).request("POST", "/events", json=body)
        assert response.status == 200
        return response.body

    first = await ask({"prompt": "hi"})
    for approved, told in ((True, b"deleted."), (False, b"No.")):
        stream = await ask(events_answers(first, approved, "No."))
        assert requests[-1].approvals == [Decision("a", approved, "No.", "delete", ARGUMENTS)]
        assert b"delete /tmp/x: " + told in stream
        check_openai(requests[-1].to_openai())
    assert requests[-1].to_openai()[-1]["content"] == "No."
    body = events_answers(first, True, None) | {"approvals": [{"call_id": "a", "approved": 1}]}
    response = await Client(ChatApp(careful)).request("POST", "/events", json=body)
    assert response.status == 400


ANSWERS: dict[type, Callable[[bytes, bool, str | None], Body]] = {
    UIMessages: ui_answers,
    AGUI: ag_ui_answers,
    OpenAIResponses: responses_answers,
}
ASKING: tuple[RequestFormat, ...] = (UIMessages(), AGUI(), OpenAIResponses())
every_asking = pytest.mark.parametrize("format", ASKING, ids=lambda f: f.route)
MUTE: tuple[RequestFormat, ...] = (OpenAIChat(), AnthropicMessages())
every_mute = pytest.mark.parametrize("format", MUTE, ids=lambda f: f.route)


@every_asking
@pytest.mark.parametrize("reason", ["Do it.", None])
@pytest.mark.anyio
async def test_an_approval_comes_back_with_its_call_and_the_call_gets_its_result(
    format: RequestFormat, reason: str | None
) -> None:
    first = await answered(format, ASK[type(format)])
    assert hear(format, first).asked == {"a"}
    second = await answered(format, ANSWERS[type(format)](first, True, reason))
    request = requests[-1]
    assert request.approvals == [Decision("a", True, reason, "delete", ARGUMENTS)]
    assert b"delete /tmp/x: deleted." in second
    with_result = request.with_results(ToolResult("a", "deleted"))
    check_openai(with_result.to_openai())
    check_anthropic(with_result.to_anthropic()["messages"])
    *_, call, result = with_result.to_openai()
    assert [made["id"] for made in call["tool_calls"]] == ["a"]
    assert result == {"role": "tool", "tool_call_id": "a", "content": "deleted"}


@every_asking
@pytest.mark.parametrize(
    ("reason", "told"), [("Not now.", "Not now."), (None, "Tool call execution denied.")]
)
@pytest.mark.anyio
async def test_a_denial_is_the_calls_result_for_the_model(
    format: RequestFormat, reason: str | None, told: str
) -> None:
    first = await answered(format, ASK[type(format)])
    second = await answered(format, ANSWERS[type(format)](first, False, reason))
    request = requests[-1]
    assert request.approvals == [Decision("a", False, reason, "delete", ARGUMENTS)]
    heard = hear_results(format, second)
    assert heard == [told]
    check_openai(request.to_openai())
    *_, result = request.to_openai()
    assert (result["tool_call_id"], result["content"]) == ("a", told)
    *_, last = request.to_anthropic()["messages"]
    (block,) = last["content"]
    assert block["is_error"] is True


def hear_results(format: RequestFormat, stream: bytes) -> list[str]:
    """The results of calls of the answer before, as its client tells them."""
    match format:
        case UIMessages():
            chunks = [chunk for chunk in chunks_of(stream) if "toolCallId" in chunk]
            assert chunks == [{"type": "tool-output-denied", "toolCallId": "a"}]
            told: str = requests[-1].messages[-1].text  # in the page's own words
            return [told]
        case AGUI():
            events = ag_ui_grammar.events_of(stream)
            results = [e for e in events if e["type"] == "TOOL_CALL_RESULT"]
            assert [result["metadata"] for result in results] == [{"error": True}]
            return [result["content"] for result in results]
        case _:
            (call, _) = responses_grammar.check(stream)["output"]
            assert (call["type"], call["approval_request_id"]) == ("mcp_call", "a")
            return [call["error"]["content"][0]["text"]]


@pytest.mark.anyio
async def test_what_came_of_an_approved_call_is_an_item_of_its_own_that_comes_back() -> None:
    format = OpenAIResponses()
    first = await answered(format, ASK[OpenAIResponses])
    body = responses_answers(first, True, None)
    output = responses_grammar.check(await answered(format, body))["output"]
    call = output[0]
    assert call["type"] == "mcp_call"
    assert (call["approval_request_id"], call["name"], call["arguments"], call["output"]) == (
        "a",
        "delete",
        ARGUMENTS,
        "deleted",
    )
    again = {"role": "user", "content": "Thanks."}
    await answered(format, {**body, "input": [*body["input"], *output, again]})
    request = requests[-1]
    assert request.approvals == []
    assert [message["role"] for message in request.to_openai()] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert request.to_openai()[2]["content"] == "deleted"


@pytest.mark.parametrize(
    ("behind", "are_news"),
    [
        ([], True),
        ([{"role": "user", "content": "And hurry."}], True),
        ([{"role": "assistant", "content": "I did not."}], False),
        ([{"type": "mcp_call", "id": "m", "name": "delete", "arguments": "{}", "output": "deleted",
           "approval_request_id": "a"}], False),
    ],
)  # fmt: skip
def test_a_decision_is_news_until_the_model_has_spoken_or_its_call_has_run(
    behind: list[Any], are_news: bool
) -> None:
    asked = {"type": "mcp_approval_request", "id": "a", "name": "delete", "arguments": "{}"}
    answer = {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}
    request = OpenAIResponses().decode({"model": "m", "input": [asked, answer, *behind]})
    assert [decision.call_id for decision in request.approvals] == ["a"] * are_news
    check_openai(request.to_openai())


def ag_ui_body(answers: list[bool], *more: Body) -> Body:
    function = {"name": "delete", "arguments": "{}"}
    calls = [{"id": "a", "type": "function", "function": function}]
    said = {"id": "2", "role": "assistant", "toolCalls": calls}
    resume = [
        {"interruptId": "a", "status": "resolved", "payload": {"approved": approved}}
        for approved in answers
    ]
    result = [{"id": "3", "role": "tool", "toolCallId": "a", **fields} for fields in more]
    return {**ASK[AGUI], "messages": [*ASK[AGUI]["messages"], said, *result], "resume": resume}


def events_body(answers: list[bool], *more: Body) -> Body:
    calls = [{"id": "a", "type": "function", "function": {"name": "delete", "arguments": "{}"}}]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    result = [{"role": "tool", "tool_call_id": "a", **fields} for fields in more]
    approvals = [{"call_id": "a", "approved": approved} for approved in answers]
    return {"messages": [said, *result], "approvals": approvals}


def responses_body(answers: list[bool], *more: Body) -> Body:
    call = {"name": "delete", "arguments": "{}"}
    asked = {"type": "mcp_approval_request", "id": "a", **call}
    result = [
        {"type": "mcp_call", "id": "m", **call, "approval_request_id": "a", "output": m["content"]}
        for m in more
    ]
    responses = [
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": approved}
        for approved in answers
    ]
    return {"model": "m", "input": [asked, *result, *responses]}


every_body = pytest.mark.parametrize(
    ("format", "body"),
    [(AGUI(), ag_ui_body), (Events(), events_body), (OpenAIResponses(), responses_body)],
)


@every_body
@pytest.mark.parametrize("approved", [True, False])
def test_it_is_too_late_to_decide_of_a_call_that_has_its_result(
    format: RequestFormat, body: Callable[..., Body], approved: bool
) -> None:
    request = format.decode(body([approved], {"content": "deleted"}))
    assert request.approvals == []
    assert request.to_openai()[-1]["content"] == "deleted"


@every_body
@pytest.mark.parametrize("answers", [[True, True], [True, False], [False, True]])
def test_a_call_is_decided_once_and_who_says_no_is_heard(
    format: RequestFormat, body: Callable[..., Body], answers: list[bool]
) -> None:
    (decision,) = format.decode(body(answers)).approvals
    assert decision.approved is all(answers)


def test_only_the_assistants_own_calls_are_decided() -> None:
    body = ui_answers(wire(UIMessages(), CALL, Approval("a")), True, None)
    body["messages"][-1]["role"] = "user"
    assert UIMessages().decode(body).approvals == []


@every_mute
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.anyio
async def test_who_cannot_be_asked_hears_no_call_and_an_answer_that_ends(
    format: RequestFormat, stream: bool
) -> None:
    body = await answered(format, {**ASK[type(format)], "stream": stream})
    assert b"May I? " in body
    assert b"delete" not in body
    if stream:
        heard = hear(format, body)
        assert (heard.said, heard.calls, heard.error) == ("May I? ", [], None)


@pytest.mark.parametrize("format", [OpenAIChat(), AnthropicMessages(), OpenAIResponses()])
def test_a_client_that_would_run_the_call_unapproved_gets_an_error(format: RequestFormat) -> None:
    """Nobody said who runs it, so these have written it as the client's."""
    heard = hear(format, wire(format, ToolCall("a", "delete"), Approval("a")))
    assert heard.error == "A call waits for an approval, which this protocol cannot ask for."


@every_mute
def test_a_call_that_ran_while_the_human_was_asked_waits_for_nobody(format: RequestFormat) -> None:
    said = (ToolCall("a", "delete"), Approval("a"), ToolResult("a", "deleted"), Text("Done."))
    heard = hear(format, wire(format, *said))
    assert (heard.said, heard.error) == ("Done.", None)


@pytest.mark.anyio
async def test_an_approval_of_a_tool_that_the_client_offered_is_the_producers_mistake() -> None:
    async def asks(request: ChatRequest) -> AsyncIterator[Any]:
        yield ToolCall("a", "f")
        yield Approval("a")

    for format in (*ASKING[1:], *MUTE):
        response = await Client(ChatApp(asks)).request(**asking(format))
        assert response.status == 200
        assert hear(format, response.body).error == "The server could not finish the answer."


@pytest.mark.anyio
async def test_what_the_user_says_behind_his_answer_supersedes_it() -> None:
    format = UIMessages()
    body = ui_answers(await answered(format, ASK[UIMessages]), True, None)
    later = {"id": "3", "role": "user", "parts": [{"type": "text", "text": "Wait."}]}
    await answered(format, {**body, "messages": [*body["messages"], later]})
    assert requests[-1].approvals == []
    check_openai(requests[-1].to_openai())


@pytest.mark.anyio
async def test_ag_uis_user_may_change_the_arguments_or_turn_away() -> None:
    format = AGUI()
    body = ag_ui_answers(await answered(format, ASK[AGUI]), True, None)
    (entry,) = body["resume"]
    edited = {"approved": True, "editedArgs": {"path": "/tmp/y"}}
    stream = await answered(format, {**body, "resume": [entry | {"payload": edited}]})
    assert b"delete /tmp/y: deleted." in stream
    cancelled = {"interruptId": "a", "status": "cancelled"}
    await answered(format, {**body, "resume": [cancelled]})
    assert requests[-1].approvals == [Decision("a", False, None, "delete", ARGUMENTS)]
    other = {"interruptId": "mine", "status": "resolved", "payload": 7}
    await answered(format, {**body, "resume": [other]})
    assert requests[-1].approvals == []
    assert requests[-1].body["resume"] == [other]


@pytest.mark.parametrize(
    ("resume", "names"),
    [
        ({}, "resume"),
        ([{"status": "resolved"}], "interruptId"),
        ([{"interruptId": "a", "status": "maybe"}], "status"),
        ([{"interruptId": "a", "status": "resolved"}], "resume[0].payload"),
        ([{"interruptId": "a", "status": "resolved", "payload": {"approved": 1}}], "approved"),
    ],
)
@pytest.mark.anyio
async def test_an_answer_that_is_none_approves_nothing(resume: Any, names: str) -> None:
    function = {"name": "delete", "arguments": "{}"}
    calls = [{"id": "a", "type": "function", "function": function}]
    said = {"id": "2", "role": "assistant", "toolCalls": calls}
    body = {**ASK[AGUI], "messages": [said], "resume": resume}
    response = await Client(ChatApp(careful)).request(**asking(AGUI(), body))
    assert response.status == 400
    assert names in json.loads(response.body)["message"]
    assert requests == []


def test_the_ai_sdk_5_which_knows_no_approvals_gets_data() -> None:
    chunks = chunks_of(wire(UIMessages(strict_v5=True), CALL, Approval("a", "It is final.")))
    assert {
        "type": "data-approval",
        "data": {"toolCallId": "a", "reason": "It is final."},
    } in chunks
    denied = ToolResult("a", "No.", denied=True)
    chunks = chunks_of(wire(UIMessages(strict_v5=True), CALL, denied))
    assert chunks[-3] == {
        "type": "tool-output-error",
        "toolCallId": "a",
        "errorText": "No.",
        "providerExecuted": True,
    }
