"""The soak's end: the process is told to end while silent streams of both kinds are open."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asgi_llmstream
from asgi_llmstream.formats import OpenAIChat
from asgi_llmstream.testing import check_stream, parse_sse
from tests.support.wire import EVENT_STREAMS

from .books import Books
from .clients import Address, Question, Response, noting
from .server import FOREIGN

# A sync producer cannot be silent without holding up its own end.
SILENT = {"async": "silent", "callbacks": "silent", "stubborn": "silent", "sync": "never"}


async def shutdown(books: Books, address: Address, first: int) -> None:
    """Every open stream ends visibly and is told of once, and new ones are refused.

    Args:
        first: the number of the first request.
    """
    questions = _questions(first)
    kept = await _Kept.connect(address)
    clients = [_Open(books, question) for question in questions]
    await asyncio.gather(*(client.begin(address) for client in clients))
    asgi_llmstream.drain()
    await asyncio.gather(*(client.end() for client in clients))
    await kept.is_refused(books, Question(first - 1, OpenAIChat(), _script("async", "returns")))


def _questions(first: int) -> list[Question]:
    ours = [(f, s, e) for f in EVENT_STREAMS for s, e in SILENT.items()]
    foreign = [(None, shape, ending) for shape in FOREIGN for ending in ("silent", "never")] * 3
    return [
        Question(number, format, _script(shape, ending), "is there at the end")
        for number, (format, shape, ending) in enumerate([*ours, *foreign], first)
    ]


def _script(shape: str, ending: str) -> dict[str, object]:
    return {"shape": shape, "ending": ending, "seed": 1, "flood": False, "large": False}


class _Open:
    """A client that has read its first word, and reads on."""

    def __init__(self, books: Books, question: Question) -> None:
        self._books, self._question = books, question
        self._record = books.record(question.number)
        self._record.what = repr(question)
        self._read = b""

    async def begin(self, address: Address) -> None:
        self._reader, self._writer = await asyncio.open_connection(*address)
        self._writer.write(self._question.bytes())
        with noting(self._books, self._question):
            async with asyncio.timeout(self._books.patience):
                self._read = await self._reader.readuntil(b"Hel")

    async def end(self) -> None:
        """Read to the end, which must come and be the right one."""
        with noting(self._books, self._question):
            async with asyncio.timeout(self._books.patience):
                with suppress(ConnectionError):
                    self._read += await self._reader.read(-1)
                await self._record.ended()
            self._judge(Response(self._read))
        self._writer.close()

    def _judge(self, response: Response) -> None:
        if self._question.format is None:
            assert not response.complete, "ended as if it had finished"
            parse_sse(response.body)
        else:
            assert response.complete, "has no end"
            check_stream(response.body.replace(b": ping\n", b""))
            assert b"shutdown" in response.body, "ended without saying why"
        told = self._record.told
        assert told == ["shutdown"], f"on_finish was told {told}"
        kind = "foreign streams" if self._question.format is None else "streams"
        self._books.seen[f"shutdown: {kind} that ended visibly"] += 1


class _Kept:
    """A connection that was opened before, has had an answer, and is used again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, address: Address) -> _Kept:
        self = cls(*await asyncio.open_connection(*address))
        answer = await self._ask(b"GET /models HTTP/1.1\r\nhost: soak\r\n\r\n")
        assert answer.status == 200
        return self

    async def is_refused(self, books: Books, question: Question) -> None:
        books.record(question.number).what = repr(question)
        with noting(books, question):
            async with asyncio.timeout(books.patience):
                answer = await self._ask(question.bytes(connection="keep-alive"))
            assert answer.status == 503, f"status {answer.status} while shutting down"
            assert b"\r\nretry-after: " in answer.head, "no Retry-After"
            books.seen["shutdown: 503 for a new request"] += 1
        self._writer.close()

    async def _ask(self, request: bytes) -> Response:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length: ")
        body = await self._reader.readexactly(int(length.split()[0])) if length else b""
        return Response(head + body)
