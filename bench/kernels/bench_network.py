"""python -m pytest bench/kernels/bench_network.py --benchmark-enable

What a batch of bursts gains: speech's network for 1, 8 and 64 of them; after other programs have
taken the caches; and the layer that alone has one row at a time, beside what it costs a row among
others.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from plc.engine.runtime.known import planned
from plc.engine.stream.methods import stream_models
from plc_kernels.build.compile import kernel
from plc_kernels.network import plan as of
from plc_kernels.network.layers import run_network
from plc_kernels.network.product import TILE_ROWS, Reals, Steps, layer, stored

# Four bytes each: more than the caches of most processors have.
_OTHERS = 40_000_000


_TIMES = 100


@kernel
def _multiply_often(x: Steps, units: int, rows: int, weights: Reals, gates: int, y: Reals) -> None:
    for _ in range(_TIMES):
        layer(weights, 0, units, gates, x, units, rows, np.float32(1.0), y, gates)


def _network() -> tuple[NDArray[np.int64], Reals]:
    manifest = stream_models("auto", 16_000)[0]["speech"]
    assert manifest is not None
    found = planned(manifest, manifest.sample_rates[0])
    assert found is not None
    return found


@pytest.mark.parametrize(("bursts", "cold"), [(1, False), (8, False), (64, False), (1, True)])
def test_network_of_speech(benchmark: BenchmarkFixture, bursts: int, cold: bool) -> None:
    plan, weights = _network()
    frames, spectrum = int(plan[of.FRAMES]), 2 * int(plan[of.BINS])
    rng = np.random.default_rng(0)
    given = (
        plan,
        weights,
        rng.standard_normal(bursts * int(plan[of.DRAFTS]) * spectrum * frames, np.float32),
        np.zeros(bursts * frames, np.float32),
        np.zeros(int(plan[of.WORK]), np.float32),
        np.zeros(bursts * spectrum * int(plan[of.TOUCHING]), np.float32),
    )
    others = np.zeros(_OTHERS, np.float32)

    def take_caches() -> None:
        if cold:
            others.__iadd__(1.0)

    benchmark.group = "network of speech"
    benchmark.extra_info["bursts"] = bursts
    run_network(*given)
    timed: Any = benchmark  # its methods have no types
    timed.pedantic(run_network, given, setup=take_caches, rounds=max(4, 200 // bursts))


@pytest.mark.parametrize("rows", [1, TILE_ROWS])
def test_recurrent_layer(benchmark: BenchmarkFixture, rows: int) -> None:
    units, gates = 112, 336  # of speech, side by side with as many
    rng = np.random.default_rng(0)
    weights = stored(rng.standard_normal((units, gates), np.float32), np.zeros(gates, np.float32))
    x, y = rng.integers(-99, 99, rows * units, np.int16), np.zeros(rows * gates, np.float32)
    benchmark.group = f"recurrent layer, {_TIMES} times"
    benchmark.extra_info["rows"] = rows
    given = x, units, rows, weights, gates, y
    _multiply_often(*given)
    benchmark(_multiply_often, *given)
