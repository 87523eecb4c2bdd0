"""ASGI: one response from its headers to its end, and the app that speaks every protocol."""
