"""Write one async generator of chat chunks; every client, framework and server streams it.

from asgi_llmstream import ChatApp

async def answer(request):
    yield "Hel"
    yield "lo"

app = ChatApp(answer)
"""

from typing import TYPE_CHECKING, NoReturn

from .asgi.app import Answer, ChatApp
from .asgi.kept.own import store_lifespan, store_routes
from .asgi.stream import LLMStream, collect, encode_stream
from .chunks import (
    Approval,
    Chunk,
    Data,
    Document,
    Error,
    File,
    Finish,
    Metadata,
    Reasoning,
    Refusal,
    Source,
    State,
    StateDelta,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from .errors import (
    BadRequest,
    BufferFull,
    Forbidden,
    LLMStreamError,
    NotFound,
    Overloaded,
    RateLimited,
    ReadTooLate,
    StreamClosed,
    Unauthorized,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTruncated,
)
from .foreign.middleware import LLMStreamMiddleware
from .message import Message, MessageToolCall
from .options import StreamOptions
from .producers import Emitter, accumulate, chunks, from_callbacks
from .request import ChatMessage, ChatRequest, Decision
from .runtime import StreamResult, drain, draining
from .sse import ServerSentEvent
from .stores import MemoryStore, RedisStore, StreamStore

__all__ = [
    "Answer",
    "Approval",
    "BadRequest",
    "BufferFull",
    "ChatApp",
    "ChatMessage",
    "ChatRequest",
    "Chunk",
    "Data",
    "Decision",
    "Document",
    "Emitter",
    "Error",
    "File",
    "Finish",
    "Forbidden",
    "LLMStream",
    "LLMStreamError",
    "LLMStreamMiddleware",
    "MemoryStore",
    "Message",
    "MessageToolCall",
    "Metadata",
    "NotFound",
    "Overloaded",
    "RateLimited",
    "ReadTooLate",
    "Reasoning",
    "RedisStore",
    "Refusal",
    "ServerSentEvent",
    "Source",
    "State",
    "StateDelta",
    "Step",
    "StreamClosed",
    "StreamOptions",
    "StreamResult",
    "StreamStore",
    "Text",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "Unauthorized",
    "UpstreamError",
    "UpstreamTimeout",
    "UpstreamTruncated",
    "Usage",
    "accumulate",
    "chunks",
    "collect",
    "drain",
    "draining",
    "encode_stream",
    "from_callbacks",
    "store_lifespan",
    "store_routes",
]

if not TYPE_CHECKING:  # to whom every name would be there

    def __getattr__(name: str) -> NoReturn:
        """Say where what is looked for here stands.

        Raises:
            ImportError: for a name of another module; `from ... import` shows no other error's
                words.
            AttributeError: for any other.
        """
        from . import formats

        where = "asgi_llmstream.formats" if name in formats.__all__ else _ELSEWHERE.get(name)
        if where is not None:
            raise ImportError(f"{name} is not in asgi_llmstream, import it from {where}")
        raise AttributeError(f"module 'asgi_llmstream' has no attribute {name!r}")


_ELSEWHERE = {
    "LLMStreamResponse": "asgi_llmstream.fastapi, .starlette or .litestar",
    "LLMStreamRoute": "asgi_llmstream.fastapi",
    "chat_router": "asgi_llmstream.fastapi",
    "LLMStreamPlugin": "asgi_llmstream.litestar",
    "ManualClock": "asgi_llmstream.testing",
    "check_stream": "asgi_llmstream.testing",
}
