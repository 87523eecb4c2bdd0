"""Event streams that other applications write."""
