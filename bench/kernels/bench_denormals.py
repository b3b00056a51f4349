"""Concealing a stream that has decayed to silence must not cost more than one at full level.

Run with ``python -m pytest bench/kernels/bench_denormals.py --benchmark-enable``. A burst is begun
and continued on a past at each level; below 1e-38 the past itself is denormal float32, and below
1e-19 its squares are. The kernel rows show what the processor makes of denormals when they are
not flushed: some need a hundred times longer, others (AMD Zen 4) hardly any.
"""

from typing import Any

import numpy as np
import pytest

from plc import Concealer
from plc_kernels.build.denormals import flush_denormals, restore_denormals
from plc_kernels.signal.ar import extrapolate

PACKET_SAMPLES = 480


@pytest.mark.parametrize("level", [1.0, 1e-15, 1e-19, 1e-25, 1e-38, 1e-42])
def test_conceal_at_level(benchmark: Any, level: float) -> None:
    rng = np.random.default_rng(0)
    concealer = Concealer(budget_ms=float("inf"))
    past = (level * rng.standard_normal((30, PACKET_SAMPLES, 1))).astype(np.float32)

    def burst() -> None:
        for packet in past:
            concealer.push(packet)
        for _ in range(4):
            concealer.push(None)

    benchmark(burst)


@pytest.mark.parametrize("level", [1.0, 1e-310])
@pytest.mark.parametrize("flush", [True, False], ids=["flushed", "not-flushed"])
def test_extrapolate_at_level(benchmark: Any, level: float, flush: bool) -> None:
    rng = np.random.default_rng(0)
    taps = 0.01 * rng.standard_normal(512)
    past = level * rng.standard_normal(512)
    line = np.zeros(512 + PACKET_SAMPLES)

    def decay() -> None:
        before = flush_denormals()
        if not flush:
            restore_denormals(before)
        line[:512] = past
        extrapolate(taps, line)
        restore_denormals(before)

    benchmark(decay)
