"""`python -m asgi_llmstream` is the `llmstream` command."""

from .cli import main

main(prog_name="llmstream")
