"""Shared by every test."""

import hashlib
import os
import signal
from pathlib import Path

from tests.examples import register

ROOT = Path(__file__).parents[1]


def _kernel_fingerprint() -> str:
    # Kernels of papers are called by no others: of each, numba compares its own file.
    papers = ROOT / "kernels" / "plc_kernels" / "papers"
    sources = sorted(path for path in ROOT.glob("kernels/**/*.py") if papers not in path.parents)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


# numba renews a cached kernel when its own file changes, not when a kernel or a
# constant it takes from another file does; a cache for each state of the sources
# keeps a test from passing on old machine code. Set before plc_kernels is imported.
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".cache" / "numba" / _kernel_fingerprint()))
os.environ["NUMBA_NRT_STATS"] = "1"  # counts the allocations of kernels
os.environ.setdefault("MPLBACKEND", "Agg")

register()

# A shell's background job ignores interrupts, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
