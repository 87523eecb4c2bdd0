"""Who may ask the demo: with a real key each answer costs its owner money.

A page of another site can have the visitor's browser ask: across sites, which `Origin` or
`Sec-Fetch-Site` tells (Fetch standard; Fetch Metadata), or under a name of its own that it has
resolve to this machine (DNS rebinding), which `Host` tells. An address is nobody's name.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..asgi.http import Scope

__all__ = ["refusal"]

_OTHER_NAME = (
    "This demo answers to localhost and to addresses, as http://127.0.0.1. "
    "Is it called something else? Start it with --allow-host NAME.\n"
)
_OTHER_SITE = (
    "Pages of other sites may not ask this demo. Open its own page at /, "
    "or ask from a program instead of a browser.\n"
)


def refusal(scope: Scope, names: Collection[str], *, is_page: bool) -> str | None:
    """Return why a request is refused, and what to do; None if it is not.

    Args:
        names: the hosts' names that the demo answers to besides.
        is_page: whether it asks for the page, which costs nothing, and to which sites may link.
    """
    headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
    host = headers.get(b"host")
    if host is not None and not _is_ours(host, names):
        return _OTHER_NAME
    return _OTHER_SITE if not is_page and _is_of_another_site(headers, host) else None


def _is_of_another_site(headers: dict[bytes, str], host: str | None) -> bool:
    origin = headers.get(b"origin")
    if origin is not None and origin.partition("://")[2] != host:
        return True
    return headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin")


def _is_ours(host: str, names: Collection[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name in names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
