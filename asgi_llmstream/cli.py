"""The command line: `llmstream demo`."""

from __future__ import annotations

import errno
import math
import os
import socket
from typing import NoReturn

from .asgi.app import Answer

try:
    import click
except ModuleNotFoundError:
    raise SystemExit("llmstream needs click: pip install 'asgi-llmstream[demo]'") from None

__all__ = ["main"]

DEFAULT_PORT = 8000
_PORTS_TO_TRY = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="asgi-llmstream")
def main() -> None:
    """Stream LLM output over ASGI, correctly."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--allow-host",
    metavar="NAME",
    multiple=True,
    help="Name that browsers know this machine by, if it is no address; may be repeated.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port to listen on; 0 takes any.  [default: {DEFAULT_PORT}, or the next free one]",
)
def demo(host: str, port: int | None, allow_host: tuple[str, ...]) -> None:
    """A chat page that streams, from OPENAI_API_KEY's provider or from a responder without one.

    \b
    OPENAI_API_KEY   answer from a provider instead of the built-in responder
    OPENAI_BASE_URL  another provider than OpenAI: anything that speaks chat completions
    OPENAI_MODEL     which of its models

    \b
    LLMSTREAM_DEMO_SPEED  how many times faster the built-in responder talks, such as 10
    """
    try:
        from .demo.server import server_of
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        _give_up("the demo needs uvicorn: pip install 'asgi-llmstream[demo]'")
    from .demo.app import Demo

    answer, model, who = _answerer()
    listener = _listen(host, port)
    server = server_of(Demo(answer, model=model, names=allow_host))
    click.echo(_banner(_address(listener), who))
    server.run(sockets=[listener])
    click.echo("Stopped.")


def _answerer() -> tuple[Answer, str, str]:
    """Who answers: the callable, its model's name, and a line that says it to the user."""
    if not os.environ.get("OPENAI_API_KEY"):
        from .demo.responder import Responder

        answer = Responder(speed=_speed())
        return answer, "demo", "the built-in responder (set OPENAI_API_KEY for a real model)"
    from .demo.upstream import openai_answer, openai_model

    try:
        proxy = openai_answer()
    except RuntimeError as error:
        _give_up(str(error))
    model = openai_model()
    where = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    return proxy, model, f"{model} at {where}"


def _speed() -> float:
    given = os.environ.get("LLMSTREAM_DEMO_SPEED") or "1"
    try:
        speed = float(given)
    except ValueError:
        speed = 0
    if not 0 < speed < math.inf:
        _give_up(f"LLMSTREAM_DEMO_SPEED must be a positive number, not {given!r}")
    return speed


def _listen(host: str, port: int | None) -> socket.socket:  # noqa: RET503 (never falls off)
    if port is not None:
        if listener := _bind(host, port):
            return listener
        _give_up(f"port {port} is in use: choose another, or leave --port out to get a free one")
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TO_TRY):
        if listener := _bind(host, candidate):
            return listener
    last = DEFAULT_PORT + _PORTS_TO_TRY - 1
    _give_up(f"ports {DEFAULT_PORT} to {last} are in use: choose another with --port")


def _bind(host: str, port: int) -> socket.socket | None:
    """A listening socket; None if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        _give_up(f"cannot listen on {host}:{port}: {error.strerror or error}")


def _address(listener: socket.socket) -> str:
    """The URL under which a browser on this machine finds the listener."""
    host, port = listener.getsockname()[:2]
    # The wildcard addresses are for listening, not for visiting.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _banner(address: str, who: str) -> str:
    body = '{"stream": true, "messages": [{"role": "user", "content": "What is 12*7?"}]}'
    return f"""
  Page      {address}/
  Answers   {who}

  curl -N '{address}/v1/events?prompt=What+is+12*7%3F'

  curl -N {address}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{body}'

  OpenAI(base_url="{address}/v1", api_key="any")

  Ctrl-C ends it.
"""


def _give_up(message: str) -> NoReturn:
    raise click.ClickException(message)
