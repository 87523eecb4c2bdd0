"""Pages of other origins: which may ask, and read the answer (Fetch standard, section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable

from ..errors import Forbidden
from .http import ASGIMessage, RawHeaders, Scope, Send

__all__ = ["Cors"]

# Response headers that a page's script may read beside those that it always may.
_EXPOSED = (
    b"retry-after, x-should-retry, x-run-id, location, x-workflow-run-id, "
    b"x-workflow-stream-tail-index"
)
# Seconds for which a browser need not ask again whether it may.
_MAX_AGE = b"600"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


class Cors:
    """The origins whose pages may use an application.

    Args:
        origins: as browsers write them, "http://localhost:5173"; "*" stands for all of them, and
            then browsers send no cookies along.

    Raises:
        TypeError: if it is one text.
        ValueError: if one is no origin.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        if isinstance(origins, str):
            raise TypeError(f"cors is a list of origins: write [{origins!r}]")
        self._origins = frozenset(map(_checked, origins))

    def check_site(self, scope: Scope) -> None:
        """Refuse what the page of another site asked for, by a link or an image for one: browsers
        send that with its visitor's cookies, and do not ask first.

        A request that a browser sends for a page of the same site passes, and so does one of which
        nothing is told (Fetch Metadata, section 2.4: older browsers, and all other clients).

        Raises:
            Forbidden: if it is such a one, and its origin may not.
        """
        if _header(scope, b"sec-fetch-site") == b"cross-site" and not self._admitted(scope):
            raise Forbidden(
                "A page of another site asked for this, which its visitor would pay for. "
                "If it may, the server names its origin in ChatApp(cors=[...]).",
                code="cross_site",
            )

    def allowing(self, scope: Scope, send: Send) -> Send:
        """Return a `send` that tells the browser whether the page may read the answer."""
        headers = self._headers(scope)
        if not headers:
            return send

        def send_on(message: ASGIMessage) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            return send(message)

        return send_on

    def preflight(self, scope: Scope, methods: Iterable[str]) -> RawHeaders:
        """Return the further headers of an answer to OPTIONS: whatever a client's library wants
        to send along, it may."""
        if not self._admitted(scope) or not _header(scope, b"access-control-request-method"):
            return ()
        wanted = _header(scope, b"access-control-request-headers")
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode("ascii")),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", _MAX_AGE),
        )

    def _headers(self, scope: Scope) -> RawHeaders:
        if not self._origins:
            return ()
        admitted = self._admitted(scope)
        if admitted == b"*":
            return (
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", _EXPOSED),
            )
        vary = (b"vary", b"origin")
        if not admitted:
            return (vary,)
        return (
            vary,
            (b"access-control-allow-origin", admitted),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED),
        )

    def _admitted(self, scope: Scope) -> bytes:
        """Return the origin that may ask, or "*"; empty if this one may not."""
        if "*" in self._origins:
            return b"*"
        origin = _header(scope, b"origin")
        return origin if origin.decode("latin-1") in self._origins else b""


def _checked(origin: str) -> str:
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"not an origin: {origin!r}. A browser writes scheme, host and port, without a path, "
            "as in 'http://localhost:5173'"
        )
    return origin


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
