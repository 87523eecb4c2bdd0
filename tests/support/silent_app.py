"""An app whose streams say one word and then nothing, for servers that are told to stop.

What it did is appended to the file that LOG names: one line for each `on_finish`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio

from asgi_llmstream import ChatApp, ChatRequest, StreamOptions, StreamResult


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    yield "Hel"
    await anyio.sleep_forever()


async def on_finish(result: StreamResult) -> None:
    await anyio.sleep(0.05)  # a server that does not wait for it cuts it off here
    note(result.outcome)


def note(outcome: str) -> None:
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{outcome}\n")


app = ChatApp(
    answer,
    options=StreamOptions(shutdown_grace=float(os.environ.get("GRACE", "0.5")), close_timeout=1),
    on_finish=on_finish,
)
