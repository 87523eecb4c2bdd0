"""A store as plain as it can be told, for one operation after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...stores import (
    Begun,
    Behind,
    Busy,
    Ended,
    KeyReused,
    LeaseHeld,
    NewRun,
    OnBusy,
    Page,
    RunState,
    Stale,
    UnknownRun,
)

__all__ = ["Model", "ModelRun"]


@dataclass(eq=False)
class ModelRun:
    """A run; `over` is when its lease is over, or it ended."""

    new: NewRun
    over: float
    replaced: str = ""
    events: list[bytes] = field(default_factory=list)
    outcome: str = ""
    stopping: bool = False
    sealed: bool = False

    @property
    def state(self) -> RunState:
        """Its state, without `expires`."""
        last = len(self.events)
        return RunState(run=self.new, last=last, outcome=self.outcome, stopping=self.stopping)


class Model:
    """The methods of a `StreamStore`; but a claim is told by True, and none by False."""

    def __init__(self, lease: float, retention: float) -> None:
        self._lease = lease
        self._retention = retention
        self._now = 0.0
        self._runs: list[ModelRun] = []

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self._runs = [run for run in self._runs if run.over + self._retention > self._now]

    def begin(self, new: NewRun, on_busy: OnBusy) -> Begun:
        own = [run for run in self._runs if run.new.owner == new.owner]
        for run in own:
            if run.new.id == new.id:
                return Begun(run.state, True, run.replaced)
        for run in own:
            if new.idempotency_key and run.new.idempotency_key == new.idempotency_key:
                if run.new.request != new.request:
                    raise KeyReused
                return Begun(run.state, False)
        begun = ModelRun(new, self._now + self._lease)
        for run in own:
            if new.key and run.new.key == new.key and not run.outcome and not run.stopping:
                if self._now < run.over:
                    if run.new.request == new.request:
                        return Begun(run.state, False)
                    if on_busy == "refuse":
                        raise Busy(run.state)
                run.stopping = True
                begun.replaced = run.new.id
        self._runs.append(begun)
        return Begun(begun.state, True, begun.replaced)

    def append(
        self, owner: str, id: str, claims: bool, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        run = self.find(owner, id)
        last = len(run.events)
        if not claims or run.sealed:
            raise Stale
        if after > last:
            raise Behind(last)
        new = events[last - after :]
        if run.outcome:
            if new or (outcome and (outcome != run.outcome or after + len(events) != last)):
                raise Ended(run.state)
            return run.state
        run.events += new
        run.outcome = outcome
        run.over = self._now if outcome else self._now + self._lease
        return run.state

    def seal(
        self, owner: str, id: str, after: int, events: Sequence[bytes], outcome: str
    ) -> RunState:
        run = self.find(owner, id)
        if not run.outcome:
            if self._now < run.over or after != len(run.events):
                raise LeaseHeld
            run.events += events
            run.outcome = outcome
            run.sealed = True
            run.over = self._now
        return run.state

    def read(self, owner: str, id: str, after: int, limit: int) -> Page:
        run = self.find(owner, id)
        return Page(run.state, run.events[after:][:limit])

    def stop(self, owner: str, id: str) -> RunState:
        run = self.find(owner, id)
        run.stopping = run.stopping or not run.outcome
        return run.state

    def list_runs(self, owner: str, key: str) -> list[RunState]:
        own = [run.state for run in reversed(self._runs) if run.new.owner == owner]
        return [state for state in own if not key or state.run.key == key]

    def forget(self, owner: str, id: str) -> None:
        self._runs = [run for run in self._runs if (run.new.owner, run.new.id) != (owner, id)]

    def find(self, owner: str, id: str) -> ModelRun:
        for run in self._runs:
            if (run.new.owner, run.new.id) == (owner, id):
                return run
        raise UnknownRun
