"""What walks through a history takes time in proportion to its length."""

from __future__ import annotations

import pytest

from benchmarks.growth import CASES, exponent

# Between 1, in proportion, and 2, with the square. CPU time of one thread: others do not count.
MOST = 1.5


@pytest.mark.parametrize("name", CASES)
def test_time_grows_in_proportion(name: str) -> None:
    # A square that is in C, as one of `from_dict` would be, shows only where there are many.
    size = 4000 if "from_dict" in name else 300
    # Noise makes an exponent larger or smaller; that of a square is large each time.
    assert any(exponent(CASES[name], size) < MOST for _ in range(4))
