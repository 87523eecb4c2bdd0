"""A small ASGI server in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from json import dumps
from typing import Any, Self
from urllib.parse import unquote

import anyio
import anyio.lowlevel

from ..asgi.http import Scope
from .lifespan import running
from .response import App, Response

__all__ = ["Client"]


class Client:
    """Calls an ASGI application as a server would.

    Enter it (`async with Client(app) as client`) to have the application started, and stopped
    at the end, as one with a store has to be.

    Args:
        app: the application.
        root_path: of the scope; nothing is put in front of the paths for it.
        spec_version: of ASGI, in the scope.
        send_raises_after_disconnect: have `send` raise `OSError` once the client has gone, as
            ASGI 2.4 allows; else it drops the message, as uvicorn does.
        suspend_on_send: let other tasks run at every `send`, as hypercorn and granian do; else
            `send` returns at once, as uvicorn's does.
        headers: of every request; a request's own of the same name win.
        timeout: how many seconds of real time any one wait may take.
    """

    def __init__(
        self,
        app: App,
        *,
        root_path: str = "",
        spec_version: str = "2.3",
        send_raises_after_disconnect: bool = False,
        suspend_on_send: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._app = app
        self._asgi = {"version": "3.0", "spec_version": spec_version}
        self._root_path = root_path
        self._headers = dict(headers or {})
        self._behaviour = (send_raises_after_disconnect, suspend_on_send, timeout)
        self._running = running(app, timeout)

    async def __aenter__(self) -> Self:
        """Start the application.

        Raises:
            RuntimeError: if it knows no lifespan, or its startup failed.
        """
        await self._running.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Stop the application, and wait until it has stopped."""
        return await self._running.__aexit__(*raised)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        raise_app_exceptions: bool = True,
    ) -> AsyncGenerator[Response]:
        """Send a request. The `Response` is there before its headers are: see its `started`.

        Leaving the block disconnects and waits until the app has returned.

        Args:
            method: GET, POST and so on.
            path: percent-encoded where need be; may have a query.
            json: sent as the body, as `application/json`.
            body: sent as it is.
            headers: of this request.
            raise_app_exceptions: leave what the app raises in `Response.error` if false.

        Raises:
            AssertionError: if the app broke the rules of ASGI, also if it caught that itself.
            TimeoutError: if it has not returned in time after the disconnect; it is cancelled.
            Exception: what the app raised, as it is, before what the block raised.
        """
        own = {"host": "testserver"}
        if json is not None:
            body = dumps(json).encode()
            own["content-type"] = "application/json"
        if body is not None:
            own["content-length"] = str(len(body))
        scope = self._scope(method, path, {**own, **self._headers, **(headers or {})})
        response = Response(body or b"", *self._behaviour)
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response._run, self._app, scope)
            try:
                yield response
            except (anyio.get_cancelled_exc_class(), GeneratorExit):
                raise
            except BaseException as error:
                failure = error  # raised below, where no group is put around it
            response.disconnect()
            try:
                await response.returned()
            except TimeoutError as error:
                failure = failure or error
                tasks.cancel_scope.cancel()
        response._raise(failure, raise_app_exceptions)

    async def request(self, method: str, path: str, **arguments: Any) -> Response:
        """Send a request and wait for its end; `arguments` are those of `stream`.

        Raises:
            ConnectionAbortedError: if the app left the response without its end.
            Exception: as `stream` does.
        """
        async with self.stream(method, path, **arguments) as response:
            await response.started()
            await response.read_to_end()
            if not response.complete:
                raise response._ending()
        return response

    def _scope(self, method: str, target: str, headers: Mapping[str, str]) -> Scope:
        path, _, query = target.partition("?")
        named = {name.lower(): value for name, value in headers.items()}
        return {
            "type": "http",
            "asgi": dict(self._asgi),
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": self._root_path,
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in named.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
        }
