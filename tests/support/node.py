"""The clients for Node in `tests/clients/node`, as a test runs them: it imports the fixture `node`,
and calls it with a script and its arguments, `out = node("ui.mjs", url, "prompt")`. `bundle` makes
a page's script of a module that imports packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.services import need

__all__ = ["Run", "bundle", "node"]

Run = Callable[..., dict[str, Any]]
"""Runs a script of `tests/clients/node` with arguments; gives the JSON that it printed last."""

CLIENTS = Path(__file__).parents[1] / "clients" / "node"

# Seconds after which a script, or an installation, has hung.
_PATIENCE = 60
_INSTALL_PATIENCE = 300


@pytest.fixture(scope="session")
def node() -> Run:
    """Run a client; skips the test where Node is not installed. Import it to use it."""
    need("Node", shutil.which("npm") is not None)
    _install()
    return _run


def bundle(module: Path, script: Path) -> None:
    """Write the script of a page: the module with all that it imports. For users of `node`."""
    modules = CLIENTS / "node_modules"
    done = subprocess.run(
        [str(modules / ".bin" / "esbuild"), str(module), "--bundle", "--jsx=automatic",
         "--format=esm", f"--outfile={script}"],
        env={**os.environ, "NODE_PATH": str(modules), "PATH": f"{modules / '.bin'}:{os.defpath}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _install() -> None:
    """Bring `node_modules` up to date with package.json, once for several test runs."""
    import fcntl  # not on Windows, where nobody runs these yet

    package = CLIENTS / "package.json"
    stamp = CLIENTS / "node_modules" / ".installed"
    with package.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)  # two runs at the same time would spoil both
        wanted = locked.read()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund"],
            cwd=CLIENTS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_PATIENCE,
        )
        need(f"the npm registry:\n{done.stderr[-2000:]}\n(this)", done.returncode == 0)
        stamp.write_text(wanted)


def _run(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(CLIENTS / "node_modules" / ".bin" / "node"), script, *arguments],
        cwd=CLIENTS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_PATIENCE,
    )
    lines = done.stdout.strip("\n").split("\n")  # answers may hold what splitlines cuts at
    assert done.returncode == 0, f"{script}: exit code {done.returncode}\n{done.stderr}"
    assert lines[-1], f"{script} printed nothing:\n{done.stderr}"
    out: dict[str, Any] = json.loads(lines[-1])
    return out
