"""What an application of one's own needs for streams that a store keeps: a lifespan, and routes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from ...arguments import explains, formats_of, options_of
from ...errors import NotFound
from ...formats import DEFAULT_FORMATS, AnyRequestFormat, Format, OpenAIChat
from ...options import DEFAULT_OPTIONS, StreamOptions
from ...resume import Host
from ...stores import AnyStore, StreamStore, store_of
from ..admission import Door
from ..cors import Cors
from ..dispatch import Dispatcher
from ..http import App, Handler, Scope
from .keeping import Identify, keeping_of
from .streams import Streams

__all__ = ["store_lifespan", "store_routes"]


@explains
def store_lifespan(store: AnyStore) -> Callable[..., AbstractAsyncContextManager[None]]:
    """Return a lifespan that owns the streams of a store, which outlive their requests.

    It is for routes of one's own, `LLMStream(..., store=store)`; a `ChatApp` has a `lifespan`.
    Give it to what the server starts and stops, as `FastAPI(lifespan=store_lifespan(store))`,
    `Starlette(lifespan=...)` or `Litestar(lifespan=[...])`, or enter it in a lifespan of your own
    with `async with store_lifespan(store)(app)`. At its end streams get their `shutdown_grace`.

    Args:
        store: where they are kept, as for `ChatApp`.

    Raises:
        TypeError: if it is no store.
        ValueError: if it is an address of nothing.
    """
    kept = store_of(store)

    @asynccontextmanager
    async def lifespan(app: object = None) -> AsyncGenerator[None]:
        async with Host.current(kept).running():
            yield

    return lifespan


@explains
def store_routes(
    store: AnyStore,
    *,
    identify: Identify | None = None,
    formats: Iterable[AnyRequestFormat] = DEFAULT_FORMATS,
    options: StreamOptions = DEFAULT_OPTIONS,
    prefix: str = "",
    cors: Sequence[str] = (),
) -> App:
    """Return an ASGI application with the routes of the streams that a store keeps.

    Below wherever it is mounted, it lists the live ones at `GET /streams`, has clients follow one
    at `GET /streams/{id}`, tells its message so far at `GET /streams/{id}/message`, ends it at
    `POST /streams/{id}/stop` and forgets it at `DELETE /streams/{id}`. It is for routes of one's
    own, `LLMStream(..., store=store)`; a `ChatApp` has these by itself.

    Args:
        store: keeps them, as for `ChatApp`.
        identify: tells from the scope who asks, as at the routes that began the streams.
        formats: those that they can be followed in, by `?format=`.
        options: of the followers.
        prefix: as for `ChatApp`.
        cors: as for `ChatApp`.

    Raises:
        TypeError: if an argument is none of its kind.
        ValueError: likewise, if its value is at fault.
    """
    return _StoreRoutes(store_of(store), identify, formats, options, prefix, cors)


class _StoreRoutes(Dispatcher):
    def __init__(
        self,
        store: StreamStore,
        identify: Identify | None,
        formats: Iterable[AnyRequestFormat],
        options: StreamOptions,
        prefix: str,
        cors: Sequence[str],
    ) -> None:
        door = Door(options_of(options))
        keeping = keeping_of(store, identify)
        super().__init__(door, Cors(cors), prefix, keeping)
        assert keeping is not None
        self._streams = Streams(keeping, formats_of(formats), door)

    def _has(self, path: str) -> bool:
        return bool(self._streams.handlers(path))

    def _handlers(self, path: str, scope: Scope) -> Mapping[str, Handler]:
        handlers = self._streams.handlers(path)
        if not handlers:
            raise NotFound(f"There is nothing at {path}. There is GET /streams.")
        return handlers

    def _format_for(self, path: str, scope: Scope) -> Format:
        return _OPENAI


# What has no format of its own speaks the one that most clients do.
_OPENAI = OpenAIChat()
