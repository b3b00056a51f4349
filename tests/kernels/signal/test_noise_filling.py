from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from plc_kernels.signal.noise import recent_levels, track_noise
from plc_kernels.signal.noise_filling import aim_at, fill_noise, filling_samples, first_frame
from tests.examples import some
from tests.kernels.memory import filling_memory, noise_state
from tests.signals import noise, sine

RATE = 48_000
BEGIN, FULL = RATE // 50, RATE // 25
BURST = RATE * 60 // 1000
BANDS_HZ = ((2000, 4000), (4000, 8000), (8000, 12_000), (12_000, 20_000))

Signal = NDArray[np.float32]


def recent(past: Signal) -> Signal:
    """Return the levels of the last frames of a signal."""
    state = noise_state(RATE, 0)
    for frame in past[past.size % state.frame.size :].reshape(-1, state.frame.size):
        state.frame[:] = frame
        track_noise(state)
    levels = np.zeros(state.spectrum.size, np.float32)
    recent_levels(state, levels)
    return levels


def filled(past: Signal, fill: Signal, packets: Iterable[int] = (480,), seed: int = 0) -> Signal:
    """Return a burst behind ``past``, filled in packets of these sizes in turn."""
    filling = filling_memory(RATE, seed)
    aim_at(RATE, recent(past), filling)
    filling.past[:] = past[-filling.past.size :]
    out, age = fill.copy(), 0
    while age < out.size:
        for n in packets:
            part = out[age : age + n].copy()
            fill_noise(age, BEGIN, FULL, filling, part)
            out[age : age + n] = part
            age += n
    return out


def level_db(signal: Signal, low_hz: float, high_hz: float) -> float:
    """Return the level of a band in the last third of a signal."""
    band = sosfilt(butter(4, (low_hz, high_hz), "band", fs=RATE, output="sos"), signal)
    return float(10 * np.log10(np.mean(band[-signal.size // 3 :] ** 2)))


@pytest.mark.parametrize("left", [0.0, 0.3, 1.0])
def test_noise_that_died_away_keeps_its_level(left: float) -> None:
    past = noise(1, RATE)
    fills = np.concatenate([filled(past, left * noise(k, BURST), seed=k) for k in range(30)])
    for low_hz, high_hz in BANDS_HZ:
        levels = [
            level_db(fills[k : k + BURST], low_hz, high_hz) for k in range(0, fills.size, BURST)
        ]
        assert abs(np.mean(levels) - level_db(past, low_hz, high_hz)) < 2.0


def test_noise_rises_and_lies_above_what_is_predicted_well() -> None:
    out = filled(noise(2, RATE), np.zeros(BURST, np.float32))
    assert not out[:BEGIN].any()
    assert level_db(out, 200, 1000) < level_db(out, 2000, 4000) - 20.0
    quarter = (FULL - BEGIN) // 4
    early, late = out[BEGIN : BEGIN + quarter], out[FULL - quarter : FULL]
    assert np.std(early) < 0.4 * np.std(late)


def test_a_fill_at_the_level_gets_little() -> None:
    past, fill = noise(3, RATE), noise(4, BURST)
    added = filled(past, fill) - fill
    assert np.mean(added**2) < 0.03 * np.mean(fill**2)


@pytest.mark.parametrize("hz", [440.0, 3000.0, 9000.0])
def test_a_tone_gets_no_noise(hz: float) -> None:
    tone = sine(hz, RATE, RATE + BURST)
    for share in (1.0, 0.7):
        fill = share * tone[RATE:]
        added = filled(tone[:RATE], fill) - fill
        assert np.abs(added).max() < 1e-4


def test_a_tone_over_noise_is_left_and_the_noise_kept() -> None:
    hiss, tone = noise(5, RATE, 0.01), sine(1000.0, RATE, RATE + BURST, 0.3)
    out = filled(hiss + tone[:RATE], tone[RATE:])
    for low_hz, high_hz in BANDS_HZ[1:]:
        assert abs(level_db(out, low_hz, high_hz) - level_db(hiss, low_hz, high_hz)) < 3.0
    added = out - tone[RATE:]
    assert level_db(added, 900, 1100) < level_db(hiss, 900, 1100) - 20.0


def test_silence_stays_silent() -> None:
    assert not filled(np.zeros(RATE, np.float32), np.zeros(BURST, np.float32)).any()


def test_what_ended_before_the_burst_does_not_come_back() -> None:
    past = noise(6, RATE)
    past[-filling_samples(RATE) :] = 0.0
    assert not filled(past, np.zeros(BURST, np.float32)).any()


def test_a_beat_is_not_the_level_of_what_is_between() -> None:
    past = noise(7, RATE, 0.001)
    past[-4800:-3840] += noise(8, 960, 0.3)
    out = filled(past, np.zeros(BURST, np.float32))
    assert np.std(out[FULL:]) < 0.003


@some("packets", [(1,), (64,), (37, 500), (960,), (BURST,)], 3)
def test_packets_of_any_size_make_the_same_samples(packets: tuple[int, ...]) -> None:
    past, fill = noise(9, RATE), noise(10, BURST, 0.02)
    np.testing.assert_array_equal(filled(past, fill, packets), filled(past, fill))


@some("level", [0.0, 1e-38, 1e-20, 1e6], 2)
@some("before", [0.0, 1e-38, 1e6], 3)
def test_no_level_makes_anything_but_numbers(level: float, before: float) -> None:
    out = filled(noise(11, RATE, before), noise(12, BURST, level))
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 10 * max(level, before)


def test_targets_are_the_recent_levels_between_their_bins() -> None:
    levels = np.abs(noise(13, 481)) + np.float32(0.1)
    filling = filling_memory(RATE)
    aim_at(RATE, levels, filling)
    bins = filling.spectrum.size
    hz = np.linspace(0.0, RATE / 2, bins)
    expected = np.interp(hz, np.linspace(0.0, RATE / 2, 481), levels)
    expected *= np.clip((hz - 1600.0) / 400.0, 0.0, 1.0) ** 2
    expected[-1] = 0.0
    np.testing.assert_allclose(filling.levels[1], expected, rtol=1e-4, atol=1e-9)


@some("rate", [8000, 11_025, 16_000, 44_100, 48_000, 192_000], 3)
def test_frames_are_near_five_ms_and_whole_at_the_beginning(rate: int) -> None:
    n = filling_samples(rate)
    assert n & (n - 1) == 0
    assert 3.5 < 1000 * n / rate < 7.6
    begin = rate // 50
    first = first_frame(begin, n)
    assert first % (n // 2) == 0
    assert first > 0
    assert begin - n < first + n // 2 <= begin
