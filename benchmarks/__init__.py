"""Speed: this package beside what people write without it. Run `python -m benchmarks`."""
