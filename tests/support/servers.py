"""Real servers over real sockets, in a thread of this process so that tests can look inside.

`serve(app, kind)` gives the address; leaving it stops the server. Signals, worker processes and
reloading need a process of their own and are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import granian.constants
import granian.server.embed
import hypercorn.asyncio
import hypercorn.trio
import trio
import uvicorn
from hypercorn.config import Config as HypercornConfig

KINDS = ("uvicorn", "hypercorn-asyncio", "hypercorn-trio", "granian")


@contextlib.contextmanager
def serve(
    app: Any, kind: str = "uvicorn", *, send_buffer: int | None = None, **settings: Any
) -> Iterator[str]:
    """Serve `app` until the block is left; yields its address, "http://127.0.0.1:PORT".

    Args:
        kind: one of KINDS.
        send_buffer: how many bytes the kernel takes of a connection before its reader does; as
            many as it likes if left out. granian's cannot be set.
        settings: of the server's own configuration.
    """
    stopper = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _RUNNERS[kind](app, listener, port, stopper, settings)
        except BaseException as error:
            failures.append(error)

    with _bound() as listener:
        port = listener.getsockname()[1]
        if send_buffer is not None:  # which its connections inherit
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if kind == "granian":
            _release(listener)
        else:
            listener.listen(128)
        thread = threading.Thread(target=run, name=kind, daemon=True)
        thread.start()
        try:
            _wait_until_it_accepts(port, thread, failures)
            yield f"http://127.0.0.1:{port}"
        finally:
            stopper.set()
            thread.join(20)
    assert not thread.is_alive(), f"{kind} did not stop"
    if failures:
        raise failures[0]


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port for a server that binds by itself."""
    with _bound() as listener:
        port = listener.getsockname()[1]
        _release(listener)
        yield port


def _bound() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


def _release(listener: socket.socket) -> None:
    """Let a server bind its port. On Linux it may do so beside us, and until then the port is given
    to nobody else: many servers start at the same time."""
    if sys.platform != "linux":
        listener.close()


def _wait_until_it_accepts(
    port: int, thread: threading.Thread, failures: list[BaseException]
) -> None:
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up and thread.is_alive():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("the server did not start") from (failures[0] if failures else None)


async def _stopped(stopper: threading.Event) -> None:
    await asyncio.get_running_loop().run_in_executor(None, stopper.wait)


def _uvicorn(
    app: Any, listener: socket.socket, port: int, stopper: threading.Event, settings: Any
) -> None:
    settings = {
        "log_level": "warning",
        "lifespan": "auto",
        "timeout_graceful_shutdown": 3,
    } | settings
    server = uvicorn.Server(uvicorn.Config(app, **settings))

    async def main() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await _stopped(stopper)
        server.should_exit = True
        await serving

    loop_factory = server.config.get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def _hypercorn_config(listener: socket.socket, settings: Any) -> HypercornConfig:
    config = HypercornConfig.from_mapping({"graceful_timeout": 3, "loglevel": "WARNING"} | settings)
    # It closes the descriptor that it is given.
    config.bind = [f"fd://{listener.dup().detach()}"]
    return config


def _hypercorn_asyncio(
    app: Any, listener: socket.socket, port: int, stopper: threading.Event, settings: Any
) -> None:
    config = _hypercorn_config(listener, settings)
    asyncio.run(hypercorn.asyncio.serve(app, config, shutdown_trigger=lambda: _stopped(stopper)))


def _hypercorn_trio(
    app: Any, listener: socket.socket, port: int, stopper: threading.Event, settings: Any
) -> None:
    async def stopped() -> None:
        await trio.to_thread.run_sync(stopper.wait, abandon_on_cancel=True)

    async def main() -> None:
        config = _hypercorn_config(listener, settings)
        await hypercorn.trio.serve(app, config, shutdown_trigger=stopped)

    trio.run(main)


def _granian(
    app: Any, listener: socket.socket, port: int, stopper: threading.Event, settings: Any
) -> None:
    async def main() -> None:
        server = granian.server.embed.Server(
            app,
            address="127.0.0.1",
            port=port,
            interface=granian.constants.Interfaces.ASGI,
            log_enabled=False,
            **settings,
        )
        serving = asyncio.create_task(server.serve())
        await _stopped(stopper)
        server.stop()
        await serving

    asyncio.run(main())


_RUNNERS: dict[str, Callable[..., None]] = {
    "uvicorn": _uvicorn,
    "hypercorn-asyncio": _hypercorn_asyncio,
    "hypercorn-trio": _hypercorn_trio,
    "granian": _granian,
}
