"""Runs of a lifecycle, told in a word or two for each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from asgi_llmstream.chunks import Chunk
from asgi_llmstream.events import (
    Event,
    ItemAdded,
    NativeAdded,
    Part,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAborted,
    RunFailed,
    RunFinished,
    RunStarted,
    StepEnded,
    StepStarted,
    Terminal,
    UsageReported,
)
from asgi_llmstream.lifecycle import Lifecycle
from asgi_llmstream.sources import public_error


def new(offered: Collection[str] | None = None) -> Lifecycle:
    return Lifecycle(id="run", created=1700000000, model="m", offered=offered)


def started(offered: Collection[str] | None = None) -> Lifecycle:
    lifecycle = new(offered)
    lifecycle.start()
    return lifecycle


def run(*chunks: Chunk) -> list[Event]:
    """All events of a producer that yields `chunks` and returns, checked for their order."""
    lifecycle = new()
    events = lifecycle.start()
    for chunk in chunks:
        events += lifecycle.feed(chunk)
    if not lifecycle.ended:
        events += lifecycle.finish()
    check_order(events)
    return events


def told(*chunks: Chunk) -> list[str]:
    """What `run` gives between the run's first event and its last, a word or two for each."""
    return [_word(event) for event in run(*chunks)[1:-1]]


def words(events: Iterable[Event]) -> list[str]:
    return [_word(event) for event in events]


def _word(event: Event) -> str:
    match event:
        case StepStarted(step=step, name=name):
            return f"step {step}" + (f" {name}" if name else "")
        case StepEnded(step=step):
            return f"step {step} ends"
        case PartStarted(part=part):
            return f"{_part(part)} opens" + (f" as {part.name}" if part.name else "")
        case PartDelta(part=part, text=text):
            return f"{_part(part)} + {text}"
        case PartEnded(part=part, text=text):
            return f"{_part(part)} = {text}"
        case ItemAdded(item=item):
            return f"item {type(item).__name__}"
        case UsageReported(usage=usage):
            return f"usage {usage.input_tokens}/{usage.output_tokens}"
        case RunFinished(reason=reason):
            return f"finished {reason}"
        case RunFailed(code=code):
            return f"failed {code}"
        case RunAborted(reason=reason):
            return f"aborted {reason}"
    return "run"


def _part(part: Part) -> str:
    return f"{part.kind} {part.ordinal}"


def check_order(events: list[Event]) -> None:
    """Hold a whole stream against every promise of `events`."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [i for i, event in enumerate(events) if isinstance(event, RunStarted)] == [0]
    terminals = [i for i, event in enumerate(events) if isinstance(event, Terminal)]
    assert terminals == [len(events) - 1]

    step, step_open = -1, False
    parts: list[Part] = []
    ordinals: Counter[str] = Counter()
    pieces: dict[int, list[str]] = {}  # of the parts that are open
    for event in events[1:-1]:
        match event:
            case StepStarted():
                assert not step_open
                assert event.step == step + 1
                step, step_open = event.step, True
            case StepEnded():
                assert step_open
                assert event.step == step
                assert not pieces
                step_open = False
            case PartStarted(part=part):
                assert step_open
                assert (part.index, part.step) == (len(parts), step)
                assert part.ordinal == ordinals[part.kind]
                ordinals[part.kind] += 1
                if part.kind == "tool_call":
                    assert all(parts[i].kind == "tool_call" for i in pieces)
                else:
                    assert not pieces
                parts.append(part)
                pieces[part.index] = []
            case PartDelta(part=part, text=text):
                assert text
                assert part == parts[part.index]
                pieces[part.index].append(text)
            case PartEnded(part=part, text=text):
                assert part == parts[part.index]
                assert text == "".join(pieces.pop(part.index))
            case ItemAdded():
                assert step_open
            case _:
                assert isinstance(event, UsageReported | NativeAdded)
    assert not step_open
    assert not pieces


def run_as_generation_does(chunks: Iterable[Chunk]) -> tuple[list[Event], Exception | None]:
    lifecycle, raised = new(), None
    events = lifecycle.start()
    try:
        for chunk in chunks:
            events += lifecycle.feed(chunk)
            if lifecycle.ended:
                return events, None
        events += lifecycle.finish()
    except Exception as error:
        raised = error
        events += lifecycle.fail(public_error(error))
    return events, raised
