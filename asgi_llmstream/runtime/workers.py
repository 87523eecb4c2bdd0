"""Worker processes that are told to end by something else than a signal: hypercorn's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["told_to_end"]


def told_to_end() -> Callable[[], bool] | None:
    """Return what tells whether this worker process is told to end; None if only signals do.

    hypercorn's parent never signals its workers: it sets an event, which each of them looks at
    ten times a second. From Python 3.12.1 on an asyncio one then waits for its open connections
    before its graceful timeout begins, so that nobody ever cancels a stream.

    The event is the worker's argument, and `multiprocessing` keeps that in a private attribute.
    It is only read. Where it is not as expected, hypercorn's own end is all that there is.
    """
    module: Any = sys.modules.get("multiprocessing.process")  # there, if this is a worker
    process = module and module.current_process()
    target = getattr(process, "_target", None)
    if (getattr(target, "__module__", None) or "").partition(".")[0] != "hypercorn":
        return None
    arguments = getattr(process, "_kwargs", None)
    event = arguments.get("shutdown_event") if isinstance(arguments, dict) else None
    is_set: Callable[[], bool] | None = getattr(event, "is_set", None)
    return is_set
