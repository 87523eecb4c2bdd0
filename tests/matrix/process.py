"""A client's process: conversations in, what it was told out, a line each."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["ClientProcess"]

# Seconds after which a client that says nothing has hung. Its own patience is shorter.
_PATIENCE = 60


class ClientProcess:
    """A client's script, started when it is first asked, and again after it hung or died.

    Args:
        command: what to run.
        folder: where.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.Queue[str | None] = queue.Queue()
        self._complaints: list[str] = []

    def __enter__(self) -> ClientProcess:
        return self

    def __exit__(self, *raised: object) -> None:
        self._end()

    def ask(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """Hold one conversation, and return what the client was told of it; an error of type
        "Hung" or "Died" if it says nothing."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(conversation) + "\n")
            process.stdin.flush()
            line = self._said.get(timeout=_PATIENCE)
        except (queue.Empty, OSError) as error:
            return self._lost("Died" if isinstance(error, OSError) else "Hung")
        if line is None:
            return self._lost("Died")
        told: dict[str, Any] = json.loads(line)
        return told

    def _start(self) -> subprocess.Popen[str]:
        self._process = process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_ENVIRONMENT},
        )
        self._said, self._complaints = queue.Queue(), []
        threading.Thread(target=_read, args=(process.stdout, self._said.put), daemon=True).start()
        listen = (process.stderr, self._complaints.append)
        threading.Thread(target=_read, args=listen, daemon=True).start()
        return process

    def _lost(self, how: str) -> dict[str, Any]:
        self._end()
        complaint = "".join(line for line in self._complaints if line)[-1000:]
        return {"turns": [], "ran": [], "error": {"type": how, "message": complaint}}

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


# None of them may talk to anybody else.
_ENVIRONMENT = {
    "NO_PROXY": "127.0.0.1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "DO_NOT_TRACK": "1",
}


def _read(pipe: Any, note: Any) -> None:
    """Every line, and None at the end."""
    try:
        for line in pipe:
            note(line)
    except ValueError:  # closed by `_end`
        pass
    note(None)
