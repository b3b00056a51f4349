import gc
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_bench.latency import (
    LatencySettings,
    cut,
    latency_lines,
    measure_latency,
    summarise_times,
    time_pushes,
)
from plc_bench.synth import music


def test_every_packet_is_pushed_once_and_lost_ones_as_none() -> None:
    packets = cut(np.arange(10, dtype=np.float32)[:, None], 3)
    pushed: list[float] = []

    def push(packet: NDArray[np.float32] | None) -> None:
        assert not gc.isenabled()
        pushed.append(-1.0 if packet is None else float(packet[0, 0]))

    trace = np.array([False, False, True, False, False])
    times_ms, wall_s, _ = time_pushes(push, packets, trace)
    assert pushed == [0.0, 3.0, -1.0, 0.0, 3.0]
    assert gc.isenabled()
    assert times_ms.shape == (5,)
    assert (times_ms > 0.0).all()
    assert times_ms.sum() / 1000 <= wall_s


def test_percentiles_are_those_of_the_definition() -> None:
    times = summarise_times(np.arange(1001.0))
    assert (times.count, times.p50_ms, times.p95_ms, times.p99_ms) == (1001, 500.0, 950.0, 990.0)
    assert times.p99_9_ms == pytest.approx(999.0)
    assert times.max_ms == 1000.0


def test_no_calls_have_no_percentiles() -> None:
    assert math.isnan(summarise_times(np.empty(0)).p50_ms)


def test_a_run_times_good_and_lost_packets_apart() -> None:
    settings = LatencySettings(sample_rate=8000, seconds=2.0, loss=0.2)
    report = measure_latency(settings, music(8000, 1.0))
    assert report.good.count + report.concealed.count == 200
    assert 10 <= report.concealed.count <= 80
    assert report.null_loop.count == 200
    assert report.faster_than_real_time > 0.0
    assert "200 packets" in latency_lines(report)[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_made_music_is_music_of_its_seed(channels: int) -> None:
    piece = music(16_000, 1.5, channels, seed=4)
    assert piece.shape == (24_000, channels)
    assert piece.dtype == np.float32
    assert np.abs(piece).max() == pytest.approx(0.7)
    np.testing.assert_array_equal(piece, music(16_000, 1.5, channels, seed=4))
    assert (piece != music(16_000, 1.5, channels, seed=5)).any()
    # Tonal: a few bins hold nearly all the energy.
    power = np.sort(np.abs(np.fft.rfft(piece[:, 0])) ** 2)[::-1]
    assert power[: power.size // 20].sum() > 0.95 * power.sum()
