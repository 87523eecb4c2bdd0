"""The body of `POST /chat/completions`, as a `ChatRequest`."""

from __future__ import annotations

from ..shapes.chat_body import body_schema as request_schema
from ..shapes.chat_body import decode_body as decode_request

__all__ = ["decode_request", "request_schema"]
