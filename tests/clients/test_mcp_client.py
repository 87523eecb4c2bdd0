"""MCP's own client against a server whose stream is `Events(envelope=False)`: it comes back where
the connection broke off, by the server's ids."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from asgi_llmstream import LLMStream, ServerSentEvent
from asgi_llmstream.formats import Events
from asgi_llmstream.sse import last_event_id
from tests.support.providers import module
from tests.support.servers import serve

AS_THEY_ARE = Events(envelope=False)


class PingServer:
    """MCP over HTTP, as much as a ping takes: its first answer breaks off before the result."""

    def __init__(self) -> None:
        self.came_from: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if last := last_event_id(scope["headers"]):
            self.came_from.append(last)
            result = {"jsonrpc": "2.0", "id": self._asked, "result": {}}
            events = [ServerSentEvent(json.dumps(result), event="message", id="stream-1/2")]
            await LLMStream(events, format=AS_THEY_ARE)(scope, receive, send)
            return
        message = json.loads((await receive())["body"])
        match message["method"]:
            case "initialize":
                result = {"protocolVersion": message["params"]["protocolVersion"]}
                result |= {"capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
                await self._send(send, 200, json.dumps(answer).encode())
            case "ping":
                self._asked = message["id"]
                await LLMStream(self._break_off, format=AS_THEY_ARE)(scope, receive, send)
            case _:
                await self._send(send, 202, b"")

    async def _break_off(self) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent("", id="stream-1/1", retry=10)  # MCP's priming event
        raise RuntimeError("broken")

    async def _send(self, send: Any, status: int, body: bytes) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def test_mcps_client_comes_back_where_the_stream_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    session = module("mcp").ClientSession
    transport = module("mcp.client.streamable_http")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = PingServer()

    async def ping(url: str) -> None:
        with anyio.fail_after(20):
            async with transport.streamable_http_client(url) as (reads, writes, *_):
                async with session(reads, writes) as client:
                    await client.initialize()
                    await client.send_ping()

    with serve(server) as url:
        anyio.run(ping, url)
    assert server.came_from == ["stream-1/1"]
