"""Callback style → an async iterable: `from_callbacks(produce)`.

`produce(emit)` runs in a task of its own and tells its chunks to `emit`; a bounded buffer stands
between it and the reader.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, wait
from typing import Any

import anyio

from ..backend import Task, caller_from_thread, spawn, wakeup
from ..calls import check_call
from ..chunks import Text
from ..errors import BufferFull, StreamClosed
from .kinds import may_block
from .threads import Worker

__all__ = ["Callbacks", "Emitter", "ThreadEmitter", "from_callbacks"]

Accepted = Callable[[Exception | None], None]

# Seconds after which a waiting thread looks whether its event loop is still there: one that ends
# forgets what it was asked to call.
_LOOK_AGAIN = 0.5


class Emitter:
    """The ear that `produce` tells its chunks to, in its event loop or in a thread.

    Attributes:
        from_thread: the same for other threads alone; blocks them while the reader is behind.
    """

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self.from_thread = ThreadEmitter(buffer)

    def __call__(self, chunk: object) -> Awaitable[None]:
        """Emit a chunk of any kind; waits while the reader is behind. In a plain function, which
        runs in a thread, it has waited when it returns.

        Raises:
            StreamClosed: if the stream is over.
        """
        if self.from_thread.is_elsewhere:
            self.from_thread(chunk)
            return _Done()
        return self._emit(chunk)

    async def _emit(self, chunk: object) -> None:
        answer: list[Exception | None] = []
        accepted = wakeup()

        def accept(error: Exception | None) -> None:
            answer.append(error)
            accepted.set()

        self._buffer.offer(chunk, accept)
        try:
            while not answer:
                await accepted.wait()
        except BaseException:
            self._buffer.withdraw(accept)  # whoever gives up may say it again
            raise
        if answer[0] is not None:
            raise answer[0]

    def text(self, text: str) -> Awaitable[None]:
        """Emit a piece of the answer, as `await emit(text)`."""
        return self(Text(text))

    def nowait(self, chunk: object) -> None:
        """Emit from a sync hook, which cannot wait; one that runs in another thread does.

        Raises:
            BufferFull: if the reader is too far behind; the chunk was not taken.
            StreamClosed: if the stream is over.
        """
        if self.from_thread.is_elsewhere:
            self.from_thread(chunk)
        else:
            self._buffer.put(chunk)

    def text_nowait(self, text: str) -> None:
        """Emit a piece of the answer, as `emit.nowait(text)`."""
        self.nowait(Text(text))


class ThreadEmitter:
    """`emit.from_thread`: emits from other threads than the event loop's."""

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self._call = caller_from_thread()
        self._loops_thread = threading.get_ident()

    @property
    def is_elsewhere(self) -> bool:
        """True in other threads than the event loop's."""
        return threading.get_ident() != self._loops_thread

    def __call__(self, chunk: object) -> None:
        """Emit a chunk of any kind; blocks while the reader is behind.

        Raises:
            StreamClosed: if the stream is over.
            RuntimeError: in the event loop's own thread, which it would block for ever.
        """
        if not self.is_elsewhere:
            raise RuntimeError(
                "emit.from_thread would wait for the event loop that it was called in: "
                "use `await emit(...)` or `emit.nowait(...)` there"
            )
        accepted: Future[None] = Future()

        def accept(error: Exception | None) -> None:
            if error is None:
                accepted.set_result(None)
            else:
                accepted.set_exception(error)

        try:
            self._call(lambda: self._buffer.offer(chunk, accept))
            while not accepted.done():
                wait([accepted], _LOOK_AGAIN)
                self._call(_nothing)
        except RuntimeError:
            if not accepted.done():
                raise StreamClosed("the event loop of this stream is closed") from None
        accepted.result()

    def text(self, text: str) -> None:
        """Emit a piece of the answer."""
        self(Text(text))


class _Done:
    """An awaitable that has nothing to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


Produce = Callable[[Emitter], Any]
"""An async function that is given an `Emitter`; or a plain one, which runs in a thread."""


class Callbacks:
    """An async iterable of what `produce` emits; each iteration runs it anew."""

    def __init__(self, produce: Produce, buffer: int) -> None:
        self._produce = self.__wrapped__ = produce
        self._size = buffer

    def __aiter__(self) -> _Emitted:
        return _Emitted(self._produce, _Buffer(self._size))


def from_callbacks(produce: Produce, *, buffer: int = 64) -> Callbacks:
    """Turn callback style into something to stream.

    The stream ends when `produce` returns and fails when it raises. When the client leaves,
    `produce` is cancelled, and what still emits gets `StreamClosed`.

    Args:
        produce: called with an `Emitter` in a task of its own, in the reader's context. A plain
            function runs in a thread of its own, where `emit(...)` needs no `await`; it cannot be
            interrupted, and gets `StreamClosed` when it next emits.
        buffer: how many chunks may wait for the reader before emitting waits, blocks or raises.

    Raises:
        TypeError: if `produce` cannot be called with an emitter.
        ValueError: if `buffer` is not positive.
    """
    check_call(produce, "produce", "an emitter", "async def produce(emit): await emit(...)")
    if buffer < 1:
        raise ValueError(f"buffer must be positive, not {buffer!r}")
    return Callbacks(produce, buffer)


class _Buffer:
    """The chunks that wait for the reader, and the emitters that wait for room."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._chunks: deque[object] = deque()
        self._waiting: deque[tuple[object, Accepted]] = deque()
        self._changed = wakeup()
        self._closed = False
        self._ended = False

    def put(self, chunk: object) -> None:
        if self._closed:
            raise _closed()
        if self._waiting or len(self._chunks) >= self._size:
            raise BufferFull(
                f"{len(self._chunks)} chunks wait for a slow reader: emit with `await`, or from "
                "a thread, to wait with them, or give from_callbacks a larger buffer"
            )
        self._chunks.append(chunk)
        self._changed.set()

    def offer(self, chunk: object, accept: Accepted) -> None:
        """Put now or later; `accept` is called when it is done, or cannot be."""
        try:
            self.put(chunk)
        except BufferFull:
            self._waiting.append((chunk, accept))
        except StreamClosed as error:
            accept(error)
        else:
            accept(None)

    def withdraw(self, accept: Accepted) -> None:
        """Take back an offer that still waits."""
        self._waiting = deque(offer for offer in self._waiting if offer[1] is not accept)

    def end(self) -> None:
        """Nobody emits any more: what waits is still read."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Nobody reads any more."""
        self._closed = True
        self._chunks.clear()
        while self._waiting:
            self._waiting.popleft()[1](_closed())

    async def take(self) -> object:
        """The next chunk.

        Raises:
            StopAsyncIteration: when there are none left, and nobody emits.
        """
        while not self._chunks:
            if self._ended:
                raise StopAsyncIteration
            await self._changed.wait()
        chunk = self._chunks.popleft()
        if self._waiting:
            waiting, accept = self._waiting.popleft()
            self._chunks.append(waiting)
            accept(None)
        return chunk

    async def wait_for_end(self) -> None:
        while not self._ended:
            await self._changed.wait()


def _nothing() -> None:
    pass


def _closed() -> StreamClosed:
    return StreamClosed("the stream is over: its client has left, or it has ended")


class _Emitted:
    """One run of `produce`, as an async iterator."""

    def __init__(self, produce: Produce, buffer: _Buffer) -> None:
        self._produce = produce
        self._buffer = buffer
        self._task: Task | None = None
        self._running = False
        self._error: BaseException | None = None

    def __aiter__(self) -> _Emitted:
        return self

    async def __anext__(self) -> Any:
        if self._task is None:
            self._task = spawn(self._main)
        try:
            return await self._buffer.take()
        except StopAsyncIteration:
            if self._error is None:
                raise
            error, self._error = self._error, None
            if isinstance(error, StopAsyncIteration):  # which would pass for the end
                raise RuntimeError("produce raised StopAsyncIteration") from error
            raise error from None

    async def aclose(self) -> None:
        """Cancel `produce`, and wait until it has ended; cancelled meanwhile, cancel it again."""
        self._buffer.close()
        if self._task is None:
            return
        if not self._running:
            self._buffer.end()  # a task that is cancelled before its first step never takes it
        self._task.cancel()
        try:
            await self._buffer.wait_for_end()
        except BaseException:
            self._task.cancel()
            raise
        if isinstance(self._error, Exception) and not isinstance(self._error, StreamClosed):
            error, self._error = self._error, None
            raise error

    async def _main(self) -> None:
        self._running = True
        try:
            await self._call(Emitter(self._buffer))
        except BaseException as error:
            self._error = error
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
        finally:
            self._buffer.end()

    async def _call(self, emitter: Emitter) -> None:
        if may_block(self._produce):
            worker = Worker()
            try:
                made = await worker.run(lambda: self._produce(emitter))
            finally:
                worker.finish()
        else:
            made = self._produce(emitter)
        if inspect.isawaitable(made):
            await made
