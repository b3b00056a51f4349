import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter, welch

from plc_kernels.signal.noise import (
    FLOOR,
    SUBWINDOW_FRAMES,
    SUBWINDOWS,
    NoiseState,
    comfort_noise,
    frame_samples,
    recent_levels,
    track_noise,
)
from tests.kernels.memory import noise_state
from tests.signals import noise, sine, tones

SAMPLE_RATE = 16_000


@pytest.fixture
def state() -> NoiseState:
    return noise_state(SAMPLE_RATE, 0)


def listen(state: NoiseState, signal: NDArray[np.float32]) -> None:
    for frame in signal[: signal.size // state.frame.size * state.frame.size].reshape(
        -1, state.frame.size
    ):
        state.frame[:] = frame
        track_noise(state)


def speak(state: NoiseState, halves: int) -> NDArray[np.float32]:
    out = np.empty((halves, state.tail.size), np.float32)
    for half in out:
        comfort_noise(1.0, state, half)
    return out.ravel()[state.tail.size :]


def test_the_floor_of_white_noise_is_its_power(state: NoiseState) -> None:
    floors = []
    for seed in range(20):
        listen(state, noise(seed, 3 * SAMPLE_RATE))
        floors.append(state.levels[FLOOR][2:-2].mean())
    true_power = 0.01 * np.sum(state.windows[0] ** 2)
    assert abs(10 * np.log10(np.mean(floors) / true_power)) < 0.5


def test_the_floor_lies_under_what_comes_and_goes(state: NoiseState) -> None:
    signal = noise(1, 6 * SAMPLE_RATE, 0.01)
    for begin in range(0, signal.size, SAMPLE_RATE):
        signal[begin : begin + SAMPLE_RATE // 2] += tones(3, SAMPLE_RATE, SAMPLE_RATE // 2, 0.3)
    listen(state, signal)
    true_power = 0.01**2 * np.sum(state.windows[0] ** 2)
    assert abs(10 * np.log10(np.median(state.levels[FLOOR][2:-2]) / true_power)) < 2.0


def test_pauses_of_a_fifth_of_a_second_show_the_background(state: NoiseState) -> None:
    signal = noise(1, 4 * SAMPLE_RATE, 0.001)
    talk, pause = round(0.4 * SAMPLE_RATE), round(0.2 * SAMPLE_RATE)
    for k, begin in enumerate(range(0, signal.size, talk + pause)):
        syllable = signal[begin : begin + talk]
        syllable += tones(k, SAMPLE_RATE, talk, 0.06)[: syllable.size]
    listen(state, signal)
    assert abs(20 * np.log10(np.std(speak(state, 300)) / 0.001)) < 4.0


def test_the_floor_follows_a_background_that_gets_louder(state: NoiseState) -> None:
    listen(state, noise(1, 3 * SAMPLE_RATE, 0.001))
    seconds = (SUBWINDOWS + 1) * SUBWINDOW_FRAMES * 0.02
    listen(state, noise(2, int((seconds + 0.5) * SAMPLE_RATE), 0.1))
    true_power = 0.1**2 * np.sum(state.windows[0] ** 2)
    assert abs(10 * np.log10(state.levels[FLOOR][2:-2].mean() / true_power)) < 1.5


def test_comfort_noise_has_the_level_and_the_spectrum_of_the_background(state: NoiseState) -> None:
    coloured = lfilter([1.0], [1.0, -0.9], noise(4, 60 * SAMPLE_RATE, 0.01)).astype(np.float32)
    listen(state, coloured)
    made = speak(state, 2000)
    _, truth = welch(coloured, SAMPLE_RATE, nperseg=256)
    _, ours = welch(made, SAMPLE_RATE, nperseg=256)
    error_db = 10 * np.log10(ours[2:-2] / truth[2:-2])
    assert abs(error_db.mean()) < 1.0
    assert np.std(error_db) < 1.0


def test_a_tone_held_for_long_does_not_come_back_as_noise(state: NoiseState) -> None:
    listen(state, sine(440.0, SAMPLE_RATE, 6 * SAMPLE_RATE) + noise(1, 6 * SAMPLE_RATE, 0.001))
    level = np.std(speak(state, 500))
    assert level < 0.001


def organ(seconds: int, f0_hz: tuple[float, ...] = (110.0,)) -> NDArray[np.float32]:
    t = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    harmonics = [np.sin(2 * np.pi * f * k * t + k * k) / k for f in f0_hz for k in range(1, 18)]
    total: NDArray[np.float64] = np.stack(harmonics).sum(axis=0)
    return (0.2 / len(f0_hz) * total).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [(110.0,), (55.0,), (261.6, 329.6, 392.0)])
def test_sustained_music_is_not_taken_for_background(f0_hz: tuple[float, ...]) -> None:
    state = noise_state(SAMPLE_RATE, 0)
    signal = organ(6, f0_hz) + noise(1, 6 * SAMPLE_RATE, 0.0003)
    listen(state, signal)
    assert np.std(speak(state, 500)) < 0.05 * np.std(signal)


def test_comfort_noise_of_silence_is_silent(state: NoiseState) -> None:
    listen(state, np.zeros(3 * SAMPLE_RATE, np.float32))
    assert not speak(state, 20).any()


def test_a_state_that_heard_nothing_is_silent() -> None:
    assert not speak(noise_state(SAMPLE_RATE, 0), 20).any()


def test_the_same_seed_gives_the_same_noise() -> None:
    made = []
    for seed in (7, 7, 8):
        state = noise_state(SAMPLE_RATE, seed)
        listen(state, noise(1, SAMPLE_RATE))
        made.append(speak(state, 20))
    np.testing.assert_array_equal(made[0], made[1])
    assert abs(np.corrcoef(made[0], made[2])[0, 1]) < 0.1


def test_a_frame_with_nan_is_survived(state: NoiseState) -> None:
    listen(state, np.full(SAMPLE_RATE, np.nan, np.float32))
    assert state.counts[2] == SAMPLE_RATE // state.frame.size


def test_steady_tones_change_less_than_bursts() -> None:
    steady, gated = noise_state(SAMPLE_RATE, 0), noise_state(SAMPLE_RATE, 0)
    signal = tones(1, SAMPLE_RATE, SAMPLE_RATE)
    listen(steady, signal)
    rng = np.random.default_rng(0)
    changes = []
    for frame in signal.reshape(-1, gated.frame.size):
        listen(gated, frame * np.float32(rng.uniform(0.2, 1.0)))
        changes.append(float(gated.flux[0]))
    assert 0.0 <= steady.flux[0] < np.mean(changes[1:])


@pytest.mark.parametrize("sample_rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_a_frame_is_even_and_20_ms(sample_rate: int) -> None:
    n = frame_samples(sample_rate)
    assert n % 2 == 0
    assert abs(1000 * n / sample_rate - 20) < 0.2


def test_recent_levels_are_those_of_noise_without_tones(state: NoiseState) -> None:
    found = []
    levels = np.zeros(state.spectrum.size, np.float32)
    for seed in range(20):
        listen(state, noise(seed, SAMPLE_RATE, 0.1) + sine(2000.0, SAMPLE_RATE, SAMPLE_RATE, 0.5))
        recent_levels(state, levels)
        found.append(levels.copy())
    db = 10 * np.log10(np.mean(found, 0) / 0.01)
    assert np.abs(db[10:-10]).max() < 2.5
    assert abs(db[10:-10].mean()) < 0.7


def test_recent_levels_forget_within_a_quarter_of_a_second(state: NoiseState) -> None:
    levels = np.zeros(state.spectrum.size, np.float32)
    listen(state, noise(1, SAMPLE_RATE, 0.1))
    listen(state, noise(2, SAMPLE_RATE // 4, 0.001))
    recent_levels(state, levels)
    assert levels[10:-10].mean() < 0.01 * 10**-2.5
