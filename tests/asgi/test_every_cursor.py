"""Coming back to a kept stream at each of its events, in each format, with cursors of all kinds.

`CURSORS=1000000` tries so many ids and cursors.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from asgi_llmstream import ChatApp, ChatRequest
from asgi_llmstream.asgi.kept.keeping import About
from asgi_llmstream.asgi.kept.reading import encoder_of
from asgi_llmstream.events import Event
from asgi_llmstream.formats import DEFAULT_FORMATS, Events, RequestFormat, TextStream, UIMessages
from asgi_llmstream.formats.base import counts_events, cursors_of
from asgi_llmstream.resume import Host
from asgi_llmstream.sse import parse_sse
from asgi_llmstream.stores import MemoryStore, NewRun
from asgi_llmstream.testing import Client
from tests.formats.test_every_format import asking, hear
from tests.support.kept_runs import of_store
from tests.support.scripted import _ANSWERS

CURSORS = int(os.environ.get("CURSORS", "2000"))
# Together they have every kind of part, item and end.
PROMPTS = ("everything", "agent", "approve", "items", "page", "refuse")
every_format = pytest.mark.parametrize("format", DEFAULT_FORMATS, ids=lambda f: f.route)


async def answer(request: ChatRequest) -> AsyncIterator[Any]:
    for chunk in _ANSWERS[request.scope["prompt"]]:
        yield chunk
        if request.scope["waits"]:
            await anyio.lowlevel.checkpoint()


class Kept:
    """An application whose streams are kept, and one run in it.

    Args:
        format: in which it was asked.
        prompt: one of `_ANSWERS`.
    """

    def __init__(self, format: RequestFormat, prompt: str, waits: bool = False) -> None:
        self.store = MemoryStore(retention=86_400)  # by command it takes a while
        self.format = format
        self.id = ""
        self._app = ChatApp(
            answer, models=["m"], store=self.store, identify=lambda scope: scope["owner"]
        )
        self._of_scope = {"owner": "ada", "prompt": prompt, "waits": waits}
        self.client = Client(self)
        self.lifespan = self._app.lifespan

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, **self._of_scope}, receive, send)

    async def ask(self) -> bytes:
        response = await self.client.request(**asking(self.format))
        assert response.status == 200
        self.id = response.headers["x-run-id"]
        return response.body

    async def come_back(self, query: str = "", **headers: str) -> bytes:
        path = f"/streams/{self.id}?format={self.format.route.strip('/')}{query}"
        response = await self.client.request("GET", path, headers=headers)
        assert response.status in (200, 204), response.body
        assert response.status == 200 or not response.body
        return response.body

    def set_up(self, state: NewRun) -> Any:
        return About.read(state).set_up(self.format)


def content(format: RequestFormat, body: bytes) -> Any:
    if cursors_of(format) == "added":  # their readers know none
        body = re.sub(rb"(?m)^id: [^\n]*\n", b"", body)
    return body if isinstance(format, TextStream) else hear(format, body)


@every_format
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_rest_behind_any_event_makes_the_whole(format: RequestFormat, prompt: str) -> None:
    async def main() -> None:
        kept = Kept(format, prompt)
        async with kept.lifespan():
            whole = content(format, await kept.ask())
            (state,) = await kept.store.list_runs("ada")
            events: list[Event] = await of_store(kept.store, kept.id)
            encode = encoder_of(kept.set_up(state.run), kept.id)
            heads = [b""]
            for event in events:
                heads.append(heads[-1] + encode(event))
            for number, head in enumerate(heads):
                body = head + without_signs(await kept.come_back(f"&cursor={number}"))
                assert content(format, body) == whole
                if format.route == "/events":
                    check_numbers(body, kept.id, len(events))

    anyio.run(main)


def without_signs(body: bytes) -> bytes:
    """Without the sign that what is past is over, which is none of the run's events."""
    return re.sub(rb"id: [^\n]*\nevent: caught-up\n[^\n]*\n\n", b"", body)


def check_numbers(body: bytes, run: str, last: int) -> None:
    ids = [event.id or "" for event in parse_sse(body)]
    numbers = [int(id.removeprefix(f"{run}:")) for id in ids]
    assert numbers == sorted({*numbers})
    assert numbers[-1] == last
    seqs = [json.loads(event.data or "")["seq"] for event in parse_sse(body)]
    assert seqs == numbers


@pytest.mark.parametrize(
    "format", [f for f in DEFAULT_FORMATS if cursors_of(f)], ids=lambda f: f.route
)
@pytest.mark.parametrize("prompt", ["everything", "agent"])
def test_who_leaves_in_mid_stream_comes_back_with_the_last_id_to_what_he_missed(
    format: RequestFormat, prompt: str
) -> None:
    async def leave_after(chunks: int) -> bool:
        kept = Kept(format, prompt, waits=True)
        async with kept.lifespan():
            async with kept.client.stream(**asking(format)) as response:
                response.disconnect_after(chunks)
                await response.read_to_end()
                head, has_all = response.body, response.complete
                kept.id = response.headers["x-run-id"]
            last = parse_sse(head)[-1].id or ""
            rest = without_signs(await kept.come_back(**{"last-event-id": last}))
            (state,) = await kept.store.list_runs("ada")
            encode = kept.set_up(state.run).encoder()
            whole = b"".join(map(encode, await of_store(kept.store, kept.id)))
            assert content(format, head + rest) == content(format, whole)
        return has_all

    async def main() -> None:
        chunks = 1
        while not await leave_after(chunks):
            chunks += 1
        assert chunks > 5

    anyio.run(main)


@pytest.mark.parametrize(
    "format", [f for f in DEFAULT_FORMATS if cursors_of(f)], ids=lambda f: f.route
)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_each_id_that_was_sent_brings_what_stands_behind_it(
    format: RequestFormat, prompt: str
) -> None:
    async def main() -> None:
        kept = Kept(format, prompt)
        async with kept.lifespan():
            whole = await kept.ask()
            for match in re.finditer(rb"(?m)^id: (.*)\n(?:.+\n)+\n", whole):
                rest = await kept.come_back(**{"last-event-id": match[1].decode()})
                body = whole[: match.end()] + without_signs(rest)
                assert content(format, body) == content(format, whole)

    anyio.run(main)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_who_counts_what_he_has_gets_exactly_the_others(prompt: str) -> None:
    async def main() -> None:
        (format,) = (f for f in DEFAULT_FORMATS if counts_events(f))
        assert isinstance(format, UIMessages)
        kept = Kept(format, prompt)
        async with kept.lifespan():
            await kept.ask()
            path = f"{format.route}/{kept.id}/stream"
            whole = (await kept.client.request("GET", f"{path}?startIndex=0")).body
            frames = [frame + b"\n\n" for frame in whole.split(b"\n\n")[:-1]]
            for number in range(len(frames) - 1):
                rest = await kept.client.request("GET", f"{path}?startIndex={number}")
                assert rest.body == b"".join(frames[number:])
                last = await kept.client.request("GET", f"{path}?startIndex={-number}")
                # The sign of the end is none of the chunks that are counted.
                assert number == 0 or last.body == b"".join(frames[-number - 1 :])

    anyio.run(main)


BAD = ["", "-1", "1e3", "x", "٣", "0x1", " 1", "1\n", "9" * 16, "1.", ".1", "1.1.1", "a" * 200, ":"]


@pytest.mark.parametrize("cursor", BAD)
@pytest.mark.parametrize("where", ["header", "query"])
def test_a_cursor_that_is_none_is_refused(cursor: str, where: str) -> None:
    async def main() -> None:
        kept = Kept(Events(), "agent")
        async with kept.lifespan():
            await kept.ask()
            path, headers = f"/streams/{kept.id}", {}
            if where == "query":
                path += f"?cursor={quote(cursor)}"
            elif cursor.isascii() and "\n" not in cursor:
                headers = {"last-event-id": cursor}
            else:
                return
            response = await kept.client.request("GET", path, headers=headers)
            assert response.status == 400
            assert response.json()["error"]["code"] == "bad_cursor"

    anyio.run(main)


def test_a_cursor_beyond_the_end_is_refused_again_and_again() -> None:
    async def main() -> None:
        kept = Kept(Events(), "agent")
        async with kept.lifespan():
            await kept.ask()
            for _ in range(3):
                response = await kept.client.request("GET", f"/streams/{kept.id}?cursor=9999")
                assert response.status == 400
            host = Host.current(kept.store)
            assert not host._readers

    anyio.run(main)


def test_of_another_owners_run_nobody_gets_an_event() -> None:
    """Ids that are nearly right, right ones of another owner, and cursors of all kinds."""
    dice = random.Random(14)
    secret = b"bob's own words"
    paths = (
        "/streams/{id}{query}",
        "/streams/{id}/message",
        "/ui/{id}/stream{query}",
        "/events/{id}/stream",
    )

    async def main() -> None:
        kept = Kept(Events(), "agent")
        async with kept.lifespan():
            await kept.ask()
            begun = await kept.store.begin(NewRun(owner="bob", id="b" * 32, key="chat"))
            await kept.store.append("bob", "b" * 32, begun.epoch, 0, [secret] * 5, "finished")
            for _ in range(CURSORS):
                id = dice.choice([kept.id, "b" * 32, "chat", any_id(dice, "b" * 32)])
                query, headers = any_cursor(dice, ["b" * 32, kept.id])
                path = dice.choice(paths).format(id=id, query=query)
                response = await kept.client.request("GET", path, headers=headers)
                assert secret not in response.body
                assert b"b" * 32 not in response.body
                if id != kept.id:
                    assert response.status in (204, 400, 404), (path, headers, response.status)
                for method, what in (("POST", "/stop"), ("DELETE", "")):
                    if id != kept.id and dice.random() < 0.05:
                        await kept.client.request(method, f"/streams/{id}{what}")
            assert len((await kept.store.read("bob", "b" * 32, 0, 9)).events) == 5

    anyio.run(main)


def any_id(dice: random.Random, right: str) -> str:
    match dice.randint(0, 3):
        case 0:
            return right[: dice.randint(1, 31)]
        case 1:
            return right.upper()
        case 2:
            return quote("".join(chr(dice.randint(33, 0x2FF)) for _ in range(8)), safe="")
    return "".join(dice.choices("0123456789abcdef", k=32))


def any_cursor(dice: random.Random, ids: list[str]) -> tuple[str, dict[str, str]]:
    number = dice.choice([0, 1, 3, 99, -1, 10**15])
    cursor = dice.choice([f"{number}", f"{dice.choice(ids)}:{number}", dice.choice(BAD), "2.1"])
    match dice.randint(0, 3):
        case 0:
            return f"?cursor={quote(cursor)}", {}
        case 1 if cursor.isascii() and cursor.isprintable():
            return "", {"last-event-id": cursor}
        case 2:
            return f"?startIndex={number}&from={dice.choice(['now', 'x'])}", {}
    return "", {}
