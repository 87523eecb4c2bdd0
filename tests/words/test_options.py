"""`StreamOptions`: what it takes and what it does not."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from asgi_llmstream.options import StreamOptions

SECONDS = [
    "commit_after",
    "heartbeat_interval",
    "first_chunk_timeout",
    "idle_timeout",
    "total_timeout",
    "send_timeout",
    "close_timeout",
    "shutdown_grace",
]
COUNTS = ["max_body_size", "max_body_depth", "max_streams", "buffer_events", "buffer_size"]
NEVER_NONE = ["close_timeout", "buffer_events", "buffer_size"]


def make(name: str, value: object) -> StreamOptions:
    fields: dict[str, Any] = {name: value}
    return StreamOptions(**fields)


def test_the_defaults_are_those_of_the_design() -> None:
    options = StreamOptions()
    assert {name: getattr(options, name) for name in SECONDS} == {
        "commit_after": 2,
        "heartbeat_interval": 15,
        "first_chunk_timeout": 120,
        "idle_timeout": 120,
        "total_timeout": None,
        "send_timeout": 30,
        "close_timeout": 5,
        "shutdown_grace": 5,
    }
    assert options.on_disconnect is None  # "cancel", or with a store "complete"
    assert options.max_streams is None


@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, "5", True, b"5", [5]], ids=repr)
@pytest.mark.parametrize("name", SECONDS + COUNTS)
def test_what_is_no_positive_number_is_a_value_error_that_names_the_field(
    name: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a positive number"):
        make(name, value)


@pytest.mark.parametrize("name", [n for n in SECONDS + COUNTS if n not in NEVER_NONE])
def test_none_turns_a_limit_off(name: str) -> None:
    assert getattr(make(name, None), name) is None


@pytest.mark.parametrize("name", NEVER_NONE)
def test_what_must_have_a_limit_cannot_be_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a positive number, not None"):
        make(name, None)


@pytest.mark.parametrize("value", [0.001, 1, 1e9])
@pytest.mark.parametrize("name", SECONDS)
def test_seconds_may_be_whole_or_not(name: str, value: float) -> None:
    assert getattr(make(name, value), name) == value


@pytest.mark.parametrize("name", COUNTS)
def test_counts_may_be_as_small_as_one(name: str) -> None:
    assert getattr(make(name, 1), name) == 1


@pytest.mark.parametrize("policy", ["cancel", "complete", None])
def test_the_policies_for_a_disconnect_are_known(policy: str | None) -> None:
    assert make("on_disconnect", policy).on_disconnect == policy


@pytest.mark.parametrize("policy", ["detach", "", 1, ["cancel"]])
def test_an_unknown_policy_is_a_value_error_that_names_the_field(policy: object) -> None:
    with pytest.raises(ValueError, match=r"^on_disconnect must be"):
        make("on_disconnect", policy)


def test_a_changed_copy_is_checked_as_well() -> None:
    options = msgspec.structs.replace(StreamOptions(), idle_timeout=3)
    assert options.idle_timeout == 3
    with pytest.raises(ValueError, match=r"^idle_timeout"):
        msgspec.structs.replace(options, idle_timeout=0)


def test_options_are_frozen_and_named() -> None:
    with pytest.raises(AttributeError):
        StreamOptions().idle_timeout = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        StreamOptions(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="hearbeat_interval"):
        make("hearbeat_interval", 3)
