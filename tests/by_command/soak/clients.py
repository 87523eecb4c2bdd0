"""The soak's clients: what they ask, how they read, and what they must have read."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from asgi_llmstream.formats import RequestFormat
from asgi_llmstream.testing import check_stream, parse_sse
from tests.support.wire import EVENT_STREAMS

from .books import Books
from .server import ENDINGS, ENDLESS, FOREIGN, SHAPES, Script, steps, word

Address = tuple[str, int]

READERS = {
    "reads": 6,
    "slow": 1,
    "steady": 1,
    "stalls": 1,
    "fin": 1,
    "rst": 1,
    "half": 1,
    "leaves at once": 1,
}
# Bytes in one read, and the seconds until the next: a steady one is slower than `send_timeout`
# would be for a whole chunk.
PACES = {"slow": (997, 0.02), "steady": (65536, 0.1)}
LARGE = 0.02  # of the answers have large chunks,
BALLAST = 0.02  # and of the requests a large body
MOST_BALLAST = 7 * 2**20
NONSENSE = 0.04  # of the requests are none
WHOLE = 0.15  # of those that may be are not streamed
# As of our formats: two of eight requests ask for foreign streams.
ROUTES = (*EVENT_STREAMS, None, None)


class Question:
    """One request.

    Args:
        number: of the request, in the books.
        format: of the answer; None asks for a foreign stream.
        script: what the producer is to do.
        how: the answer is read.
        stream: or in one piece.
        ballast: bytes that the request's body has besides, if it has one.
    """

    def __init__(
        self,
        number: int,
        format: RequestFormat | None,
        script: Script,
        how: str = "reads",
        stream: bool = True,
        ballast: int = 0,
    ) -> None:
        self.ballast = ballast
        self.number = number
        self.format = format
        self.script = script
        self.how = how
        self.stream = stream

    def __repr__(self) -> str:
        kind = "stream" if self.stream else "whole"
        return f"{self.number} {self.route} {kind} {self.how} {self.script} {self.ballast}"

    @property
    def route(self) -> str:
        return "/foreign" if self.format is None else self.format.route

    def bytes(self, connection: str = "close") -> bytes:
        prompt, body = json.dumps(self.script), b""
        method, path = "GET", self.route
        if self.format is None:
            path += f"?{quote(prompt)}"
            body = b"x" * self.ballast
            method = "POST" if body else "GET"
        elif "GET" in self.format.methods:
            path += f"?prompt={quote(prompt)}"
        else:
            prompt += " " * self.ballast
            method, body = "POST", json.dumps(self._body(prompt)).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: soak\r\nconnection: {connection}\r\n"
        head += f"x-number: {self.number}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def _body(self, prompt: str) -> dict[str, Any]:
        user = {"role": "user", "content": prompt}
        match self.route:
            case "/responses":
                return {"model": "m", "input": prompt, "stream": self.stream}
            case "/ui":
                part = {"type": "text", "text": prompt}
                message = {"id": "m", "role": "user", "parts": [part]}
                return {"id": "c", "trigger": "submit-message", "messages": [message]}
            case "/ag-ui":
                run: dict[str, Any] = {"threadId": "t", "runId": "r", "tools": [], "context": []}
                return run | {"messages": [{**user, "id": "m"}], "state": {}, "forwardedProps": {}}
        return {"model": "m", "messages": [user], "stream": self.stream, "max_tokens": 99}


def draw(number: int, dice: random.Random) -> Question:
    """A question, as the dice fall."""
    format = dice.choice(ROUTES)
    script = {
        "shape": choose(dice, FOREIGN if format is None else SHAPES),
        "ending": choose(dice, ENDINGS | ENDLESS),
        "seed": dice.random(),
        "flood": False,
        "large": False,
    }
    how = choose(dice, READERS)
    if script["ending"] in ENDLESS and how in ("reads", "slow", "steady"):
        script["ending"] = "returns"
    if script["ending"] == "silent" and script["shape"] in ("sync", "threads"):
        script["ending"] = "never"  # a blocking call cannot be interrupted
    may_be_large = how != "slow" and script["ending"] not in ENDLESS
    script["large"] = how == "steady" or (may_be_large and dice.random() < LARGE)
    if how == "stalls":
        script |= {"ending": "never", "flood": True}
    may_be_whole = hasattr(format, "whole_body") and how in ("reads", "leaves at once")
    stream = not (may_be_whole and dice.random() < WHOLE)
    ballast = dice.randrange(MOST_BALLAST) if dice.random() < BALLAST else 0
    return Question(number, format, script, how, stream, ballast)


def choose(dice: random.Random, weights: dict[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


async def ask(books: Books, question: Question, dice: random.Random, address: Address) -> None:
    """Ask it, or talk nonsense instead, and note what is wrong with what comes back."""
    books.record(question.number).what = repr(question)
    client = _Client(books, question, dice)
    talk = client.talk_nonsense if dice.random() < NONSENSE else client.talk
    with noting(books, question):
        async with asyncio.timeout(books.patience):
            await talk(address)


@contextmanager
def noting(books: Books, question: Question) -> Iterator[None]:
    """What goes wrong inside is a problem of this question."""
    try:
        yield
    except TimeoutError:
        books.problems.append(f"hung: {question}")
    except Exception as error:
        books.problems.append(f"{type(error).__name__}: {error}: {question}")


class _Client:
    """Asks one question, and reads what comes."""

    def __init__(self, books: Books, question: Question, dice: random.Random) -> None:
        self._books, self._question, self._dice = books, question, dice
        self._record = books.record(question.number)

    async def talk_nonsense(self, address: Address) -> None:
        """What is no request gets an answer of less than 500, or breaks off itself."""
        sock = await _connect(address)
        try:
            match self._dice.randrange(4):
                case 0:
                    whole = self._question.bytes()
                    await _send(sock, whole[: len(whole) // 2])
                    self._books.seen["nonsense: half a request"] += 1
                    return
                case 1:
                    await _send(sock, b"\x16\x03\x01 no HTTP at all\r\n\r\n")
                case 2:
                    await _send(sock, b"POST /nothing HTTP/1.1\r\nconnection: close\r\n\r\n")
                case 3:
                    head = "POST /chat/completions HTTP/1.1\r\nhost: soak\r\n"
                    head += "connection: close\r\ncontent-length: 5\r\n\r\n[[[[["
                    await _send(sock, head.encode())
            status = int((await _read(sock)).split()[1])
            self._books.seen[f"nonsense: {status}"] += 1
            assert 400 <= status < 500, f"status {status} for nonsense"
        finally:
            sock.close()

    async def talk(self, address: Address) -> None:
        how = self._question.how
        sock = await _connect(address)
        try:
            await _send(sock, self._question.bytes())
            match how:
                case "leaves at once":
                    await asyncio.sleep(self._dice.choice([0, 0.01]))
                case "stalls":
                    await self._record.ended()
                    self._books.seen["stalled until it was over"] += 1
                case "fin" | "rst" | "half":
                    # Of a silent one more would be long in coming.
                    silent = self._question.script["ending"] == "silent"
                    await _read(sock, 1 if silent else self._dice.choice([1, 300, 5000]))
                    if how == "half":
                        sock.shutdown(socket.SHUT_WR)
                        await _read(sock)
                case _:
                    self._judge(await _read(sock, pace=PACES.get(how, _FAST)))
                    await self._judge_outcome()
            if how in ("rst", "stalls") or self._dice.random() < 0.2:
                linger = struct.pack("ii", 1, 0)  # close() sends RST
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        finally:
            sock.close()

    def _judge(self, response: bytes) -> None:
        """What was read to its end says how it ended."""
        question, response_ = self._question, Response(response)
        assert b"secret" not in response, "a secret came out"
        if question.format is None:
            judge_foreign(question.script, response_)
            kind = "whole" if response_.complete else "broken"
        else:
            judge_own(question, response_)
            kind = "whole"
        foreign = "foreign, " if question.format is None else ""
        self._books.seen[f"read to the end: {foreign}{response_.status}, {kind}"] += 1

    async def _judge_outcome(self) -> None:
        """And `on_finish` was told the same."""
        await self._record.ended()
        wanted = "finished" if self._question.script["ending"] == "returns" else "error"
        told = self._record.told
        assert {*told} <= {wanted}, f"the client saw {wanted!r}, on_finish was told {told}"


class Response:
    """One response, read to the end of its connection.

    Attributes:
        status: of HTTP.
        head: the headers, as they came.
        body: without its transfer coding.
        complete: whether its end has come.
    """

    def __init__(self, data: bytes) -> None:
        self.head, _, body = data.partition(b"\r\n\r\n")
        self.head = self.head.lower()
        self.status = int(self.head.split()[1])
        self.body, self.complete = body, True
        if b"chunked" in self.head:
            self.body, self.complete = _unchunked(body)

    @property
    def streamed(self) -> bool:
        return b"text/event-stream" in self.head


def judge_own(question: Question, response: Response) -> None:
    """It is whole, well-formed, and an error in it says so."""
    ending, status, body = question.script["ending"], response.status, response.body
    assert response.complete, "the response has no end"
    if response.streamed:
        check_stream(body.replace(b": ping\n", b""))
        failed = b"The cat sat" in body or b"could not finish" in body
        assert failed == (ending != "returns"), f"ended as if it had {_how_it_looks(failed)}"
        return
    json.loads(body)
    streams_may_fail = ending == "raises early" or not question.stream
    assert status == 200 or (ending != "returns" and streams_may_fail), f"status {status}"
    assert status != 200 or ending == "returns", f"ended as if it had {_how_it_looks(False)}"


def judge_foreign(script: Script, response: Response) -> None:
    """It has all that was written, and an end only if the application gave it one."""
    if response.status == 500:  # the server's own answer
        assert script["shape"] != "sse_starlette"
        assert script["ending"] == "raises early"
        return
    assert response.streamed, f"foreign: status {response.status} and no stream"
    finished = script["ending"] == "returns"
    assert response.complete == finished, (
        f"foreign: ended as if it had {_how_it_looks(not response.complete)}"
    )
    read = [event.data for event in parse_sse(response.body)]
    assert read == _words(script), "foreign: other events were read than were written"
    body = re.sub(rb"(: ping\n)+$", b"", response.body)
    whole = body.endswith((b"\n\n", b"\r\n\r\n"))
    assert whole or not finished, "foreign: the end came inside an event"


def _how_it_looks(failed: bool) -> str:
    return "failed" if failed else "finished"


def _words(script: Script) -> list[str]:
    said = []
    with suppress(Exception):  # the script's own
        for _, chunk in steps(script):
            said.append(word(chunk))
    return said


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """The body of a chunked response, and whether its end has come."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body, False


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


_FAST = (65536, 0.0)


async def _read(
    sock: socket.socket, at_least: float = float("inf"), pace: tuple[int, float] = _FAST
) -> bytes:
    loop, got = asyncio.get_running_loop(), bytearray()
    most, pause = pace
    while len(got) < at_least:
        try:
            piece = await loop.sock_recv(sock, most)
        except ConnectionError:
            break
        if not piece:
            break
        got += piece
        if pause:
            await asyncio.sleep(pause)
    return bytes(got)
