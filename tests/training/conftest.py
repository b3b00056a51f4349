"""Shared by the tests of training."""

import os

# One thread, set before torch starts any: networks this small gain nothing from a second one, which
# spins while it waits. Where cores are busy, that takes several times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
