"""OpenAI chat completions."""

from .stream import OpenAIChat

__all__ = ["OpenAIChat"]
