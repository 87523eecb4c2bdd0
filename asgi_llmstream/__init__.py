"""Write one async generator of chat chunks; every client, framework and server streams it.

from asgi_llmstream import ChatApp

async def answer(request):
    yield "Hel"
    yield "lo"

app = ChatApp(answer)
"""

from .asgi.app import Answer, ChatApp
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
    "Message",
    "MessageToolCall",
    "Metadata",
    "NotFound",
    "Overloaded",
    "RateLimited",
    "ReadTooLate",
    "Reasoning",
    "Refusal",
    "ServerSentEvent",
    "Source",
    "State",
    "StateDelta",
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
    "UpstreamTruncated",
    "Usage",
    "accumulate",
    "chunks",
    "collect",
    "drain",
    "draining",
    "encode_stream",
    "from_callbacks",
]
