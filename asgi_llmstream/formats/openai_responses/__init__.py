"""OpenAI Responses."""

from .stream import OpenAIResponses

__all__ = ["OpenAIResponses"]
