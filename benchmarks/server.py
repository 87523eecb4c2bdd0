"""The server of the socket setting: `python -m benchmarks.server LOOP FD`."""

from __future__ import annotations

import gc
import socket
import sys
import time
from typing import Any

import uvicorn

from .contestants import CONTESTANTS, WORKLOADS


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/contestant/workload/tokens` streams; `/cpu` tells this process's CPU time."""
    if scope["path"] == "/cpu":
        before = time.process_time()
        gc.collect()  # nobody pays for what another left behind
        body = b"%.9f %.9f" % (before, time.process_time())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return
    _, contestant, workload, count = scope["path"].split("/")
    await CONTESTANTS[contestant](WORKLOADS[workload](int(count)))(scope, receive, send)


def main(loop: str, fd: str) -> None:
    # The pairs that uvicorn itself chooses with and without `uvicorn[standard]`.
    http = "httptools" if loop == "uvloop" else "h11"
    config = uvicorn.Config(
        app, loop=loop, http=http, lifespan="off", log_level="error", access_log=False
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(fd))])


if __name__ == "__main__":
    main(*sys.argv[1:])
