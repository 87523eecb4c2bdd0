"""One log with followers: who sees what, who waits for whom, and what is forgotten."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmstream.events import Event, Part, PartDelta
from asgi_llmstream.runtime import Forgotten, Log
from asgi_llmstream.testing import settle

pytestmark = pytest.mark.anyio

PART = Part(0, "text", 0, 0, "text_0")


def deltas(first: int, last: int, text: str = "x") -> list[Event]:
    return [PartDelta(number, PART, text) for number in range(first, last + 1)]


def numbers(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


async def test_every_follower_takes_every_event_once_and_in_order() -> None:
    log = Log(100, 1000)
    first, second = log.follow(), log.follow()
    log.append(deltas(1, 3))
    assert numbers(first.take()) == [1, 2, 3]
    log.append(deltas(4, 5))
    assert numbers(first.take()) == [4, 5]
    assert numbers(second.take()) == [1, 2, 3, 4, 5]
    assert first.take() == second.take() == []


async def test_a_follower_begins_behind_its_cursor() -> None:
    log = Log(100, 1000, kept=True)
    log.append(deltas(1, 5))
    assert numbers(log.follow(3).take()) == [4, 5]
    assert log.follow(5).take() == []


async def test_nobody_follows_from_an_event_that_is_yet_to_come() -> None:
    log = Log(100, 1000)
    with pytest.raises(ValueError, match="no event 1 yet"):
        log.follow(1)


async def test_what_every_holding_follower_has_is_forgotten() -> None:
    log = Log(100, 1000)
    first, second = log.follow(), log.follow()
    log.append(deltas(1, 4))
    first.take()
    third = log.follow(2)
    assert numbers(third.take()) == [3, 4]
    third.leave()
    second.take()
    log.append(deltas(5, 6))
    second.take()
    first.take()
    with pytest.raises(Forgotten, match="before 7"):
        log.follow(5)


async def test_a_kept_log_forgets_nothing() -> None:
    log = Log(2, 2, kept=True)
    follower = log.follow()
    log.append(deltas(1, 9))
    follower.take()
    follower.leave(had_the_end=True)
    log.append(deltas(10, 11))
    assert numbers(log.follow().take()) == [*range(1, 12)]


async def test_a_log_that_nobody_follows_keeps_nothing_and_holds_nobody_up() -> None:
    log = Log(2, 2)
    log.append(deltas(1, 9))
    assert not log.full
    with pytest.raises(Forgotten):
        log.follow()
    assert log.follow(9).take() == []


@pytest.mark.parametrize(("events", "text"), [(3, "x"), (1, "xxx")])
async def test_the_writer_waits_for_the_slowest_that_holds_and_for_nobody_else(
    events: int, text: str
) -> None:
    log = Log(3, 3)
    fast, slow, loose = log.follow(), log.follow(), log.follow(holds=False)
    log.append(deltas(1, events, text))
    assert log.full
    fast.take()
    loose.take()
    assert log.full
    slow.take()
    assert not log.full
    log.append(deltas(events + 1, 2 * events, text))
    fast.take()
    slow.take()
    assert not log.full  # `loose` has taken nothing


@pytest.mark.parametrize("way", ["take", "leave"])
async def test_room_is_there_when_the_slowest_takes_or_leaves(way: str) -> None:
    log = Log(3, 1000)
    slow = log.follow()
    log.append(deltas(1, 3))
    came: list[str] = []

    async def write() -> None:
        await log.room()
        came.append("room")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await settle()
        assert came == []
        getattr(slow, way)()
        with anyio.fail_after(5):
            await settle()
        assert came == ["room"]


async def test_a_follower_that_does_not_hold_may_be_as_far_behind_as_the_log_is_large() -> None:
    log = Log(4, 1000)
    loose = log.follow(holds=False)
    log.append(deltas(1, 4))
    log.append(deltas(5, 5))
    with pytest.raises(Forgotten, match="before 2"):
        loose.take()
    other = log.follow(1, holds=False)
    assert numbers(other.take()) == [2, 3, 4, 5]


async def test_followers_see_what_is_published_and_its_publisher_all() -> None:
    log = Log(100, 1000, published_later=True)
    follower, publisher = log.follow(), log.follow(ahead=True)
    log.append(deltas(1, 3))
    assert follower.take() == []
    assert numbers(publisher.take()) == [1, 2, 3]
    log.publish(2)
    assert numbers(follower.take()) == [1, 2]
    log.append(deltas(4, 4))
    log.publish(4)
    assert numbers(follower.take()) == [3, 4]


async def test_news_wake_everybody_who_waits_for_them() -> None:
    log = Log(100, 1000, published_later=True)
    woken: list[str] = []

    async def wait(name: str, ahead: bool) -> None:
        follower = log.follow(ahead=ahead)
        while not follower.take():
            await follower.wait()
        woken.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "one", False)
        tasks.start_soon(wait, "other", False)
        tasks.start_soon(wait, "ahead", True)
        await settle()
        log.append(deltas(1, 1))
        await settle()
        assert woken == ["ahead"]
        log.publish(1)
        await settle()
        assert sorted(woken) == ["ahead", "one", "other"]


async def test_who_has_left_gets_nothing_and_is_waited_for_no_more() -> None:
    log = Log(1, 1000)
    follower = log.follow()
    log.append(deltas(1, 1))
    follower.leave()
    follower.leave()
    assert not log.full
    assert log.left_early
    assert follower.take() == []
    with anyio.fail_after(5):
        await log.read()


async def test_a_reader_that_had_the_end_did_not_leave_early() -> None:
    log = Log(1, 1000)
    log.follow().leave(had_the_end=True)
    log.follow(holds=False).leave()
    assert not log.left_early


@pytest.mark.parametrize(("text", "each"), [("x", 1), ("xxx", 3)])
async def test_a_lone_reader_may_be_as_far_behind_after_each_take(text: str, each: int) -> None:
    log = Log(4 if each == 1 else 100, 12)
    follower = log.follow()
    for first in (1, 5, 9):
        log.append(deltas(first, first + 2, text))
        assert not log.full
        log.append(deltas(first + 3, first + 3, text))
        assert log.full
        follower.take()
        assert not log.full


async def test_a_lone_reader_sees_no_more_than_is_published() -> None:
    log = Log(100, 1000, published_later=True)
    follower = log.follow()
    log.append(deltas(1, 3))
    log.publish(2)
    assert numbers(follower.take()) == [1, 2]
    log.publish(3)
    assert numbers(follower.take()) == [3]


async def test_what_is_not_published_is_not_forgotten_though_its_publisher_has_it() -> None:
    log = Log(100, 1000, published_later=True)
    publisher = log.follow(ahead=True)
    log.append(deltas(1, 3))
    publisher.take()
    log.publish(2)
    assert numbers(log.follow(2, ahead=True).take()) == [3]
    publisher.leave(had_the_end=True)
    log.append(deltas(4, 4))
    log.publish(4)
    with pytest.raises(Forgotten):
        log.follow(2)


async def test_who_begins_late_is_behind_by_what_follows_only() -> None:
    log = Log(100, 10, kept=True)
    log.append(deltas(1, 5, "xxx"))
    late = log.follow(4)
    assert not log.full
    log.append(deltas(6, 8, "xxx"))
    assert log.full
    late.take()
    assert not log.full


async def test_a_second_reader_is_counted_from_what_the_first_has_taken() -> None:
    log = Log(100, 10)
    first = log.follow()
    log.append(deltas(1, 3, "xxx"))
    first.take()
    second = log.follow(3)
    log.append(deltas(4, 5, "xxx"))
    assert not log.full
    second.leave(had_the_end=True)
    assert not log.full


async def test_one_reader_that_left_early_is_enough() -> None:
    log = Log(1, 1000)
    first, second = log.follow(), log.follow()
    first.leave()
    second.leave(had_the_end=True)
    assert log.left_early


async def test_what_is_not_published_yet_wakes_its_publisher_only() -> None:
    log = Log(100, 1000, published_later=True)
    woken: list[str] = []

    async def wait(name: str, ahead: bool) -> None:
        await log.follow(ahead=ahead, holds=ahead).wait()
        woken.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "one", False)
        tasks.start_soon(wait, "ahead", True)
        await settle()
        log.append(deltas(1, 1))
        await settle()
        assert woken == ["ahead"]
        log.publish(1)
        await settle()
        assert woken == ["ahead", "one"]


async def test_what_was_taken_back_is_seen_by_nobody_and_a_closed_log_says_why() -> None:
    log = Log(100, 1000, published_later=True)
    publisher, follower = log.follow(ahead=True), log.follow(holds=False)
    log.append(deltas(1, 3))
    publisher.take()
    log.publish(2)
    log.retract()
    log.close(ConnectionError("away"))
    assert log.last == 2
    assert numbers(follower.take()) == [1, 2]
    for _ in range(2):
        with pytest.raises(ConnectionError, match="away"):
            follower.take()
    follower.leave()
    assert follower.take() == []
