"""Shared by the tests of training."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Have denormal numbers be numbers again: training and export flush them for their process."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
