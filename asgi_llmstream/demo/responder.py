"""The answerer that needs no model: it really answers what was typed, from a few simple rules.

It shows what a producer can do: a pause before the first token, reasoning, one tool call with
its result, text token by token, usage. "slow" in the prompt makes it fall silent in the middle,
"error" makes it break off.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any

import anyio
from msgspec import Struct

from ..chunks import Chunk, Finish, Reasoning, Text, ToolCall, ToolResult, Usage
from ..errors import UpstreamError
from ..request import ChatRequest
from . import tools

__all__ = ["Responder", "answer"]

Sleep = Callable[[float], Awaitable[object]]

# Seconds: long enough to be seen, short enough not to bore.
FIRST_PAUSE = 1.0
TOKEN_PAUSE = 0.03
TOOL_PAUSE = 0.6
SLOW_PAUSE = 20.0

CALL_ID = "call_1"


class _Plan(Struct, frozen=True):
    """The words that will be said, decided before the first token."""

    reasoning: str
    tool: str
    arguments: dict[str, Any]
    output: Any
    text: str
    failed: bool = False


class Responder:
    """Answers chat requests without a model, the same prompt always in the same way.

    Args:
        sleep: takes the pauses' seconds; replaced where nobody watches.
        now: what time it is.
        speed: how many times faster than usual it talks; a silence that was asked for stays.
    """

    def __init__(
        self,
        sleep: Sleep = anyio.sleep,
        now: Callable[[], datetime] = datetime.now,
        speed: float = 1,
    ) -> None:
        self._sleep = sleep
        self._now = now
        self._speed = speed

    async def __call__(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """The chunks of the answer.

        Raises:
            UpstreamError: in the middle of the answer, if the prompt has the word "error".
        """
        plan = self._plan(request)
        await self._sleep(FIRST_PAUSE / self._speed)
        for token in _tokens(plan.reasoning):
            yield Reasoning(token)
            await self._sleep(TOKEN_PAUSE / self._speed)
        yield ToolCall(CALL_ID, plan.tool, plan.arguments)
        await self._sleep(TOOL_PAUSE / self._speed)
        yield ToolResult(CALL_ID, plan.output, plan.failed)
        tokens = list(_tokens(plan.text))
        for i, token in enumerate(tokens):
            if i == len(tokens) // 2:
                await self._interlude(request.prompt)
            yield Text(token)
            await self._sleep(TOKEN_PAUSE / self._speed)
        yield _usage(request, plan)
        yield Finish("stop")

    async def _interlude(self, prompt: str) -> None:
        if re.search(r"\bslow(ly)?\b", prompt, re.IGNORECASE):
            await self._sleep(SLOW_PAUSE)
        if re.search(r"\berrors?\b", prompt, re.IGNORECASE):
            raise UpstreamError("The demo broke off here, as you asked it to.", code="demo_error")

    def _plan(self, request: ChatRequest) -> _Plan:
        prompt = request.prompt.strip()
        plan = (
            _plan_arithmetic(prompt)
            or _plan_letters(prompt)
            or self._plan_clock(prompt)
            or _plan_words(prompt)
        )
        return _Plan(
            plan.reasoning,
            plan.tool,
            plan.arguments,
            plan.output,
            "\n\n".join(filter(None, (plan.text, _recall(request), _epilogue(plan.tool, prompt)))),
            plan.failed,
        )

    def _plan_clock(self, prompt: str) -> _Plan | None:
        asked = re.search(
            r"\b(what time|the time|time is it|what day|what date|the date|today)\b",
            prompt,
            re.IGNORECASE,
        )
        if not asked:
            return None
        now = self._now()
        day = f"{now:%A}, {now.day} {now:%B %Y}"
        return _Plan(
            "This is about the time, and I own no watch. The server has a clock, so I ask it.",
            "clock",
            {},
            now.isoformat(timespec="minutes"),
            f"It is {now:%H:%M} on {day}, as far as the machine that runs me knows.",
        )


answer = Responder()
"""The responder in real time."""


def _plan_arithmetic(prompt: str) -> _Plan | None:
    expression = tools.find_expression(prompt)
    if expression is None:
        return None
    arguments = {"expression": expression}
    reasoning = (
        f"There is arithmetic in this: {expression}. I do not trust my head, so I calculate."
    )
    try:
        result = tools.calculate(expression)
    except ValueError as error:
        text = f"I could not work out {expression}: {error}."
        return _Plan(reasoning, "calculator", arguments, str(error), text, failed=True)
    return _Plan(reasoning, "calculator", arguments, result, f"{expression} is {result}.")


_LETTERS_ASKED = re.compile(
    r"how many (?:letters? )?[\"'“‘]?(?P<letter>[^\W\d_])[\"'”’]?s?"  # noqa: RUF001
    r"\s+(?:are |is )?(?:there )?in (?:the word )?[\"'“‘]?(?P<word>\w+)",  # noqa: RUF001
    re.IGNORECASE,
)


def _plan_letters(prompt: str) -> _Plan | None:
    asked = _LETTERS_ASKED.search(prompt)
    if not asked:
        return None
    letter, word = asked["letter"].lower(), asked["word"]
    count = tools.count_letter(letter, word)
    times = {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")
    return _Plan(
        "Models read tokens and are bad at letters. A tool that counts them is better.",
        "count_letter",
        {"letter": letter, "word": word},
        count,
        f"The letter “{letter}” stands in “{word}” {times}.",
    )


def _plan_words(prompt: str) -> _Plan:
    counts = tools.count_words(prompt)
    return _Plan(
        "No arithmetic here, and nothing about the time. Let me look at the words themselves.",
        "count_words",
        {"text": prompt},
        counts,
        _remark(prompt, counts),
    )


def _remark(prompt: str, counts: dict[str, int]) -> str:
    size = f"{_number(counts['words'], 'word')} and {_number(counts['letters'], 'letter')}"
    if not counts["words"]:
        return "You sent me no words at all, which is restful. Try a few."
    if re.search(r"\bhow many (words|letters|characters)\b", prompt, re.IGNORECASE):
        return f"What you typed has {size}, this question included."
    if re.match(r"(hi|hello|hey|good (morning|day|evening)|greetings)\b", prompt, re.IGNORECASE):
        return f"Hello! It is good to hear from you, even if it was only {size}."
    if re.search(r"\b(thanks|thank you)\b", prompt, re.IGNORECASE):
        return "You are welcome. It was no trouble: there is no model behind me to tire."
    if re.search(
        r"\b(who|what) are you\b|\bhelp\b|what (is|can) (this|you)", prompt, re.IGNORECASE
    ):
        return (
            "I am a small Python generator that follows a few rules, and no model at all. "
            "I can add and multiply, tell the time, count letters and words, and say hello."
        )
    return _echo(prompt, size)


def _echo(prompt: str, size: str) -> str:
    keys = _listed([f"“{word}”" for word in _key_words(prompt)])
    if prompt.endswith("?"):
        about = f" about {keys}" if keys else ""
        return f"A fair question, in {size}. I know nothing{about}; a model in my place would."
    about = f" What stays with me is {keys}." if keys else ""
    return f"You wrote {size}.{about}"


_COMMON = (
    "about after again along also because been before being between both could does doing down "
    "each every from have having here into just like made make many more most much must only other "
    "over please same should show some such tell than that their them then there these they "
    "this those through under until very want were what when where which while will with would "
    "write your yours"
)


def _key_words(prompt: str) -> list[str]:
    """Up to three of the longest words that carry meaning, in their order."""
    common = _COMMON.split()
    seen: dict[str, str] = {}
    for word in tools.words_in(prompt):
        if len(word) > 3 and word.lower() not in common:
            seen.setdefault(word.lower(), word)
    longest = sorted(seen.values(), key=len, reverse=True)[:3]
    return [word for word in seen.values() if word in longest]


def _recall(request: ChatRequest) -> str:
    """That the conversation arrived, where the protocol carries it."""
    earlier = [message.text for message in request.messages if message.role == "user"][:-1]
    if not earlier:
        return ""
    said = " ".join(earlier[-1].split())
    said = said if len(said) <= 60 else said[:59].rstrip() + "…"
    return f"Before that you said “{said}”: the whole conversation comes with every request."


def _epilogue(tool: str, prompt: str) -> str:
    if re.search(r"\berrors?\b", prompt, re.IGNORECASE):
        return (
            "You asked for an error, so this answer will break off about here, in the middle of "
            "a sentence, and the page has to say so: a broken answer must never look finished, "
            "whatever it was that went wrong on the way to you."
        )
    if re.search(r"\bslow(ly)?\b", prompt, re.IGNORECASE):
        return (
            f"You asked for slow, so there is a silence of {SLOW_PAUSE:.0f} seconds in this "
            "answer. Meanwhile the server sends a heartbeat every second, which keeps proxies "
            "from closing the connection and shows you that somebody is still there."
        )
    return (
        f"All of this came from one async generator: the reasoning, one call of {tool} with its "
        "result, and this text, a token at a time. Set OPENAI_API_KEY and start the demo again, "
        "and a real model answers in my place."
    )


def _usage(request: ChatRequest, plan: _Plan) -> Usage:
    reasoning = len(list(_tokens(plan.reasoning)))
    return Usage(
        input_tokens=sum(len(tools.words_in(message.text)) for message in request.messages),
        output_tokens=len(list(_tokens(plan.text))) + reasoning,
        reasoning_tokens=reasoning,
    )


def _tokens(text: str) -> Iterator[str]:
    """Pieces that join to `text` again: words with the space before them."""
    return (found[0] for found in re.finditer(r"\s*\S+|\s+$", text))


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _listed(items: list[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
