"""Random operations, against a model."""

from __future__ import annotations

from typing import Any

import pytest

from .stage import Stage

__all__ = ["RandomOperations"]


class RandomOperations(Stage):
    """The test that wants hypothesis."""

    def test_random_operations_do_what_they_do_to_a_plain_model(
        self, anyio_backend_name: str, anyio_backend_options: dict[str, Any]
    ) -> None:
        pytest.importorskip("hypothesis")
        from .machine import try_operations

        try_operations(self, anyio_backend_name, anyio_backend_options)
