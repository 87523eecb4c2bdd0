"""OpenAI Responses: the wire, the requests, and what the official client makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from asgi_llmstream.chunks import (
    Chunk,
    Data,
    Error,
    File,
    Finish,
    Reasoning,
    Refusal,
    Source,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asgi_llmstream.errors import BadRequest, RateLimited
from asgi_llmstream.events import RunStarted, merge
from asgi_llmstream.formats.openai_responses.stream import OpenAIResponses
from asgi_llmstream.formats.wire import decode_json
from asgi_llmstream.message import Message
from asgi_llmstream.request import ChatMessage, ChatRequest
from tests.support import responses_grammar
from tests.support.history import check_request
from tests.support.scripted import SILENT, TEXT, serving
from tests.support.strategies import ANY_CHUNK, JSON
from tests.support.wire import events_of, wire

STRICT_TOOLS: Any = [{"type": "function", "name": "f", "strict": True, "parameters": {}}]

# What `…` stands for in the transcripts: the response's constant fields before its output, and
# those behind its usage.
HEAD = '"id":"resp_run","object":"response","created_at":1700000000'
MODEL = '"model":"m"'
TAIL = (
    '"frequency_penalty":0,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,'
    '"metadata":{},"parallel_tool_calls":true,"presence_penalty":0,"previous_response_id":null,'
    '"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,'
    '"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],'
    '"top_logprobs":0,"top_p":1,"truncation":"disabled"'
)


def tokens(input: int = 0, cached: int = 0, output: int = 0, thinking: int = 0) -> str:
    return (
        f'{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached},'
        f'"cache_write_tokens":0}},"output_tokens":{output},"output_tokens_details":'
        f'{{"reasoning_tokens":{thinking}}},"total_tokens":{input + output}}}'
    )


def response(
    status: str, output: str = "", usage: str = "null", error: str = "null", details: str = "null"
) -> str:
    return (
        f'"response":{{{HEAD},"completed_at":null,"status":"{status}","background":false,'
        f'"error":{error},"incomplete_details":{details},{MODEL},"output":[{output}],'
        f'"service_tier":"default","store":false,"usage":{usage},{TAIL}}}'
    )


def completed(output: str = "", usage: str = tokens()) -> str:
    return f"response.completed {response('completed', output, usage)}"


def transcript(*lines: str) -> str:
    """The stream of these events: each line is `type fields`, numbered here."""
    written = []
    for number, line in enumerate(lines):
        kind, _, fields = line.partition(" ")
        comma = "," if fields else ""
        data = f'{{"type":"{kind}"{comma}{fields},"sequence_number":{number}}}'
        written.append(f"event: {kind}\ndata: {data}\n\n")
    return "".join(written)


BEGINNING = (
    f"response.created {response('in_progress')}",
    f"response.in_progress {response('in_progress')}",
)


def test_a_text_is_one_message_that_opens_grows_and_closes() -> None:
    where = '"item_id":"msg_run_0","output_index":0,"content_index":0'
    body = '{"type":"output_text","text":"Hello","annotations":[],"logprobs":[]}'
    item = (
        '{"id":"msg_run_0","type":"message","status":"completed","role":"assistant",'
        f'"content":[{body}]}}'
    )
    assert wire(OpenAIResponses(), Text("Hel"), Text("lo"), Usage(5, 7, 2, 3)).decode() == (
        transcript(
            *BEGINNING,
            'response.output_item.added "output_index":0,"item":{"id":"msg_run_0",'
            '"type":"message","status":"in_progress","role":"assistant","content":[]}',
            f'response.content_part.added {where},"part":'
            '{"type":"output_text","text":"","annotations":[],"logprobs":[]}',
            f'response.output_text.delta {where},"logprobs":[],"delta":"Hel"',
            f'response.output_text.delta {where},"logprobs":[],"delta":"lo"',
            f'response.output_text.done {where},"logprobs":[],"text":"Hello"',
            f'response.content_part.done {where},"part":{body}',
            f'response.output_item.done "output_index":0,"item":{item}',
            completed(item, tokens(5, 2, 7, 3)),
        )
    )


def test_an_answer_of_nothing_is_whole_all_the_same() -> None:
    assert wire(OpenAIResponses()).decode() == transcript(*BEGINNING, completed())


def test_reasoning_is_a_summary_and_its_signature_the_encrypted_content() -> None:
    where = '"item_id":"rs_run_0","output_index":0,"summary_index":0'
    body = '{"type":"summary_text","text":"Hm."}'
    item = f'{{"id":"rs_run_0","type":"reasoning","summary":[{body}],"encrypted_content":"sealed"}}'
    assert wire(OpenAIResponses(), Reasoning("Hm."), Reasoning("", "sealed")).decode() == (
        transcript(
            *BEGINNING,
            'response.output_item.added "output_index":0,"item":'
            '{"id":"rs_run_0","type":"reasoning","summary":[]}',
            f"response.reasoning_summary_part.added {where},"
            '"part":{"type":"summary_text","text":""}',
            f'response.reasoning_summary_text.delta {where},"delta":"Hm."',
            f'response.reasoning_summary_text.done {where},"text":"Hm."',
            f'response.reasoning_summary_part.done {where},"part":{body}',
            f'response.output_item.done "output_index":0,"item":{item}',
            completed(item),
        )
    )


def test_reasoning_that_is_not_shown_is_encrypted_and_comes_back_as_what_it_was() -> None:
    chunks = [Reasoning("", "opaque", redacted=True), ToolCall("a", "f", signature="c2ln")]
    reasoning, call = responses_grammar.check(wire(OpenAIResponses(), *chunks))["output"]
    assert "encrypted_content" not in call
    (message,) = decoded(input=[{"role": "user", "content": "Hi"}, reasoning, call]).messages[1:]
    assert message.thinking == [{"type": "redacted_thinking", "data": "opaque"}]


def test_a_refusal_is_a_content_part_of_its_own_kind() -> None:
    where = '"item_id":"msg_run_0","output_index":0,"content_index":0'
    item = (
        '{"id":"msg_run_0","type":"message","status":"completed","role":"assistant",'
        '"content":[{"type":"refusal","refusal":"No."}]}'
    )
    assert wire(OpenAIResponses(), Refusal("No.")).decode() == transcript(
        *BEGINNING,
        'response.output_item.added "output_index":0,"item":{"id":"msg_run_0","type":"message",'
        '"status":"in_progress","role":"assistant","content":[]}',
        f'response.content_part.added {where},"part":{{"type":"refusal","refusal":""}}',
        f'response.refusal.delta {where},"delta":"No."',
        f'response.refusal.done {where},"refusal":"No."',
        f'response.content_part.done {where},"part":{{"type":"refusal","refusal":"No."}}',
        f'response.output_item.done "output_index":0,"item":{item}',
        completed(item),
    )


def call(index: int, id: str, name: str, arguments: str = "", status: str = "completed") -> str:
    return (
        f'{{"id":"fc_run_{index}","type":"function_call","status":"{status}","call_id":"{id}",'
        f'"name":"{name}","arguments":{json.dumps(arguments)}}}'
    )


def test_parallel_calls_follow_each_other_and_the_first_streams_as_it_grows() -> None:
    name = "response.function_call_arguments"
    first, second = (f'"item_id":"fc_run_{i}","output_index":{i}' for i in (0, 1))
    chunks = [
        ToolCallDelta(3, "a", "f", '{"x":'),
        ToolCallDelta(8, "b", "g"),
        ToolCallDelta(3, arguments="1}"),
    ]
    items = call(0, "a", "f", '{"x":1}'), call(1, "b", "g", "{}")
    added = 'response.output_item.added "output_index"'
    assert wire(OpenAIResponses(), *chunks).decode() == transcript(
        *BEGINNING,
        f'{added}:0,"item":{call(0, "a", "f", "", "in_progress")}',
        f'{name}.delta {first},"delta":"{{\\"x\\":"',
        f'{name}.delta {first},"delta":"1}}"',
        f'{name}.done {first},"arguments":"{{\\"x\\":1}}"',
        f'response.output_item.done "output_index":0,"item":{items[0]}',
        f'{added}:1,"item":{call(1, "b", "g", "", "in_progress")}',
        # A call without arguments: clients parse what there is.
        f'{name}.delta {second},"delta":"{{}}"',
        f'{name}.done {second},"arguments":"{{}}"',
        f'response.output_item.done "output_index":1,"item":{items[1]}',
        completed(",".join(items)),
    )


def test_a_tools_result_is_an_item_that_comes_whole() -> None:
    stream = wire(OpenAIResponses(), ToolCall("a", "f"), ToolResult("a", {"x": [1]}))
    item = (
        '{"id":"fco_run_1","type":"function_call_output","status":"STATUS","call_id":"a",'
        '"output":"{\\"x\\":[1]}"}'
    )
    answer = responses_grammar.check(stream)
    assert f'"item":{item}'.replace("STATUS", "in_progress").encode() in stream
    assert answer["output"][1] == json.loads(item.replace("STATUS", "completed"))
    text = responses_grammar.check(wire(OpenAIResponses(), ToolResult("a", "plain")))
    assert text["output"][0]["output"] == "plain"


@pytest.mark.parametrize(
    ("reason", "word"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_cut_answer_is_incomplete_and_says_why(reason: Any, word: str) -> None:
    last = responses_grammar.events(wire(OpenAIResponses(), Text("Hel"), Finish(reason)))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": word}


@pytest.mark.parametrize(
    ("end", "code", "known", "message"),
    [
        ({"error": Error("Too many.", "slow", 429)}, "slow", "rate_limit_exceeded", "Too many."),
        ({"error": Error("Oh.", "oh")}, "oh", "server_error", "Oh."),
        ({"abort": "shutdown"}, "aborted", "server_error", "The answer was aborted: shutdown."),
    ],
    ids=["rate limit", "error", "abort"],
)
def test_a_broken_answer_is_an_error_and_then_a_failed_response(
    end: dict[str, Any], code: str, known: str, message: str
) -> None:
    chunks = [Text("half"), Usage(1, 2), *([end["error"]] if "error" in end else [])]
    stream = wire(OpenAIResponses(), *chunks, abort=end.get("abort"))
    *_, error, failed = responses_grammar.events(stream)
    number = error.pop("sequence_number")
    # Some clients look for it at the top, and some, as Open Responses has it, under "error".
    kind = "rate_limit_error" if known == "rate_limit_exceeded" else "server_error"
    assert error.pop("error") == {"type": kind, "code": code, "message": message, "param": None}
    assert error == {"type": "error", "code": code, "message": message, "param": None}
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", number + 1)
    answer = responses_grammar.check(stream)
    assert answer["error"] == {"code": known, "message": message}
    assert answer["usage"]["total_tokens"] == 3
    assert answer["output"][0]["content"][0]["text"] == "half"


BROKEN_CALLS = [
    pytest.param([ToolCallDelta(0, "a", "f")], "", id="without arguments yet"),
    pytest.param([ToolCallDelta(0, "a", "f", '{"x":')], '{"x":', id="in the arguments"),
    pytest.param([ToolCallDelta(0, "a", "f", '{"x":1}')], '{"x":1}', id="at what may be all"),
]


@pytest.mark.parametrize("abort", [None, "shutdown"])
@pytest.mark.parametrize(("chunks", "arguments"), BROKEN_CALLS)
def test_a_call_that_broke_off_is_never_done_and_incomplete_in_the_failed_response(
    chunks: list[Chunk], arguments: str, abort: str | None
) -> None:
    end = [] if abort else [Error("Oh.")]
    stream = wire(OpenAIResponses(), ToolCall("w", "g"), *chunks, *end, abort=abort)
    whole_call, broken = responses_grammar.check(stream)["output"]
    assert (whole_call["status"], whole_call["arguments"]) == ("completed", "{}")
    assert (broken["status"], broken["arguments"]) == ("incomplete", arguments)
    kinds = [e["type"] for e in responses_grammar.events(stream) if e.get("output_index") == 1]
    assert [kind for kind in kinds if kind.endswith(".done")] == []


def test_a_text_that_broke_off_is_an_incomplete_message() -> None:
    stream = wire(OpenAIResponses(), Text("a"), Finish(), Text("b"), Error("Oh."))
    first, second = responses_grammar.check(stream)["output"]
    assert (first["status"], second["status"]) == ("completed", "incomplete")


@pytest.mark.parametrize(("chunks", "arguments"), BROKEN_CALLS)
def test_the_official_client_takes_a_call_that_broke_off(
    chunks: list[Chunk], arguments: str
) -> None:
    state = ResponseStreamState[Any](input_tools=STRICT_TOOLS, text_format=openai.omit)
    event_model: Any = TypeAdapter(ResponseStreamEvent)
    last: Any = None
    for event in responses_grammar.events(wire(OpenAIResponses(), *chunks, Error("Oh."))):
        (last,) = state.handle_event(event_model.validate_python(event))
    (broken,) = last.response.output
    assert (broken.status, broken.arguments) == ("incomplete", arguments)


def annotations(*chunks: Chunk) -> list[list[tuple[str, int]]]:
    """Of each text: the cited addresses, and where they are cited."""
    answer = responses_grammar.check(wire(OpenAIResponses(), *chunks))
    texts = [i["content"][0] for i in answer["output"] if i["type"] == "message"]
    return [[(a["url"], a["start_index"]) for a in text["annotations"]] for text in texts]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([Text("ab"), Source("u"), Text("c")], [[("u", 2)]]),
        ([Source("u"), Source("v"), Text("ab")], [[("u", 0), ("v", 0)]]),
        ([Text("ab"), Finish(), Source("u")], [[("u", 2)]]),
        ([Text("ab"), Step(), Source("u"), Text("c")], [[("u", 2)], []]),
        ([Text("ab"), ToolCall("a", "f"), Source("u"), Text("c")], [[], [("u", 0)]]),
        ([Text("ab"), ToolResult("a"), Source("u"), Text("c")], [[], [("u", 0)]]),
        ([Text("ab"), ToolCall("a", "f"), Source("u")], [[]]),
        ([Source("u")], []),
    ],
    ids=[
        "inside",
        "before",
        "behind",
        "behind, in the next step",
        "after a call",
        "after a result",
        "with no text to come",
        "with no text at all",
    ],
)
def test_a_source_is_cited_in_the_text_that_it_stands_at(
    chunks: list[Chunk], expected: list[list[tuple[str, int]]]
) -> None:
    assert annotations(*chunks) == expected


@pytest.mark.parametrize("chunk", [File("https://a", "image/png"), Data("n", 1), Step("s")])
def test_what_the_protocol_has_no_word_for_is_not_sent(chunk: Chunk) -> None:
    assert wire(OpenAIResponses(), chunk) == wire(OpenAIResponses())


def test_the_response_repeats_what_the_request_set() -> None:
    body = {
        "input": "Hi",
        "instructions": "Be brief.",
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low"},
    }
    format = OpenAIResponses()
    request = format.decode({**body, "top_p": None, "x_own": 1})
    answer = responses_grammar.check(wire(format.for_request(request), Text("a")))
    assert (answer["instructions"], answer["temperature"]) == ("Be brief.", 0.5)
    # What it left out is the vendor's default, as the vendor has it.
    assert answer["tools"] == [
        {"type": "function", "name": "f", "parameters": {}, "description": None, "strict": None},
        {"type": "web_search"},
    ]
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert answer["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert answer["top_p"] == 1
    assert "x_own" not in answer
    assert OpenAIResponses(stateful=True).for_request(request).stateful


def test_an_error_body_has_openais_shape() -> None:
    assert OpenAIResponses().error_body(RateLimited("No.")) == (
        b'{"error":{"message":"No.","type":"rate_limit_error","param":null,'
        b'"code":"rate_limit_exceeded"}}'
    )


# Any stream


def whole(format: Any, *chunks: Chunk) -> Any:
    message = Message()
    started, *_ = events = events_of(*chunks)
    for event in events:
        message.apply(event)
    assert isinstance(started, RunStarted)
    return json.loads(format.whole_body(started, message))


def without_twins(chunks: list[Chunk]) -> list[Chunk]:
    """Calls with ids that no other call has, and no halves of an emoji, which only the whole
    text joins."""
    unique: list[Chunk] = []
    for number, chunk in enumerate(chunks):
        match chunk:
            case ToolCall(name=name, arguments=arguments):
                chunk = ToolCall(f"call{number}", name, arguments)
            case ToolCallDelta(index=index, name=name, arguments=arguments):
                chunk = ToolCallDelta(index, None, name, arguments)
        if r"\ud" not in repr(chunk):
            unique.append(chunk)
    return unique


SEALED = st.builds(Reasoning, st.text(max_size=3), st.just("sealed"))
ANY_CHUNKS = st.lists(ANY_CHUNK | SEALED, max_size=12).map(without_twins)
ANY_END = st.just([]) | st.builds(Error, st.text(), st.text()).map(lambda error: [error])


@settings(deadline=None, max_examples=300)
@given(ANY_CHUNKS, ANY_END, st.none() | st.just("shutdown"))
def test_whatever_order_a_producer_yields_the_stream_is_valid(
    chunks: list[Chunk], end: list[Chunk], abort: str | None
) -> None:
    abort = abort if not end else None
    stream = wire(OpenAIResponses(), *chunks, *end, abort=abort)
    answer = responses_grammar.check(stream)
    assert (answer["status"] == "failed") == bool(end or abort)
    assert stream == wire(OpenAIResponses(), *chunks, *end, abort=abort)


@settings(deadline=None)
@given(ANY_CHUNKS)
def test_a_sequence_number_means_the_same_however_deltas_were_merged(chunks: list[Chunk]) -> None:
    def numbered(events: Any) -> dict[int, dict[str, Any]]:
        stream = b"".join(map(OpenAIResponses().encoder(), events))
        return {event["sequence_number"]: event for event in responses_grammar.events(stream)}

    events = events_of(*chunks, *(Text(letter) for letter in "abc"))
    apart, merged = numbered(events), numbered(merge(events))
    assert len(merged) < len(apart)
    for number, event in merged.items():
        alike = {**apart[number], "delta": None} == {**event, "delta": None}
        assert alike if "delta" in event else event == apart[number]


def without_positions(answer: dict[str, Any]) -> dict[str, Any]:
    for item in answer["output"]:
        for part in item.get("content", ()):
            for annotation in part.get("annotations", ()):
                del annotation["start_index"], annotation["end_index"]
    return answer


@settings(deadline=None, max_examples=200)
@given(ANY_CHUNKS)
def test_the_whole_answer_is_what_the_stream_ends_with(chunks: list[Chunk]) -> None:
    streamed = responses_grammar.check(wire(OpenAIResponses(), *chunks))
    assert without_positions(streamed) == without_positions(whole(OpenAIResponses(), *chunks))


# Requests


def decoded(**body: Any) -> ChatRequest:
    return OpenAIResponses().decode(decode_json(json.dumps({"input": "Hi", **body}).encode()))


def test_the_smallest_request_is_a_text() -> None:
    assert decoded() == ChatRequest(
        messages=[ChatMessage(role="user", content="Hi")], include_usage=True, body={"input": "Hi"}
    )


def test_instructions_are_a_system_message_before_all_others() -> None:
    got = decoded(instructions="Be brief.")
    assert got.to_openai() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


CONVERSATION: list[dict[str, Any]] = [
    {"role": "developer", "content": "Really."},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:x;base64,AA=="},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "sealed",
    },
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
    {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "function_call_output", "call_id": "a", "output": "42"},
    {
        "type": "function_call_output",
        "call_id": "b",
        "output": [{"type": "input_text", "text": "43"}],
    },
    {"role": "assistant", "content": "It is 42."},
    {"role": "user", "content": "Thanks."},
]


def test_a_conversation_becomes_chat_messages_one_for_each_turn() -> None:
    got = decoded(input=CONVERSATION)
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    image = {"url": "data:image/png;base64,AA==", "detail": "low"}
    assert got.to_openai() == [
        {"role": "developer", "content": "Really."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": image},
                {
                    "type": "file",
                    "file": {"file_data": "data:x;base64,AA==", "filename": "a.pdf"},
                },
            ],
        },
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "content": "42", "tool_call_id": "a"},
        {"role": "tool", "content": "43", "tool_call_id": "b"},
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "Thanks."},
    ]
    assert got.messages[2].thinking == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sealed"}
    ]
    assert got.prompt == "Thanks."
    assert got.body["input"] == CONVERSATION


def test_what_we_stream_comes_back_as_the_conversation_that_it_was() -> None:
    answer = responses_grammar.check(
        wire(
            OpenAIResponses(),
            Reasoning("Hm.", "sealed"),
            Text("Let me see."),
            ToolCall("a", "f", {"x": 1}),
            Finish("tool_calls"),
            ToolResult("a", 42),
            Text("It is 42."),
        )
    )
    got = decoded(input=[*answer["output"], {"role": "user", "content": "Thanks."}])
    assert [m.role for m in got.messages] == ["assistant", "tool", "assistant", "user"]
    assert got.to_anthropic()["messages"] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sealed"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "42"}],
                }
            ],
        },
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "Thanks."},
    ]


def test_tools_and_settings_are_told_in_the_words_of_chat() -> None:
    got = decoded(
        model="m",
        stream=True,
        tools=[
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
            {"type": "web_search"},
        ],
        tool_choice={"type": "function", "name": "f"},
        max_output_tokens=9,
        temperature=0.5,
        top_p=None,
    )
    assert (got.model, got.stream, got.include_usage) == ("m", True, True)
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert got.tools == [{"type": "function", "function": function}, {"type": "web_search"}]
    assert got.tool_choice == {"type": "function", "function": {"name": "f"}}
    assert got.settings == {"max_tokens": 9, "temperature": 0.5}


def test_custom_tools_their_calls_and_outputs_are_told_in_the_words_of_chat() -> None:
    got = decoded(
        input=[
            {"role": "user", "content": "Fix it."},
            {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "+1"},
            {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        ],
        tools=[{"type": "custom", "name": "patch", "format": {"type": "text"}}],
        tool_choice={"type": "custom", "name": "patch"},
    )
    call = {"id": "a", "type": "custom", "custom": {"name": "patch", "input": "+1"}}
    assert got.to_openai() == [
        {"role": "user", "content": "Fix it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "a"},
    ]
    assert got.tools == [
        {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}
    ]
    assert got.tool_choice == {"type": "custom", "custom": {"name": "patch"}}


STATE: list[dict[str, Any]] = [
    {"previous_response_id": "resp_1"},
    {"conversation": "conv_1"},
    {"conversation": {"id": "conv_1"}},
    {"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "Hi"}]},
    {"input": [{"id": "msg_1"}, {"role": "user", "content": "Hi"}]},
]


@pytest.mark.parametrize("body", STATE, ids=str)
def test_a_request_that_leans_on_stored_responses_needs_an_app_that_stores_them(
    body: dict[str, Any],
) -> None:
    with pytest.raises(BadRequest, match="send the whole conversation as input") as raised:
        decoded(**body)
    assert raised.value.param in (*body, "input[0]")
    got = OpenAIResponses(stateful=True).decode({"input": "Hi", **body})
    assert got.prompt == "Hi"
    assert got.thread_id == ("conv_1" if "conversation" in body else None)


BAD: list[tuple[object, str | None, str]] = [
    ({}, "input", "input is required."),
    ({"input": None}, "input", "input is not valid: Expected `str | array`, got `null`."),
    ({"input": ""}, "input", "input must not be empty."),
    ({"input": []}, "input", "input must not be empty."),
    ({"input": ["Hi"]}, "input[0]", "input[0] is not valid: Expected `object`, got `str`."),
    ({"input": [{"role": "user"}]}, "input[0].content", "input[0].content is required."),
    (
        {"input": [{"role": "wizard", "content": "Hi"}]},
        "input[0].role",
        "input[0].role must be one of system, developer, user, assistant.",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input[0].content[0].text",
        "input[0].content[0].text is required.",
    ),
    (
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
        "input[0].call_id",
        "input[0].call_id is required.",
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "a", "output": 1}]},
        "input[0].output",
        "input[0].output is not valid: Expected `str | array`, got `int`.",
    ),
    (
        {"input": "Hi", "background": True},
        "background",
        "background is not supported: the answer goes to who asks for it.",
    ),
    (
        {"input": "Hi", "temperature": "hot"},
        "temperature",
        "temperature is not valid: Expected `float | null`, got `str`.",
    ),
    ([], None, "The body must be a JSON object."),
]


@pytest.mark.parametrize(("body", "param", "message"), BAD, ids=[str(bad[0])[:60] for bad in BAD])
def test_a_bad_field_is_named(body: object, param: str | None, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        OpenAIResponses().decode(decode_json(json.dumps(body).encode()))
    assert (raised.value.param, raised.value.message) == (param, message)


NAMES = ("role", "content", "type", "call_id", "name", "arguments", "output", "summary", "text")
WORDS = st.sampled_from(
    ["user", "assistant", "message", "function_call", "reasoning", "input_text"]
)
NEARLY_ITEMS = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), WORDS | JSON, max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(NAMES), WORDS | st.lists(inner, max_size=2), max_size=5
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=500)
@given(st.lists(NEARLY_ITEMS, max_size=4) | JSON, JSON, st.booleans())
def test_arbitrary_json_is_a_request_or_a_bad_request(
    items: object, tools: object, stateful: bool
) -> None:
    body = json.dumps({"input": items, "tools": [tools], "tool_choice": tools})
    try:
        got = OpenAIResponses(stateful=stateful).decode(decode_json(body.encode()))
    except BadRequest:
        return
    check_request(got)


# The official client, over a socket


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
        yield client


def said(answer: Any) -> Any:
    """The response without what differs between any two: the run's id and time, where in the
    text a source is cited, and what only the helper adds."""
    dump = answer.model_dump(exclude_none=True, exclude={"created_at", "completed_at"})
    for item in dump["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content", ()):
            part.pop("parsed", None)
    text = json.dumps(without_positions(dump))
    return json.loads(text.replace(answer.id.removeprefix("resp_"), "run"))


def last_of(client: OpenAI, prompt: str) -> Any:
    *_, last = client.responses.create(model="m", input=prompt, stream=True)
    return last


@pytest.mark.parametrize("prompt", ["everything", "loop", "decline"])
def test_raw_stream_helper_and_whole_answer_are_the_same(client: OpenAI, prompt: str) -> None:
    with client.responses.stream(model="m", input=prompt) as stream:
        helped = stream.get_final_response()
    raw = last_of(client, prompt).response
    whole = client.responses.create(model="m", input=prompt)
    assert said(helped) == said(raw) == said(whole)
    assert helped.output_text == raw.output_text == whole.output_text


def test_text_reasoning_parallel_calls_and_usage_arrive(client: OpenAI) -> None:
    with client.responses.stream(model="m", input="everything") as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        answer = stream.get_final_response()
    reasoning, message, *calls = answer.output
    assert "".join(deltas) == answer.output_text == TEXT
    assert reasoning.type == "reasoning"
    assert reasoning.summary[0].text == "Let me think."
    assert reasoning.encrypted_content == "sealed"
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].annotations[0].type == "url_citation"
    assert message.content[0].annotations[0].url == "https://example.org/a"
    assert [(c.call_id, c.name, c.arguments) for c in calls if c.type == "function_call"] == [
        ("call_a", "add", '{"x":1}'),
        ("call_b", "sub", '{"y":2}'),
        ("call_c", "mul", '{"z":3}'),
    ]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 7)
    assert answer.usage.output_tokens_details.reasoning_tokens == 3


def test_a_tools_result_arrives_and_goes_back_as_input(client: OpenAI) -> None:
    with client.responses.stream(model="m", input="loop") as stream:
        answer = stream.get_final_response()
    assert [item.type for item in answer.output] == ["mcp_call", "message"]
    history: Any = [item.model_dump(exclude_none=True) for item in answer.output]
    again = client.responses.create(
        model="m", input=[*history, {"role": "user", "content": "loop"}]
    )
    assert again.output_text == "It is 2."


@pytest.mark.parametrize(
    ("prompt", "reason"), [("length", "max_output_tokens"), ("filter", "content_filter")]
)
def test_a_cut_answer_says_so_to_the_client(client: OpenAI, prompt: str, reason: str) -> None:
    last = last_of(client, prompt)
    whole = client.responses.create(model="m", input=prompt)
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == reason
    assert last.response.output_text == "Hel"
    assert said(last.response) == said(whole)


@pytest.mark.parametrize("stream", [True, False])
def test_a_rate_limit_before_the_first_chunk_is_a_429_with_retry_after(
    client: OpenAI, stream: bool
) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model="m", input="limit", stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_bad_request_names_its_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="m", input="Hi", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


@pytest.mark.parametrize(
    ("prompt", "said"), [("break", "could not finish"), ("break openly", "The cat sat")]
)
def test_an_error_in_mid_stream_raises_and_shows_only_what_is_safe(
    client: OpenAI, prompt: str, said: str
) -> None:
    texts = []
    with pytest.raises(openai.APIError, match=said):
        for event in client.responses.create(model="m", input=prompt, stream=True):
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
    assert texts == ["Hel"]
    with client.responses.stream(model="m", input=prompt) as stream:
        with pytest.raises(openai.APIError, match=said):
            stream.get_final_response()


def test_a_line_that_is_cut_in_mid_stream_raises(client: OpenAI) -> None:
    texts = []
    with pytest.raises(openai.APIConnectionError):
        for event in client.responses.create(model="m", input="kill", stream=True):
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
    assert texts == ["Hel"]


def test_heartbeats_lose_nothing_and_add_no_event() -> None:
    with serving(SILENT) as url:
        with OpenAI(base_url=url, api_key="-", max_retries=0, timeout=10) as client:
            events = list(client.responses.create(model="m", input="silence", stream=True))
    assert [e.delta for e in events if e.type == "response.output_text.delta"] == ["Hel", "lo", "!"]
    assert [e.sequence_number for e in events] == list(range(len(events)))  # type: ignore[union-attr]
