"""What an answer takes beside the request, for frameworks that know where it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from .app import Answer

__all__ = ["Marks", "further_parameters", "waiting"]

Marks = tuple[type[Any], ...]
"""The classes by which a framework is told that a parameter is its own."""


def further_parameters(answer: Callable[..., Any], marks: Marks) -> list[inspect.Parameter]:
    """Return the parameters behind the request that the framework is to fill in, by keyword.

    These are the ones without a default, and the ones with a mark of the framework's as their
    default or in `Annotated`. A plain default stays, and so does what a `partial` gives: no client
    is to set what its author did not offer.
    """
    try:
        behind = [*_signature(answer).parameters.values()][1:]
    except (TypeError, ValueError):
        return []  # nothing is known of it
    given = answer.keywords if isinstance(answer, partial) else {}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in behind
        if parameter.kind in by_name
        and parameter.name not in given
        and _is_theirs(parameter, marks)
    ]


def _signature(answer: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(answer, eval_str=True)
    except NameError:  # a type that only type checkers know
        return inspect.signature(answer)


def _is_theirs(parameter: inspect.Parameter, marks: Marks) -> bool:
    noted = getattr(parameter.annotation, "__metadata__", ())
    known = [parameter.default, *noted]
    return parameter.default is parameter.empty or any(isinstance(it, marks) for it in known)


def waiting(answer: Callable[..., Any], parameters: list[inspect.Parameter]) -> Answer:
    """Return `answer` as a function of the request alone; see `ChatApp.giving`."""
    return partial(answer, **dict.fromkeys(p.name for p in parameters)) if parameters else answer
