"""Tests by layer, what they share in `support`, and what is run by command in `by_command`."""
