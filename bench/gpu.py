"""Run :mod:`plc_bench.timing.gpu` from a checkout: ``python bench/gpu.py --help``."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "bench")]
runpy.run_module("plc_bench.timing.gpu", run_name="__main__")
