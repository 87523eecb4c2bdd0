"""What every store must hold: tests to be run on one's own.

    from contextlib import asynccontextmanager
    from asgi_llmstream.testing.store_contract import StoreContract

    class TestMyStore(StoreContract):
        @asynccontextmanager
        async def open(self, clock):
            yield MyStore(lease=self.lease, retention=self.retention, clock=clock)

pytest collects its tests, and runs each on the backends of the fixture `anyio_backend` (anyio's own
pytest plugin). It wants nothing more; the test with random operations wants hypothesis, and is
skipped where that is not installed.
"""

import pytest

# Before they are imported: so that pytest shows what an `assert` compared.
pytest.register_assert_rewrite(
    *[
        f"{__name__}.{room}"
        for room in ("ending", "machine", "reading", "starting", "waiting", "writing")
    ]
)

from .ending import Ending  # noqa: E402
from .operations import RandomOperations  # noqa: E402
from .reading import Reading  # noqa: E402
from .starting import Starting  # noqa: E402
from .waiting import Waiting  # noqa: E402
from .writing import Writing  # noqa: E402

__all__ = ["StoreContract"]


class StoreContract(Starting, Writing, Ending, Reading, Waiting, RandomOperations):
    """Tests of a store. Subclass it, name the class `Test…`, and write `open`; see `Stage`."""
