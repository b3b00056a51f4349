"""python -m pytest bench/kernels/bench_engine.py --benchmark-enable

The engine's other kernels, each once per call as the audio path calls it at 48 kHz: packets of
10 ms in two channels, blends over them, noise in frames of 20 ms. The weighted fit and the
Toeplitz solver run at the sizes of an engine's fit and of an inpainted gap, the click metric on a
second with every fifth packet lost; drafts follow the pitch over 75 ms.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_c import EXTRAPOLATE_ORDERS
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from plc.files.fill.signal_background import Background
from plc_bench.base.synth import music
from plc_kernels.signal.ar import fit_burg, taps_of
from plc_kernels.signal.click import NEIGHBOURHOOD_MS, click_ratio
from plc_kernels.signal.dropouts import LAG_MS, MORE_MS, STATE_WORDS, find_dropouts
from plc_kernels.signal.fade import burst_gain, crossfade, crossfade_ramp, fade_into, mix_by_error
from plc_kernels.signal.noise import frame_samples, recent_levels, track_noise
from plc_kernels.signal.noise_filling import aim_at, fill_noise
from plc_kernels.signal.packet import pack_float32, pack_int16, unpack_float32, unpack_int16
from plc_kernels.signal.resample import CENTRE, TAPS, resample, sinc_table
from plc_kernels.signal.toeplitz import solve_toeplitz, solve_toeplitz_at
from tests.kernels.memory import filling_memory, noise_state

RATE = 48_000
PACKET_SAMPLES = 480


def piece(samples: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(music(RATE, samples / RATE)[:samples, 0])


@pytest.mark.parametrize("order", EXTRAPOLATE_ORDERS)
def test_taps_of(benchmark: BenchmarkFixture, order: int) -> None:
    benchmark(taps_of, fit_burg(piece(4 * order), order), np.empty(order))


def test_find_dropouts(benchmark: BenchmarkFixture) -> None:
    past = round((LAG_MS + MORE_MS) * RATE / 1000)
    sound = np.stack([piece(past + PACKET_SAMPLES)] * 2)
    lines, states = sound.copy(), np.zeros((2, STATE_WORDS), np.int64)
    marked, parts = np.zeros((2, PACKET_SAMPLES), np.int8), np.zeros(PACKET_SAMPLES + 1, np.int64)

    def look() -> int:
        lines[:] = sound
        return int(find_dropouts(RATE, PACKET_SAMPLES, lines, states, marked, parts))

    assert benchmark(look) == 0


@pytest.mark.parametrize("unknowns", [512, 3072])
def test_solve_toeplitz(benchmark: BenchmarkFixture, unknowns: int) -> None:
    predictor = fit_burg(piece(RATE // 2), unknowns)
    column = np.correlate(predictor, predictor, "full")[unknowns : 2 * unknowns].copy()
    right_hand_side = piece(unknowns).astype(np.float64)
    upper, generators = np.empty((unknowns, unknowns)), np.empty((2, unknowns))
    x = np.empty(unknowns)

    def solve() -> bool:
        x[:] = right_hand_side
        return bool(solve_toeplitz(column, upper, generators, x))

    assert benchmark(solve)


def test_solve_toeplitz_at(benchmark: BenchmarkFixture) -> None:
    predictor = fit_burg(piece(RATE // 2), 144)
    column = np.correlate(predictor, predictor, "full")[144:].copy()
    places = np.arange(0, 720, 2)
    right_hand_side = piece(places.size).astype(np.float64)
    lower, x = np.empty((places.size, places.size)), np.empty(places.size)

    def solve() -> bool:
        x[:] = right_hand_side
        return bool(solve_toeplitz_at(column, places, lower, x))

    assert benchmark(solve)


def test_crossfade(benchmark: BenchmarkFixture) -> None:
    incoming, out = piece(2 * PACKET_SAMPLES).reshape(2, PACKET_SAMPLES)
    benchmark(crossfade, incoming, crossfade_ramp(PACKET_SAMPLES), out)


def test_burst_gain(benchmark: BenchmarkFixture) -> None:
    # Inside the fade, where each sample costs a cosine.
    benchmark(burst_gain, RATE // 10, 0, RATE, np.empty(PACKET_SAMPLES, np.float32))


def test_fade_into(benchmark: BenchmarkFixture) -> None:
    noise, out = piece(2 * PACKET_SAMPLES).reshape(2, PACKET_SAMPLES)
    benchmark(fade_into, noise, crossfade_ramp(PACKET_SAMPLES), out)


def test_mix_by_error(benchmark: BenchmarkFixture) -> None:
    lead_in, out = piece(2 * PACKET_SAMPLES).reshape(2, PACKET_SAMPLES)
    benchmark(mix_by_error, 1.0, 2.0, lead_in, out)


def test_track_noise_of_a_frame(benchmark: BenchmarkFixture) -> None:
    background = Background(1, RATE, 0)
    benchmark(background.listen, piece(frame_samples(RATE))[None])


def test_comfort_noise_of_half_a_frame(benchmark: BenchmarkFixture) -> None:
    background = Background(1, RATE, 0)
    background.listen(piece(RATE)[None])
    benchmark(background.make_noise, np.empty((1, frame_samples(RATE) // 2), np.float32))


def test_recent_levels(benchmark: BenchmarkFixture) -> None:
    state = noise_state(RATE, 0)
    state.frame[:] = piece(state.frame.size)
    track_noise(state)
    benchmark(recent_levels, state, np.empty(state.spectrum.size, np.float32))


def test_fill_noise(benchmark: BenchmarkFixture) -> None:
    filling = filling_memory(RATE)
    aim_at(RATE, np.full(frame_samples(RATE) // 2 + 1, 1e-4, np.float32), filling)
    begin, full = RATE // 50, RATE // 25
    benchmark(fill_noise, full, begin, full, filling, np.zeros(PACKET_SAMPLES, np.float32))


@pytest.mark.parametrize(
    ("unpack", "dtype"), [(unpack_float32, np.float32), (unpack_int16, np.int16)]
)
def test_unpack(benchmark: BenchmarkFixture, unpack: Callable[..., bool], dtype: type) -> None:
    packet: NDArray[Any] = np.ones((PACKET_SAMPLES, 2), dtype)
    assert benchmark(unpack, packet, 0, PACKET_SAMPLES, np.empty((2, PACKET_SAMPLES), np.float32))


def test_unpack_finds_a_nan_in_the_last_sample(benchmark: BenchmarkFixture) -> None:
    packet = np.ones((PACKET_SAMPLES, 2), np.float32)
    packet[-1, -1] = np.nan
    assert not benchmark(
        unpack_float32, packet, 0, PACKET_SAMPLES, np.empty((2, PACKET_SAMPLES), np.float32)
    )


@pytest.mark.parametrize(("pack", "dtype"), [(pack_float32, np.float32), (pack_int16, np.int16)])
def test_pack(benchmark: BenchmarkFixture, pack: Callable[..., None], dtype: type) -> None:
    rows = piece(2 * PACKET_SAMPLES).reshape(2, PACKET_SAMPLES)
    benchmark(pack, rows, np.empty((PACKET_SAMPLES, 2), dtype))


@pytest.mark.parametrize("step", [1.0, 1.0007], ids=["in step", "slower"])
def test_resample_a_packet(benchmark: BenchmarkFixture, step: float) -> None:
    line = piece(2 * (PACKET_SAMPLES + 2 * TAPS)).reshape(2, -1)
    out = np.empty((2, PACKET_SAMPLES), np.float32)
    benchmark(resample, float(CENTRE), step, sinc_table(), line, out)


def test_click_ratio_of_a_second(benchmark: BenchmarkFixture) -> None:
    reference = piece(RATE).astype(np.float64)
    lost = np.arange(RATE) // PACKET_SAMPLES % 5 == 4
    estimate = np.where(lost, 0.9 * reference, reference)
    benchmark(click_ratio, round(RATE * NEIGHBOURHOOD_MS / 1000), reference, estimate, lost)
