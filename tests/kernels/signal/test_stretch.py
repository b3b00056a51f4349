"""Periods left out of a line, or played twice."""

import numpy as np
import pytest

from plc_kernels.signal.stretch import MOST_MS, lengthen, shorten

RATE = 16_000
WINDOW = int(MOST_MS * RATE / 1000)


def line(sound: np.ndarray, room: int = 0) -> np.ndarray:
    """Return sound with a row of marks below, and room behind."""
    rows = np.zeros((2, len(sound) + room), np.float32)
    rows[0, : len(sound)] = sound
    return rows


def tone(period: float, samples: int) -> np.ndarray:
    at = 2.0 * np.pi * np.arange(samples) / period
    return np.asarray(np.sin(at) + 0.5 * np.sin(2.0 * at + 1.0))


@pytest.mark.parametrize("period", [40, 57, 100, 160])
def test_a_period_of_a_tone_goes_or_comes_twice_unheard(period: int) -> None:
    sound, at = tone(period, 2000), 700
    shorter = line(sound)
    assert shorten(shorter, at, 2000, RATE, WINDOW, 0.9) % period == 0
    np.testing.assert_allclose(shorter[0, :1700], sound[:1700], atol=1e-5)
    longer = line(sound, WINDOW)
    added = lengthen(longer, at, 2000, RATE, WINDOW, 0.9)
    assert added > 0 == added % period
    np.testing.assert_allclose(longer[0, :2000], sound, atol=1e-5)


def test_what_lies_before_stays_and_what_follows_moves_as_a_whole() -> None:
    sound = np.random.default_rng(1).normal(size=3000)
    rows = line(sound)
    lag = shorten(rows, 1000, 3000, RATE, WINDOW, -1.0)
    assert lag > 0
    np.testing.assert_array_equal(rows[0, :1000], sound[:1000].astype(np.float32))
    follows = rows[0, 1000 + lag : 3000 - lag]
    np.testing.assert_array_equal(follows, sound[1000 + 2 * lag :].astype(np.float32))


def test_noise_has_no_period_and_silence_any() -> None:
    noise = line(np.random.default_rng(2).normal(size=3000), WINDOW)
    before = noise.copy()
    assert shorten(noise, 1000, 3000, RATE, WINDOW, 0.9) == 0
    assert lengthen(noise, 1000, 3000, RATE, WINDOW, 0.9) == 0
    np.testing.assert_array_equal(noise, before)
    assert shorten(line(np.zeros(3000)), 1000, 3000, RATE, 77, 0.9) == 77


def test_of_louder_and_quieter_sound_as_much_goes_or_comes() -> None:
    rng = np.random.default_rng(3)
    pause = np.concatenate([tone(100, 1000), 1e-4 * rng.normal(size=1000)])
    changed = []
    for sound in (tone(100, 2000), pause, rng.normal(size=2000)):
        whole, longer = line(sound), line(sound, WINDOW)
        gone = shorten(whole, 1100, 2000, RATE, WINDOW, 0.9)
        come = lengthen(longer, 1300, 2000, RATE, WINDOW, 0.9)
        changed.append((gone > 0, come > 0))
        for gain in (1e-6, 0.3, 40.0):
            rows, more = line(gain * sound), line(gain * sound, WINDOW)
            assert shorten(rows, 1100, 2000, RATE, WINDOW, 0.9) == gone
            assert lengthen(more, 1300, 2000, RATE, WINDOW, 0.9) == come
            np.testing.assert_allclose(rows[0], gain * whole[0], atol=1e-6 * gain)
            np.testing.assert_allclose(more[0], gain * longer[0], atol=1e-6 * gain)
    assert changed == [(True, True), (True, True), (False, False)]


def test_no_more_goes_than_may_and_none_where_that_is_no_period() -> None:
    sound = tone(57, 3000)
    assert 0 < shorten(line(sound), 1000, 3000, RATE, 60, 0.9) <= 60
    assert shorten(line(sound), 1000, 3000, RATE, 30, 0.9) == 0


def test_a_mark_of_either_side_stays() -> None:
    rows = line(tone(100, 2000))
    rows[1, 1000:1050] = 1.0
    lag = shorten(rows, 960, 2000, RATE, WINDOW, 0.9)
    assert rows[1, 960 : 960 + lag].any()
