"""The responder's tools: small, exact, and safe on whatever was typed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

__all__ = ["calculate", "count_letter", "count_words", "find_expression", "words_in"]

Number = int | float

# Long sums and towering powers would keep the server busy: nobody types them by accident.
_MAX_SEARCHED = 1000
_MAX_LENGTH = 80
_MAX_EXPONENT = 20
_MAX_NUMBER = 10**100

_SPOKEN = (
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\b(times|multiplied by)\b", "*"),
    (r"\b(divided by|over)\b", "/"),
    (r"\bto the power of\b", "**"),
    (r"(?<=[\d)\s])[x×·](?=[\d(\s-])", "*"),  # noqa: RUF001 (people type it)
    (r"÷", "/"),
    (r"−", "-"),  # noqa: RUF001
    (r"\^", "**"),
)

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Number]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def find_expression(text: str) -> str | None:
    """The arithmetic that stands in `text`, as Python writes it; None if there is none."""
    text = text[:_MAX_SEARCHED]
    for spoken, sign in _SPOKEN:
        text = re.sub(spoken, sign, text, flags=re.IGNORECASE)
    # No letters on either side, so that neither "covid-19" nor "3d" counts.
    runs = re.findall(r"(?<![\w.])[-+(]*\d[\d\s.+*/%()-]*(?!\w)", text)
    for run in sorted(runs, key=len, reverse=True):
        expression = _trimmed(run)
        if _OPERATION.search(expression) and _parse(expression):
            return expression
    return None


_OPERATION = re.compile(r"[\d)]\s*[-+*/%]+\s*[-+(]*\s*\d")


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, written out.

    Raises:
        ValueError: if it is no arithmetic, is too large, or divides by zero; says which.
    """
    tree = _parse(expression)
    if tree is None:
        raise ValueError("that is not arithmetic")
    try:
        return _written(_value(tree.body))
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("the number is too large") from None


def count_words(text: str) -> dict[str, int]:
    """Count the words and letters of `text`."""
    return {"words": len(words_in(text)), "letters": sum(c.isalpha() for c in text)}


def count_letter(letter: str, word: str) -> int:
    """Count how often `letter` stands in `word`, capital or not."""
    return word.lower().count(letter.lower())


def words_in(text: str) -> list[str]:
    """The words of `text`, an apostrophe or a hyphen inside one included."""
    return re.findall(r"\w+(?:['’-]\w+)*", text)  # noqa: RUF001


def _trimmed(run: str) -> str:
    """The run without what a sentence leaves at its ends: a full stop, a lone bracket."""
    run = " ".join(run.split()).rstrip(" .+-*/%(")
    while run.count(")") > run.count("(") and run.endswith(")"):
        run = run[:-1].rstrip()
    while run.count("(") > run.count(")") and run.startswith("("):
        run = run[1:].lstrip()
    return run


def _parse(expression: str) -> ast.Expression | None:
    if len(expression) > _MAX_LENGTH:
        return None
    try:
        return ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError):
        return None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and (abs(b) > _MAX_EXPONENT or (a < 0 and b != int(b))):
                raise ValueError("that power is beyond me")
            return _bounded(_BINARY[type(op)](a, b))
        case _:
            raise ValueError("that is not arithmetic")


def _bounded(value: Number) -> Number:
    if abs(value) > _MAX_NUMBER:
        raise ValueError("the number is too large")
    return value


def _written(value: Number) -> str:
    # Text: JSON readers lose the digits of large integers.
    return str(value) if isinstance(value, int) else f"{value:.10g}"
