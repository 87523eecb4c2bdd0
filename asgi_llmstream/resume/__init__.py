"""Runs that outlive their requests: kept by a store, owned by a process, read by anybody who may.

Private.
"""

from .cursor import Cursor
from .following import Following
from .host import Host, NotRunning

__all__ = ["Cursor", "Following", "Host", "NotRunning"]
