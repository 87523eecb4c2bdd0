"""Event streams that other applications write.

Private: the root shows `LLMStreamMiddleware`.
"""
