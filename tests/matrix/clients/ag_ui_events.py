"""AG-UI's models for Python, by which every event must be valid, with a loop around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
from ag_ui.core import Event, RunAgentInput
from pydantic import TypeAdapter
from talk import PARAMETERS, Ask, serve

_EVENTS: TypeAdapter[Any] = TypeAdapter(Event)


class _RunError(Exception):
    """The run's own RUN_ERROR."""


async def talk(ask: Ask) -> AsyncIterator[dict[str, Any]]:
    history: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=ask.url, timeout=15) as client:
        for i, prompt in enumerate(ask.prompts):
            history.append({"id": f"user-{i}", "role": "user", "content": prompt})
            calls: Any = True
            while calls:
                run = _Run()
                await run.read(client, _input(ask, history), ask)
                history += run.messages()
                calls = run.unanswered()
                for id, (name, arguments) in calls.items():
                    output = ask.run(name, arguments)
                    result = {"id": f"r-{id}", "role": "tool", "toolCallId": id, "content": output}
                    history.append(result)
            yield {"text": run.text, "reasoning": run.reasoning, "usage": run.usage}


def _input(ask: Ask, history: list[dict[str, Any]]) -> str:
    tools = [
        {"name": name, "description": name, "parameters": PARAMETERS[name]} for name in ask.tools
    ]
    asked = RunAgentInput.model_validate(
        {
            "threadId": "thread",
            "runId": f"run-{len(history)}",
            "state": None,
            "messages": history,
            "tools": tools,
            "context": [],
            "forwardedProps": None,
        }
    )
    return asked.model_dump_json(by_alias=True, exclude_none=True)


class _Run:
    """One run, as its events tell it."""

    def __init__(self) -> None:
        self.text = self.reasoning = ""
        self.usage: list[int] | None = None
        self.ended = False
        self._calls: dict[str, tuple[str, str]] = {}
        self._results: dict[str, str] = {}
        self._asked: set[str] = set()

    async def read(self, client: httpx.AsyncClient, body: str, ask: Ask) -> None:
        headers = {"content-type": "application/json"}
        async with client.stream("POST", "/ag-ui", content=body, headers=headers) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self._note(_EVENTS.validate_json(line.removeprefix("data: ")))
                if self.text and ask.leaves:
                    return
        if not self.ended:
            raise _RunError("the run has no end")

    def _note(self, event: Any) -> None:
        match event.type.value:
            case "TEXT_MESSAGE_CONTENT":
                self.text += event.delta
            case "REASONING_MESSAGE_CONTENT":
                self.reasoning += event.delta
            case "TOOL_CALL_START":
                self._calls[event.tool_call_id] = (event.tool_call_name, "")
            case "TOOL_CALL_ARGS":
                name, arguments = self._calls[event.tool_call_id]
                self._calls[event.tool_call_id] = (name, arguments + event.delta)
            case "TOOL_CALL_RESULT":
                self._results[event.tool_call_id] = event.content
            case "RUN_ERROR":
                raise _RunError(event.message)
            case "RUN_FINISHED":
                self.ended = True
                if event.outcome is not None and event.outcome.type == "interrupt":
                    self._asked = {i.tool_call_id for i in event.outcome.interrupts}

    def messages(self) -> list[dict[str, Any]]:
        calls = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id, (name, arguments) in self._calls.items()
        ]
        said = {"id": "said", "role": "assistant", "content": self.text}
        if not calls:
            return [said]
        asked = {"id": "asked", "role": "assistant", "content": "", "toolCalls": calls}
        results = [
            {"id": f"r-{id}", "role": "tool", "toolCallId": id, "content": content}
            for id, content in self._results.items()
        ]
        return [asked, *results, *([said] if self.text else [])]

    def unanswered(self) -> dict[str, tuple[str, str]]:
        # What waits for an approval is not the page's to run.
        done = self._results.keys() | self._asked
        return {id: call for id, call in self._calls.items() if id not in done}


serve(talk)
