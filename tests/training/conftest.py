"""Shared by the tests of training."""

import os
import sys
from collections.abc import Iterator

import pytest

# One thread, set before torch starts any: networks this small gain nothing from a second one, which
# spins while it waits. Where cores are busy, that takes several times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Have denormal numbers be numbers again: training and export flush them for their process."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slow where other tests run beside them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
