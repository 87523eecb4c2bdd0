from contextlib import asynccontextmanager

from asgi_llmstream.stores import MemoryStore
from asgi_llmstream.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    max_events = 100

    @asynccontextmanager
    async def open(self, clock):
        yield MemoryStore(retention=self.retention, max_events=self.max_events, clock=clock)
