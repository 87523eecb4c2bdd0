"""Streams that a store keeps: how they begin, who reads them, and their routes. Private."""
