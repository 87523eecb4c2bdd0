"""`llmstream demo`: a page, an answerer that needs no model, and a server that ends at once."""
