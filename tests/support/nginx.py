"""A real nginx in front of a server that a test runs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.services import need

__all__ = ["running_nginx"]

# Seconds after which a start or an end has hung.
_PATIENCE = 30

_CONFIG = """
daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    {server}
}}
"""


@contextmanager
def running_nginx(server: str, port: int, root: Path) -> Iterator[None]:
    """Run nginx until the block is left, with its files below `root`.

    Args:
        server: what stands in its `http` block beside the paths.
        port: the one that `server` listens on.
    """
    # Debian's is in /usr/sbin, which is not on everybody's PATH.
    path = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    need("nginx", path is not None)
    assert path is not None
    # Its workers would be nobody's, whom pytest's directories keep out.
    user = "user root;" if os.geteuid() == 0 else ""
    config = root / "nginx.conf"
    config.write_text(_CONFIG.format(root=root, user=user, server=server))
    process = subprocess.Popen(
        [path, "-e", str(root / "error.log"), "-p", str(root), "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_until_it_accepts(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait_until_it_accepts(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    process.kill()
    output = process.communicate()[0]
    raise RuntimeError(f"nginx did not start: {output.decode()}")
