"""Every answer goes into SQLite, however it ended."""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import anyio.to_thread
from litestar import Litestar

from asgi_llmstream import ChatRequest, StreamResult
from asgi_llmstream.litestar import LLMStreamPlugin

DATABASE = os.environ.get("DATABASE", "answers.sqlite3")


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    for letter in f"Hello, {request.prompt}!":
        yield letter
        await anyio.sleep(0.02)  # a model that thinks


async def save(result: StreamResult) -> None:
    # SQLite blocks, so it gets a thread. `outcome` says whether the answer is whole.
    await anyio.to_thread.run_sync(insert, result.outcome, result.message.text)


def insert(outcome: str, text: str) -> None:
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS answers (outcome TEXT, text TEXT)")
        database.execute("INSERT INTO answers VALUES (?, ?)", (outcome, text))


app = Litestar(plugins=[LLMStreamPlugin(answer, on_finish=save)])
