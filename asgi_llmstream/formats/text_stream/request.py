"""The body of `POST /text`: the AI SDK sends the same whatever it wants to read."""

from ..shapes.ui_messages import decode_request

__all__ = ["decode_request"]
