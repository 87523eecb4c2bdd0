"""ASGI: one response from its headers to its end, and the app that speaks every protocol.

Private: the root shows `ChatApp`, `LLMStream`, `encode_stream` and `collect`.
"""
