"""The one place where tasks live: generation, tail, delivery, ticker."""
