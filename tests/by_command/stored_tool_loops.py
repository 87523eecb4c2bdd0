"""The tool loops of the OpenAI Agents SDK and of Microsoft's agent-framework, which send only what
is new to a server that stores responses: see README.md."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from agent_framework import Agent as FrameworkAgent
from agent_framework.openai import OpenAIChatClient
from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from asgi_llmstream import ChatApp, ChatRequest, Reasoning, ToolCall
from asgi_llmstream.stores import MemoryStore

TURNS = ["How is it in Oslo?", "And in Rome?"]

asked: list[ChatRequest] = []


async def answer(request: ChatRequest) -> AsyncIterator[Any]:
    asked.append(request)
    if request.messages[-1].role == "tool":
        told = [message.text for message in request.messages if message.role == "tool"]
        yield f"{len(told)}: "
        yield ", ".join(told)
    else:
        yield Reasoning("I have to ask.")
        yield ToolCall(f"call_{len(request.messages)}", "weather", {"question": request.prompt})


def weather(question: str) -> str:
    """Tell the weather."""
    return f"Sunny ({question})"


def check(texts: list[str]) -> None:
    first = f"Sunny ({TURNS[0]})"
    assert texts == [f"1: {first}", f"2: {first}, Sunny ({TURNS[1]})"], texts
    # Only what is new was sent, but for the first request.
    sent = [request.body for request in asked]
    assert [body.get("previous_response_id") is not None for body in sent] == [False] + 3 * [True]
    assert [len(body["input"]) for body in sent[1:]] == [1, 1, 1], sent
    assert [len(request.messages) for request in asked] == [1, 3, 5, 7]
    asked.clear()


async def openai_agents(url: str, stream: bool) -> list[str]:
    set_tracing_disabled(True)
    texts = []
    async with AsyncOpenAI(base_url=url, api_key="-", max_retries=0, timeout=15) as client:
        model = OpenAIResponsesModel(model="m", openai_client=client)
        agent = Agent(name="tested", model=model, tools=[function_tool(weather)])
        settings: dict[str, Any] = {"auto_previous_response_id": True}
        for turn in TURNS:
            result: Any
            if stream:
                result = Runner.run_streamed(agent, turn, **settings)
                async for _ in result.stream_events():
                    pass
            else:
                result = await Runner.run(agent, turn, **settings)
            texts.append(result.final_output)
            settings["previous_response_id"] = result.last_response_id
    return texts


async def agent_framework(url: str, stream: bool) -> list[str]:
    client = OpenAIChatClient(model="m", base_url=url, api_key="-")
    agent = FrameworkAgent(client, tools=[weather])
    session = agent.create_session()
    texts = []
    for turn in TURNS:
        if stream:
            updates = agent.run(turn, session=session, stream=True)
            texts.append((await updates.get_final_response()).text)
        else:
            texts.append((await agent.run(turn, session=session)).text)
    return texts


async def test(url: str) -> None:
    for loop in (openai_agents, agent_framework):
        for stream in (False, True):
            check(await asyncio.wait_for(loop(url, stream), 30))


def main() -> None:
    app = ChatApp(answer, models=["m"], store=MemoryStore())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            asyncio.run(test(f"http://127.0.0.1:{listener.getsockname()[1]}/v1"))
        finally:
            server.should_exit = True
            thread.join(10)
    print("passed")  # noqa: T201


if __name__ == "__main__":
    main()
