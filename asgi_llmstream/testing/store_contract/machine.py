"""The state machine: the same operations on a store and on the model. Wants hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from ...stores import Begun, Behind, Busy, Ended, NewRun, OnBusy, Page, RunState
from ..clock import ManualClock
from .model import Model
from .stage import ADA, BOB, Stage, event, events

__all__ = ["try_operations"]

OWNERS = st.sampled_from([ADA, BOB])
KEYS = st.sampled_from(["", "chat", "another"])
LISTS = [(owner, key) for owner in (ADA, BOB) for key in ("", "chat")]
OUTCOMES = st.sampled_from(["", "", "", "finished", "stopped"])
PICKS = st.sampled_from([0, 0, 0, 1, 1, 2, 5])  # of the runs that began, from the youngest


class Machine(RuleBasedStateMachine):
    """Random operations, each on both; what they answer has to be the same."""

    stage: Stage
    backend: str
    backend_options: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        portal = self._open.enter_context(start_blocking_portal(self.backend, self.backend_options))
        self._call = portal.call
        self.stage.clock = ManualClock()
        if not self._time_is_ours:
            self.stage.lease = self.stage.retention = 3600
        opened = portal.wrap_async_context_manager(self.stage.open(self.stage.clock))
        self._store = self._open.enter_context(opened)
        self._model = Model(self._store.lease, self.stage.retention)
        self._claims: dict[tuple[str, str], int] = {}
        self._begun: list[NewRun] = []

    def teardown(self) -> None:
        self._open.close()

    @rule(
        owner=OWNERS,
        key=KEYS,
        request=st.sampled_from("ab"),
        idempotency_key=st.sampled_from(["", "", "once"]),
        on_busy=st.sampled_from(["replace", "refuse"]),
    )
    def begin(
        self, owner: str, key: str, request: str, idempotency_key: str, on_busy: OnBusy
    ) -> None:
        id = f"run {len(self._begun)}"
        new = NewRun(
            owner=owner, id=id, key=key, request=request, idempotency_key=idempotency_key, created=1
        )
        self._begun.append(new)
        self._begin(new, on_busy)

    @precondition(lambda self: self._claims)
    @rule(pick=PICKS)
    def begin_again(self, pick: int) -> None:
        new = self._pick(pick)
        if _answer(lambda: self._model.find(new.owner, new.id)) != "UnknownRun":
            self._begin(new, "replace")  # an id that was forgotten is never used again

    def _begin(self, new: NewRun, on_busy: OnBusy) -> None:
        expected = _answer(lambda: self._model.begin(new, on_busy))
        found = _answer(lambda: self._call(self._begin_there, new, on_busy))
        if isinstance(found, Begun) and found.epoch:
            name = (new.owner, new.id)
            assert self._claims.setdefault(name, found.epoch) == found.epoch
            found = found._replace(epoch=True)
        assert found == expected

    async def _begin_there(self, new: NewRun, on_busy: OnBusy) -> Begun:
        return await self._store.begin(new, on_busy=on_busy)

    @precondition(lambda self: self._claims)
    @rule(pick=PICKS, many=st.integers(1, 4), outcome=OUTCOMES)
    def append(self, pick: int, many: int, outcome: str) -> None:
        new = self._pick(pick)
        self._append(new, new.owner, self._known(new)[0], many, outcome)

    @precondition(lambda self: self._claims)
    @rule(pick=PICKS, back=st.integers(1, 3), many=st.integers(0, 5), outcome=OUTCOMES)
    def append_again(self, pick: int, back: int, many: int, outcome: str) -> None:
        new = self._pick(pick)
        self._append(new, new.owner, max(0, self._known(new)[0] - back), many, outcome)

    @precondition(lambda self: self._claims)
    @rule(pick=PICKS, many=st.integers(0, 2), is_ahead=st.booleans(), owner=OWNERS)
    def append_wrongly(self, pick: int, many: int, is_ahead: bool, owner: str) -> None:
        new = self._pick(pick)
        last, _ = self._known(new)
        if is_ahead:
            self._append(new, owner, last + 1, many, "")
        else:
            self._append(new, owner, last, many, "", claims=False)

    def _append(
        self, new: NewRun, owner: str, after: int, many: int, outcome: str, claims: bool = True
    ) -> None:
        last, is_live = self._known(new)
        more = events(after + 1, after + many)
        if not many or (is_live and after + many <= last):
            outcome = ""  # a terminal is an event that the store has not
        if outcome:
            more[-1] = outcome.encode()
        epoch = self._claims[new.owner, new.id] + (0 if claims else 7)
        self._both("append", owner, new.id, (epoch, claims), after, more, outcome)

    @precondition(lambda self: self._claims)
    @rule(pick=PICKS, back=st.sampled_from([0, 0, 0, 1, -1]), is_lost=st.booleans())
    def seal(self, pick: int, back: int, is_lost: bool) -> None:
        if is_lost and self._time_is_ours:
            self._let_pass(self._store.lease * 1.2)
        new = self._pick(pick)
        after = max(0, self._known(new)[0] - back)
        self._both("seal", new.owner, new.id, after, [event(after + 1), b"lost"], "producer_lost")

    @precondition(lambda self: self._claims)
    @rule(
        pick=PICKS,
        owner=st.none() | OWNERS,
        after=st.integers(0, 10),
        limit=st.integers(1, 4) | st.just(100),
    )
    def read(self, pick: int, owner: str | None, after: int, limit: int) -> None:
        new = self._pick(pick)
        self._both("read", new.owner if owner is None else owner, new.id, after, limit)

    @precondition(lambda self: self._claims)
    @rule(pick=PICKS, owner=st.none() | OWNERS)
    def stop(self, pick: int, owner: str | None) -> None:
        new = self._pick(pick)
        self._both("stop", new.owner if owner is None else owner, new.id)

    @precondition(lambda self: len(self._claims) > 2)
    @rule(pick=PICKS, owner=OWNERS)
    def forget(self, pick: int, owner: str) -> None:
        self._both("forget", owner, self._pick(pick + 1).id)

    @invariant()
    def all_that_is_seen_is_the_same(self) -> None:
        expected = [self._model.list_runs(owner, key) for owner, key in LISTS]
        assert [
            [_timeless(state) for state in found] for found in self._call(self._lists)
        ] == expected
        for new in self._begun[-2:]:
            self._both("read", new.owner, new.id, 0, 1000)

    async def _lists(self) -> list[list[RunState]]:
        return [await self._store.list_runs(owner, key) for owner, key in LISTS]

    @precondition(lambda self: self._time_is_ours)
    @rule(leases=st.sampled_from([0.3, 0.7, 1.2]), retentions=st.sampled_from([0, 0, 0, 0.6, 1.1]))
    def pass_time(self, leases: float, retentions: float) -> None:
        self._let_pass(leases * self._store.lease + retentions * self.stage.retention)

    # What the rules stand on.

    @property
    def _time_is_ours(self) -> bool:
        return type(self.stage).pass_time is Stage.pass_time

    def _let_pass(self, seconds: float) -> None:
        self._model.pass_time(seconds)
        self._call(self.stage.pass_time, seconds)

    def _pick(self, pick: int) -> NewRun:
        begun = [new for new in reversed(self._begun) if (new.owner, new.id) in self._claims]
        return begun[pick % len(begun)]

    def _known(self, new: NewRun) -> tuple[int, bool]:
        found = _answer(lambda: self._model.find(new.owner, new.id).state)
        return (found.last, found.is_live) if isinstance(found, RunState) else (2, True)

    def _both(self, method: str, *arguments: Any) -> None:
        """Call the method on both; a pair is an argument that each has its own way to say."""
        of_store = [value[0] if isinstance(value, tuple) else value for value in arguments]
        of_model = [value[1] if isinstance(value, tuple) else value for value in arguments]
        expected = _answer(lambda: getattr(self._model, method)(*of_model))
        found = _answer(lambda: self._call(getattr(self._store, method), *of_store))
        assert found == expected


def _answer(ask: Callable[[], Any]) -> Any:
    """Return what it returns or raises, so that it can be compared."""
    try:
        answer = ask()
    except Behind as error:
        return f"Behind {error.last}"
    except (Busy, Ended) as error:
        return type(error).__name__, _timeless(error.state)
    except Exception as error:
        return type(error).__name__
    if isinstance(answer, Begun | Page):
        return answer._replace(state=_timeless(answer.state))
    if isinstance(answer, list):
        return [_timeless(state) for state in answer]
    return _timeless(answer) if isinstance(answer, RunState) else answer


def _timeless(state: RunState) -> RunState:
    assert (state.expires is None) is state.is_live or state.expires is None
    return replace(state, expires=None)


def try_operations(
    of_stage: Stage, of_backend: str, options: dict[str, Any], phases: Collection[Phase] = (*Phase,)
) -> None:
    """Try as many sequences as the stage wants; the shortest that fails is shown."""

    class Operations(Machine):
        stage = of_stage
        backend = of_backend
        backend_options = options

    run_state_machine_as_test(
        Operations,
        settings=settings(
            max_examples=of_stage.random_examples,
            stateful_step_count=40,
            deadline=None,
            phases=phases,
            suppress_health_check=[*HealthCheck],
        ),
    )
