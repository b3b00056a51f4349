import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.predict.baselines import Baseline
from plc.engine.stream.methods import BASELINES
from plc.programs.rivals import play
from tests.signals import noise, sine, tones

RATE = 48_000
PACKET = 480


def played(method: str, signal: NDArray[np.float32], *lost: int) -> NDArray[np.float32]:
    trace = np.isin(np.arange(-(-len(signal) // PACKET)), lost)
    return play(method, signal[:, None], trace, PACKET, RATE)[:, 0]


@pytest.mark.parametrize("method", BASELINES)
def test_what_is_received_is_played_but_for_the_fade_behind_a_loss(method: str) -> None:
    signal = np.stack([tones(1, RATE, 20 * PACKET), noise(2, 20 * PACKET)], 1)[:-100]
    trace = np.isin(np.arange(20), (5, 6, 12, 19))
    hidden = signal.copy()
    hidden[np.repeat(trace, PACKET)[:-100]] = np.nan
    out = play(method, hidden, trace, PACKET, RATE)
    assert out.shape == signal.shape
    assert np.isfinite(out).all()
    behind = np.zeros(len(signal), np.bool_)
    for packet in (7, 13):
        behind[packet * PACKET :][: PACKET // 4] = True
    there = ~np.repeat(trace, PACKET)[:-100] & ~behind
    np.testing.assert_array_equal(out[there], signal[there])
    assert (out[behind] != signal[behind]).any() == (method != "zeros")


@pytest.mark.parametrize("method", ["repeat", "pitch", "magnitude", "lpc"])
def test_a_burst_is_one_fill_from_what_was_played(method: str) -> None:
    signal = tones(3, RATE, 20 * PACKET)
    out = played(method, signal, 8, 9, 11)
    made_by = Baseline(method, RATE, PACKET)
    first = made_by.go_on(signal[None, : 8 * PACKET], 2 * PACKET)[0]
    np.testing.assert_allclose(out[8 * PACKET :][: 2 * PACKET], first, atol=1e-6)
    second = made_by.go_on(out[None, : 11 * PACKET], PACKET)[0]
    np.testing.assert_allclose(out[11 * PACKET :][:PACKET], second, atol=1e-6)


def test_a_long_burst_falls_to_silence() -> None:
    signal = sine(500.0, RATE, 60 * PACKET)
    out = played("repeat", signal, *range(20, 50))
    levels = np.abs(out.reshape(60, PACKET)).max(1)
    np.testing.assert_allclose(levels[20:26], levels[0], rtol=1e-3)  # 60 ms
    assert (np.diff(levels[25:37]) < 0.0).all()
    assert not out[36 * PACKET : 50 * PACKET].any()


@pytest.mark.parametrize(("rate", "held"), [(16_000, 1), (48_000, 3)])
def test_below_32_khz_it_falls_sooner(rate: int, held: int) -> None:
    n = rate // 50
    signal = sine(500.0, rate, 20 * n)
    out = play("repeat", signal[:, None], np.arange(20) >= 10, n, rate)[:, 0].reshape(20, n)
    full = np.isclose(out[10:].std(1), out[0].std(), rtol=1e-3)
    assert full.tolist() == [True] * held + [False] * (10 - held)


def test_a_signal_that_goes_on_as_it_was_is_faded_in_slowly() -> None:
    signal = sine(500.0, RATE, 20 * PACKET)
    other = np.where(np.arange(20 * PACKET) < 11 * PACKET, 1.0, 0.9).astype(np.float32) * signal
    late = played("repeat", other, 10)[11 * PACKET :] - other[11 * PACKET :]
    assert np.flatnonzero(np.abs(late) > 1e-4).max() > 100
    other[11 * PACKET :] *= -1.0
    quick = played("repeat", other, 10)[11 * PACKET :] - other[11 * PACKET :]
    assert np.flatnonzero(np.abs(quick) > 1e-4).max() < RATE // 2000
