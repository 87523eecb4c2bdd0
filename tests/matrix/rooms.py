"""Where each client lives: a venv or a `node_modules` of its own, kept for the next time.

A room is made anew when the packages that it is to hold have changed. `--fresh` makes all anew,
which brings the clients' newest versions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .table import Client

__all__ = ["CLIENTS_FOLDER", "DEFAULT_CACHE", "command", "furnish"]

CLIENTS_FOLDER = Path(__file__).parent / "clients"
DEFAULT_CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asgi-llmstream" / "matrix"
)
# npm asks which packages may run their install scripts: `node` needs its own.
_PACKAGE_JSON = '{"private": true, "type": "module", "allowScripts": {"node": true}}\n'

# Seconds after which an installation has hung.
_PATIENCE = 900


def furnish(client: Client, cache: Path, *, fresh: bool = False) -> Path:
    """The client's room, with its packages installed.

    Raises:
        RuntimeError: if they cannot be.
    """
    room = cache / client.name
    stamp = room / ".installed"
    wanted = " ".join(client.packages)
    if not fresh and stamp.exists() and stamp.read_text() == wanted:
        return room
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    for line in _installing(client, room):
        done = subprocess.run(
            line,
            cwd=room,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise RuntimeError(f"{client.name} cannot be installed:\n{done.stderr[-2000:]}")
    stamp.write_text(wanted)
    return room


def _installing(client: Client, room: Path) -> list[list[str]]:
    if client.language == "python":
        pip = [str(_python(room)), "-m", "pip", "install", "--quiet"]
        return [[sys.executable, "-m", "venv", str(room)], [*pip, *client.packages]]
    (room / "package.json").write_text(_PACKAGE_JSON)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    return [[*npm, "node@>=22", *client.packages]]


def _python(room: Path) -> Path:
    return room / "bin" / "python"


def command(client: Client, room: Path) -> list[str]:
    """The command for the client's script in `room`; the API and the address come behind it."""
    if client.language == "python":
        return [str(_python(room)), str(CLIENTS_FOLDER / client.script)]
    # Node looks for packages beside the script that wants them.
    for script in CLIENTS_FOLDER.glob("*.mjs"):
        shutil.copy(script, room)
    return [str(room / "node_modules" / ".bin" / "node"), client.script]
