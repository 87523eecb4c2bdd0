"""Anthropic messages."""

from .stream import AnthropicMessages

__all__ = ["AnthropicMessages"]
