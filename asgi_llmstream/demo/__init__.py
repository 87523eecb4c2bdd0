"""`llmstream demo`: a page, an answerer that needs no model, and the server that ends at once."""
