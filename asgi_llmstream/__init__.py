"""Write one async generator of chat chunks; every client, framework and server streams it.

from asgi_llmstream import ChatApp

async def answer(request):
    yield "Hel"
    yield "lo"

app = ChatApp(answer)
"""

from .accumulate import accumulate
from .app import Answer, ChatApp
from .callbacks import Emitter, from_callbacks
from .chunks import (
    Chunk,
    Data,
    Error,
    File,
    Finish,
    Reasoning,
    Refusal,
    Source,
    Step,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from .content import MessageToolCall
from .drain import drain, draining
from .errors import (
    BadRequest,
    BufferFull,
    Forbidden,
    LLMStreamError,
    NotFound,
    Overloaded,
    RateLimited,
    StreamClosed,
    Unauthorized,
    UpstreamError,
    UpstreamTimeout,
)
from .message import Message
from .middleware import LLMStreamMiddleware
from .options import StreamOptions
from .request import ChatMessage, ChatRequest
from .result import StreamResult
from .sse import ServerSentEvent
from .stream import LLMStream, collect, encode_stream

__all__ = [
    "Answer",
    "BadRequest",
    "BufferFull",
    "ChatApp",
    "ChatMessage",
    "ChatRequest",
    "Chunk",
    "Data",
    "Emitter",
    "Error",
    "File",
    "Finish",
    "Forbidden",
    "LLMStream",
    "LLMStreamError",
    "LLMStreamMiddleware",
    "Message",
    "MessageToolCall",
    "NotFound",
    "Overloaded",
    "RateLimited",
    "Reasoning",
    "Refusal",
    "ServerSentEvent",
    "Source",
    "Step",
    "StreamClosed",
    "StreamOptions",
    "StreamResult",
    "Text",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "Unauthorized",
    "UpstreamError",
    "UpstreamTimeout",
    "Usage",
    "accumulate",
    "collect",
    "drain",
    "draining",
    "encode_stream",
    "from_callbacks",
]
