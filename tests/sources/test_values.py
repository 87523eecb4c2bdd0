"""Values of any type become JSON's own, or are refused by name."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any

import msgspec
import pydantic
import pytest

from asgi_llmstream.sources import as_builtins, known_to_json


class Plain:
    def __init__(self) -> None:
        self.password = "hunter2"

    def __repr__(self) -> str:
        return f"<Plain password={self.password}>"


class Colour(enum.Enum):
    RED = "red"


class Shouted(str):
    def __str__(self) -> str:
        return "!"


class Money(float):
    pass


@dataclasses.dataclass
class Data:
    of: Any


class Model(pydantic.BaseModel, arbitrary_types_allowed=True):
    of: Any


class Record(msgspec.Struct):
    of: Any


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Data(1), {"of": 1}),
        (Model(of=datetime.date(2025, 1, 2)), {"of": "2025-01-02"}),
        (Record(Data(Model(of=1))), {"of": {"of": {"of": 1}}}),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (datetime.datetime(2025, 1, 2, 3), "2025-01-02T03:00:00"),
        (decimal.Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        ({Colour.RED: {1}}, {"red": [1]}),
        (Shouted("hi"), "hi"),
        (Money(1.5), 1.5),
        (None, None),
        ("\ud83d", "\ud83d"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_becomes_jsons_own_types(value: object, plain: object) -> None:
    assert as_builtins(value, "it") == plain
    assert known_to_json(value) == plain


def test_an_object_of_attrs_becomes_a_dict() -> None:
    attrs = pytest.importorskip("attrs")
    made = attrs.make_class("Made", ["of"])
    assert as_builtins(made(1), "it") == {"of": 1}
    with pytest.raises(TypeError, match=r"^it\.of is no JSON"):
        as_builtins(made(Plain()), "it")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Plain(), "it"),
        ([0, Plain()], "it[1]"),
        ({"user": Data(Plain())}, "it['user'].of"),
        (Model(of=[Plain()]), "it.of[0]"),
        (Record(Plain()), "it.of"),
    ],
)
def test_an_object_that_is_none_is_refused_by_its_place_and_class_alone(
    value: object, where: str
) -> None:
    with pytest.raises(TypeError) as raised:
        as_builtins(value, "it")
    assert str(raised.value).startswith(f"{where} is no JSON")
    assert "but: Plain. Make it" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_key_that_is_no_text_is_named_as_such() -> None:
    with pytest.raises(TypeError, match=r"^it is no JSON.* dict with keys that are no text\."):
        as_builtins({(1, 2): 3}, "it")


def test_a_list_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match=r"^it holds itself"):
        as_builtins(circle, "it")


def test_of_what_a_provider_sent_an_unknown_object_becomes_null() -> None:
    assert known_to_json({"a": [1, Plain()]}) == {"a": [1, None]}
