"""Shared by the tests of training."""

import os
from collections.abc import Iterator

import pytest

# One thread, set before torch starts any: networks this small gain nothing from a second one, which
# spins while it waits. Where cores are busy, that takes several times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def denormals_as_they_were() -> Iterator[None]:
    """Undo what a training sets for the whole process: other tests share it."""
    yield
    torch = pytest.importorskip("torch")
    torch.set_flush_denormal(False)
